"""Image segmentation: overlap and distance as published, a seeded training, every case on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.tasks.segmentation import Segmentation, dice, hd95, u_net

QUICK = Segmentation(steps=40, check_every=10, batch_size=8, learning_rate=1e-2, channels=(4, 8, 8, 16))


def discs(n: int, seed: int, size: tuple[int, ...] = (32, 32), channels: int = 1, spacing_mm: float = 0.5) -> ImageSet:
    """Return noise with a bright disc, or ball, of random place and radius, which the mask marks with 1 or 2."""
    rng = np.random.default_rng(seed)
    axes = np.indices(size)
    images = rng.uniform(0.0, 0.5, (n, channels, *size)).astype(np.float32)
    masks = np.zeros((n, *size), np.uint8)
    for k in range(n):
        centre = [rng.uniform(0.3, 0.7) * length for length in size]
        far = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
        masks[k] = (far < (rng.uniform(0.15, 0.25) * min(size)) ** 2) * (1 + k % 2)
        images[k] += 0.4 * (masks[k] > 0)
    return ImageSet(images, tuple(f"{seed}-{k}" for k in range(n)), (spacing_mm,) * len(size), masks=masks)


def fitted(folder: Path, training: ImageSet, task: Segmentation = QUICK, seed: int = 1) -> Path:
    """Return the folder with what the task learned, with eight more images like the training images to stop by."""
    folder.mkdir(exist_ok=True)
    task.fit(training, discs(8, 99, training.size_px, training.images.shape[1]), Context(seed, folder))
    return folder


def scored(folder: Path, test: ImageSet, task: Segmentation = QUICK) -> Mapping[str, np.ma.MaskedArray]:
    """Return what the fitted task says of these images."""
    return task.score(test, Context(5, folder.parent, fitted=folder))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the quick task fitted on bright discs."""
    return fitted(tmp_path_factory.mktemp("learned"), discs(32, 1))


def test_keeps_the_promises_of_a_task() -> None:
    """The conformance tests pass, on images and on volumes of two channels."""
    brief = QUICK.model_copy(update={"steps": 2})
    check(brief, n=8)
    check(brief, n=4, size_px=(9, 12, 11), channels=2)


def test_bright_discs_are_found(learned: Path) -> None:
    """In forty steps the Dice of unseen discs is above 0.9 and the distance below two pixels; both have one value per case."""
    found = scored(learned, discs(20, 2))
    assert set(found) == {q.name for q in Segmentation.quantities}
    assert all(values.shape == (20,) and not np.ma.is_masked(values) for values in found.values())
    assert found["dice"].mean() > 0.9
    assert found["hd95"].mean() < 1.0


@pytest.mark.parametrize(("size", "channels", "side"), [((12, 16, 14), 1, None), ((33, 26), 3, None), ((80, 60), 1, 32)])
def test_volumes_colours_odd_sizes_and_large_images_work(tmp_path: Path, size: tuple[int, ...], channels: int, side: int | None) -> None:
    """3D, colour, sizes that do not halve evenly, and images that are averaged down first and scored at their own size."""
    task = QUICK.model_copy(update={"side": side, "flip_axes": (0,)})
    folder = fitted(tmp_path / "fitted", discs(24, 1, size, channels), task)
    assert scored(folder, discs(10, 2, size, channels), task)["dice"].mean() > 0.75


def test_the_seed_decides_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The same seed gives the same values, another seed others; random state, threads and settings of torch are as before."""

    def state() -> tuple[object, ...]:
        return (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    before, short = state(), QUICK.model_copy(update={"steps": 8})
    folders = [fitted(tmp_path / f"f{k}", discs(12, 1), short, seed) for k, seed in enumerate((1, 1, 2))]
    first, again, other = (scored(folder, discs(6, 2), short)["dice"] for folder in folders)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert state() == before


def test_test_images_do_not_see_each_other(learned: Path) -> None:
    """Each case has bit for bit the same values in another order and in a smaller set."""
    test, order = discs(12, 2), np.random.default_rng(0).permutation(12)[:7]
    there, here = scored(learned, test), scored(learned, test.take(order))
    for name in there:
        assert np.array_equal(there[name][order], here[name])


def test_read_only_images_are_left_alone(tmp_path: Path) -> None:
    """Images and masks that must not be written to are used without complaint, and stay as they were."""
    training = discs(8, 1)
    for array in (training.images, training.masks):
        array.setflags(write=False)
    before = training.sha256
    short = QUICK.model_copy(update={"steps": 2})
    scored(fitted(tmp_path / "fitted", training, short), training, short)
    assert replace(training).sha256 == before


def test_damaged_lesions_are_found_less_well(learned: Path) -> None:
    """Blurring the images lowers Dice, and where the lesion is wiped out of the image it falls below 0.2."""
    test = discs(20, 2)
    blurred = replace(test, images=gaussian_filter(test.images, (0, 0, 5, 5)), checked=False)
    erased = replace(test, images=np.where(test.masks[:, None] > 0, np.float32(0.25), test.images), checked=False)
    clean, soft, gone = (scored(learned, images)["dice"].mean() for images in (test, blurred, erased))
    assert clean > soft + 0.05
    assert gone < 0.2


def test_shifted_masks_are_noticed(learned: Path) -> None:
    """Masks that no longer lie where the image says lower Dice and raise the distance by about their shift."""
    test = discs(20, 2)
    there, here = scored(learned, test), scored(learned, replace(test, masks=np.roll(test.masks, 4, axis=2), checked=False))
    assert here["dice"].mean() < there["dice"].mean() - 0.15
    assert here["hd95"].mean() - there["hd95"].mean() == pytest.approx(4 * 0.5, abs=0.5)


def surface(region: np.ndarray) -> np.ndarray:
    """Return the coordinates of the pixels with a neighbour outside the region or outside the array, found one by one."""
    edge = []
    for place in np.argwhere(region):
        steps = [place + sign * np.eye(region.ndim, dtype=int)[axis] for axis in range(region.ndim) for sign in (-1, 1)]
        if any(not (s >= 0).all() or not (s < region.shape).all() or not region[tuple(s)] for s in steps):
            edge.append(place)
    return np.array(edge)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize(("size", "spacing"), [((14, 17), (0.7, 1.3)), ((7, 8, 9), (2.0, 0.5, 1.0))])
def test_overlap_and_distance_agree_with_all_pairs(size: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    """Counting pixels and measuring between all pairs of surface pixels gives the same numbers; so does MONAI."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        a, b = (gaussian_filter(rng.random(size), 1.5) > 0.5 for _ in range(2))
        assert dice(a, b) == pytest.approx(2 * sum(x and y for x, y in zip(a.flat, b.flat, strict=True)) / (a.sum() + b.sum()))
        pairs = np.linalg.norm((surface(a)[:, None] - surface(b)[None]) * np.array(spacing), axis=2)
        expected = max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95))
        assert hd95(a, b, spacing) == pytest.approx(expected, rel=1e-12)
        one, other = (torch.tensor(x[None, None]).float() for x in (a, b))
        monai = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=list(spacing))
        assert hd95(a, b, spacing) == pytest.approx(float(monai), rel=1e-5)


def test_identical_regions_are_perfect() -> None:
    """A region has Dice 1 and distance 0 to itself; distances do not depend on which of two comes first."""
    a, b = np.zeros((2, 9, 9), bool)
    a[2:6, 3:7], b[4:, :5] = True, True
    assert (dice(a, a), hd95(a, a, (1.0, 1.0))) == (1.0, 0.0)
    assert hd95(a, b, (1.0, 2.0)) == hd95(b, a, (1.0, 2.0)) > 0.0


def test_empty_regions_follow_the_stated_policy(learned: Path) -> None:
    """Nothing found where nothing is has Dice 1, one empty region has Dice 0, and in both cases the distance is masked."""
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert (dice(empty, empty), dice(empty, full), dice(full, empty)) == (1.0, 0.0, 0.0)
    assert all(np.isnan(hd95(*pair, (1.0, 1.0))) for pair in ((empty, empty), (empty, full), (full, empty)))
    test = discs(4, 2)
    unmarked = replace(test, masks=np.where(np.arange(4)[:, None, None] < 2, np.uint8(0), test.masks), checked=False)
    found = scored(learned, unmarked)
    assert found["dice"][:2].tolist() == [0.0, 0.0]
    assert np.ma.getmaskarray(found["hd95"]).tolist() == [True, True, False, False]


def test_what_cannot_be_learned_or_scored_is_a_reason(tmp_path: Path, learned: Path) -> None:
    """No masks, empty masks, images of another size and a task that was not fitted are said, not scored."""
    training, context = discs(8, 1), Context(1, tmp_path)
    bare = replace(training, masks=None)
    with pytest.raises(NotComputable, match="needs training images with masks, got none"):
        QUICK.fit(bare, training, context)
    with pytest.raises(NotComputable, match="needs validation images with masks, got none"):
        QUICK.fit(training, training.take([]), context)
    with pytest.raises(NotComputable, match="needs training images with foreground, got 8 empty masks"):
        QUICK.fit(replace(training, masks=np.zeros_like(training.masks)), training, context)
    with pytest.raises(NotComputable, match=r"one size, got \(1, 32, 32\) for training, \(1, 16, 16\) for validation"):
        QUICK.fit(training, discs(4, 3, (16, 16)), context)
    with pytest.raises(NotComputable, match="needs test images with masks, got none"):
        scored(learned, bare)
    with pytest.raises(NotComputable, match=r"one size, got \(1, 32, 32\) for training, \(2, 32, 32\) for test"):
        scored(learned, discs(4, 3, channels=2))
    with pytest.raises(InputError, match="segmentation has not been fitted"):
        QUICK.score(training, context)


def test_training_that_diverges_has_no_number(tmp_path: Path) -> None:
    """A learning rate that blows the weights up is a reason that says what to change."""
    with pytest.raises(NotComputable, match="lower learning_rate"):
        fitted(tmp_path / "fitted", discs(8, 1), QUICK.model_copy(update={"learning_rate": 1e30}))


def test_the_network_sees_volumes_in_volumes() -> None:
    """The convolutions are 2D or 3D as the images are."""
    assert {p.ndim for p in u_net((1, 16, 16), (4, 4, 4, 4)).parameters()} >= {4}
    assert {p.ndim for p in u_net((1, 16, 16, 16), (4, 4, 4, 4)).parameters()} >= {5}
