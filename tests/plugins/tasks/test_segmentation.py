"""Image segmentation: one region or several, a seeded training, every case on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.tasks.segmentation import Segmentation, _columns

QUICK = Segmentation(steps=40, check_every=10, batch_size=8, learning_rate=1e-2, channels=(4, 8, 8, 16))
NESTED = {"whole": (1, 2), "core": (2,)}


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
    check(Segmentation(steps=1, network="segresnet", regions={"bright": (1,), "the same": (1, 2)}), n=4, size_px=(12, 14))


def test_a_swin_transformer_keeps_them_too() -> None:
    """The conformance tests pass on images that are smaller than it takes."""
    check(Segmentation(steps=1, batch_size=2, network="swinunetr", empty="masked"), n=3)


def test_bright_discs_are_found(learned: Path) -> None:
    """In forty steps the Dice of unseen discs is above 0.9 and the distance below two pixels; both have one value per case."""
    found = scored(learned, discs(20, 2))
    assert set(found) == {q.name for q in Segmentation.quantities}
    assert all(values.shape == (20,) and not np.ma.is_masked(values) for values in found.values())
    assert found["dice"].mean() > 0.9
    assert found["hd95"].mean() < 1.0


@pytest.mark.parametrize(("size", "channels", "side"), [((12, 16, 14), 1, None), ((25, 18), 3, None), ((60, 44), 1, 24)])
def test_volumes_colours_odd_sizes_and_large_images_work(tmp_path: Path, size: tuple[int, ...], channels: int, side: int | None) -> None:
    """3D, colour, sizes that do not halve evenly, and images that are averaged down first and scored at their own size."""
    task = QUICK.model_copy(update={"side": side, "flip_axes": (0,)})
    folder = fitted(tmp_path / "fitted", discs(24, 1, size, channels), task)
    assert scored(folder, discs(10, 2, size, channels), task)["dice"].mean() > 0.75


def test_the_seed_decides_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The same seed gives the same values, another seed others; random state, threads and settings of torch are as before."""

    def state() -> tuple[object, ...]:
        return (torch.get_rng_state().tolist(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    before, short = state(), QUICK.model_copy(update={"steps": 2})
    folders = [fitted(tmp_path / f"f{k}", discs(8, 1, (16, 16)), short, seed) for k, seed in enumerate((1, 1, 2))]
    first, again, other = (scored(folder, discs(6, 2, (16, 16)), short)["dice"] for folder in folders)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert state() == before


@pytest.mark.parametrize("network", ["segresnet", pytest.param("swinunetr")])
def test_every_network_is_decided_by_the_seed(tmp_path: Path, network: str) -> None:
    """Two fits with one seed leave the same weights, bit for bit."""
    task = Segmentation(network=network, steps=1, batch_size=2, regions=NESTED)
    weights = []
    for _ in range(2):
        task.fit(discs(2, 1), discs(2, 99), Context(1, tmp_path))
        weights.append(torch.load(tmp_path / "network.pt", weights_only=True)["weights"])
    one, other = weights
    assert all(torch.equal(one[name], other[name]) for name in one)


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


def test_empty_masks_follow_the_stated_policy(learned: Path) -> None:
    """Something found where the mask is empty has Dice 0, or no value; there is no distance under either policy."""
    test = discs(4, 2)
    unmarked = replace(test, masks=np.where(np.arange(4)[:, None, None] < 2, np.uint8(0), test.masks), checked=False)
    found = scored(learned, unmarked)
    assert found["dice"][:2].tolist() == found["surface_dice"][:2].tolist() == [0.0, 0.0]
    assert np.ma.getmaskarray(found["hd95"]).tolist() == [True, True, False, False]
    left_out = scored(learned, unmarked, QUICK.model_copy(update={"empty": "masked"}))
    for name, values in left_out.items():
        assert np.ma.getmaskarray(values).tolist() == [True, True, False, False]
        assert np.array_equal(values[2:], found[name][2:])


def test_the_tolerance_is_one_pixel_where_none_is_given(learned: Path) -> None:
    """The surface Dice is that at the finer of the two spacings, and rises with the tolerance."""
    test = replace(discs(6, 2), spacing_mm=(0.5, 2.0), checked=False)
    same, other, wide = (scored(learned, test, QUICK.model_copy(update={"tolerance_mm": t}))["surface_dice"] for t in (0.5, 2.0, 50.0))
    assert np.array_equal(scored(learned, test)["surface_dice"], same)
    assert same.mean() < other.mean() < wide.mean() == 1.0


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
    with pytest.raises(NotComputable, match="needs validation images with foreground, got 8 empty masks"):
        QUICK.fit(training, replace(training, masks=np.zeros_like(training.masks)), context)
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


def test_a_lack_of_memory_has_no_number(tmp_path: Path, learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accelerator's error and that of the CPU name the option to lower; another error stays what it is."""
    errors = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()]
    for error in errors:
        with monkeypatch.context() as patch:
            patch.setattr("harness_plugins.tasks.segmentation.logits", lambda *arguments, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(NotComputable, match="memory than there is for batches of 8: lower batch_size or side"):
                fitted(tmp_path / "fitted", discs(8, 1))
            with pytest.raises(NotComputable, match="memory than there is for one image: lower side"):
                scored(learned, discs(2, 2))
    monkeypatch.setattr("harness_plugins.tasks.segmentation.logits", lambda *arguments: torch.zeros(1) @ torch.zeros(2))
    with pytest.raises(RuntimeError, match="size"):
        scored(learned, discs(2, 2))


def rings(n: int, seed: int, without_core: tuple[int, ...] = ()) -> ImageSet:
    """Return bright discs, label 1, with a brighter core, label 2, which some of them lack."""
    images = discs(n, seed)
    masks = (np.asarray(images.masks) > 0).astype(np.uint8)
    pixels = images.images.copy()
    for k in set(range(n)) - set(without_core):
        core = gaussian_filter(masks[k].astype(float), 1.5) > 0.75
        masks[k][core] = 2
        pixels[k, 0][core] = np.clip(pixels[k, 0][core] + 0.4, 0.0, 1.0)
    return replace(images, images=np.clip(pixels, 0.0, 1.0), masks=masks, checked=False)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmentation, Path]:
    """Return a task with two nested regions and the folder that it was fitted in."""
    task = Segmentation(**QUICK.model_dump() | {"regions": NESTED, "steps": 80})
    folder = tmp_path_factory.mktemp("nested")
    task.fit(rings(32, 1, (3, 4)), rings(8, 99), Context(1, folder))
    return task, folder


def test_overlapping_regions_are_found_each_on_its_own(nested: tuple[Segmentation, Path]) -> None:
    """A disc and the core in it have a column each, after their mean; both are found although they overlap."""
    task, folder = nested
    test = rings(12, 2)
    found = scored(folder, test, task)
    assert task.columns(test) == ("", "core", "whole")
    for values in found.values():
        assert values.shape == (12, 3)
        assert np.ma.allclose(values[:, 0], values[:, 1:].mean(axis=1), rtol=1e-12)
    assert found["dice"][:, 1].mean() > 0.7
    assert found["dice"][:, 2].mean() > 0.85
    assert found["surface_dice"].mean() > 0.7


def test_each_region_is_scored_against_its_own_labels(nested: tuple[Segmentation, Path]) -> None:
    """Moving the label of the core alone changes the column of the core and the mean, not that of the whole."""
    task, folder = nested
    test = rings(6, 2)
    moved = replace(test, masks=np.where(np.asarray(test.masks) > 0, np.uint8(1), 0) + np.roll(np.asarray(test.masks) == 2, 2, 1)
                    * (np.asarray(test.masks) > 0).astype(np.uint8), checked=False)  # fmt: skip
    there, here = (scored(folder, images, task)["dice"] for images in (test, moved))
    assert np.array_equal(there[:, 2], here[:, 2])
    assert (here[:, 1] < there[:, 1]).all()
    assert (here[:, 0] < there[:, 0]).all()


def test_a_region_that_a_case_lacks_follows_the_policy(nested: tuple[Segmentation, Path]) -> None:
    """Under "masked" a case without core has no value for it and its mean is that of the whole; under "one" it is 1 or 0."""
    task, folder = nested
    test = rings(4, 2, (0, 1))
    strict, lenient = scored(folder, test, task), scored(folder, test, Segmentation(**task.model_dump() | {"empty": "masked"}))
    assert set(strict["dice"][:2, 1].tolist()) <= {0.0, 1.0}
    for name in ("dice", "surface_dice", "hd95"):
        values = lenient[name]
        assert np.ma.getmaskarray(values)[:, 1].tolist() == [True, True, False, False]
        assert np.array_equal(values[:2, 0], values[:2, 2])
        assert np.array_equal(values[2:], strict[name][2:])
    assert np.ma.allclose(strict["dice"][:2, 0], strict["dice"][:2, 1:].mean(axis=1), rtol=1e-12)


def test_one_named_region_is_one_column(learned: Path, tmp_path: Path) -> None:
    """A region that holds every label gives bit for bit what no region gives; a part of the labels is scored alone."""
    short = QUICK.model_copy(update={"steps": 2})
    everything = Segmentation(**short.model_dump() | {"regions": {"lesion": (2, 1)}})
    test = discs(6, 2)
    assert everything.columns(test) == ("",)
    there, here = (scored(fitted(tmp_path / f"f{k}", discs(8, 1), task), test, task) for k, task in enumerate((short, everything)))
    assert all(np.array_equal(there[name], here[name]) for name in there)
    twos = Segmentation(**QUICK.model_dump() | {"regions": {"twos": (2,)}, "empty": "masked"})
    assert np.ma.getmaskarray(scored(learned, test, twos)["dice"]).tolist() == [True, False] * 3


def test_a_region_that_nobody_marked_has_no_number(tmp_path: Path) -> None:
    """Training and validation images need every region, and it must be left when they are made smaller."""
    task = Segmentation(**QUICK.model_dump() | {"regions": NESTED | {"cyst": (4, 7)}})
    with pytest.raises(NotComputable, match=r"needs training images with region cyst \(mask label 4, 7\), got none: their masks hold 1, 2"):
        task.fit(rings(8, 1), rings(8, 2), Context(1, tmp_path))
    task = Segmentation(**QUICK.model_dump() | {"regions": NESTED})
    with pytest.raises(NotComputable, match=r"needs validation images with region core \(mask label 2\), got none: their masks hold 1"):
        task.fit(rings(8, 1), rings(8, 2, tuple(range(8))), Context(1, tmp_path))
    dot = np.zeros((8, 32, 32), np.uint8)
    dot[:, 8, 8] = 1
    tiny = replace(rings(8, 1), masks=dot, checked=False)
    with pytest.raises(NotComputable, match=r"training images with foreground, got none that is left at \(8, 8\) pixels: raise side"):
        QUICK.model_copy(update={"side": 8}).fit(tiny, tiny, Context(1, tmp_path))


def test_the_order_of_the_regions_is_that_of_their_names() -> None:
    """Options that are equal give equal columns, in whatever order they are written."""
    one, other = (Segmentation(regions=regions) for regions in (NESTED, dict(reversed(NESTED.items()))))
    assert one.model_dump_json() == other.model_dump_json()
    assert list(one.regions) == ["core", "whole"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "vnet"}, "'unet', 'segresnet' or 'swinunetr'"),
        ({"network": "segresnet", "channels": (4, 8, 8, 16)}, "channels are those of the U-Net"),
        ({"feature_size": 24}, "the U-Net takes channels"),
        ({"network": "swinunetr", "feature_size": 16}, "multiple of 12, got 16"),
        ({"network": "segresnet", "feature_size": 12}, "multiple of 8, got 12"),
        ({"regions": {"background": [0]}}, "greater than or equal to 1"),
        ({"regions": {"nothing": []}}, "at least 1 item"),
        ({"regions": {"": [1]}}, "should match pattern"),
        ({"regions": {"label=3": [3]}}, "should match pattern"),
        ({"empty": "zero"}, "'one' or 'masked'"),
        ({"tolerance_mm": 0.0}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    """Unknown networks, widths of another network, regions without labels or of background are errors that say what is allowed."""
    with pytest.raises(ValidationError, match=message):
        Segmentation(**options)


def test_a_missed_region_leaves_no_mean_distance() -> None:
    """The mean over the regions that were found would be better for having missed one; a region that is not there takes nothing away."""
    values = np.ma.masked_invalid([[0.0, 6.0], [0.0, np.nan], [2.0, np.nan]])
    present = np.array([[True, True], [True, True], [True, False]])
    found = _columns(values, present)
    assert found[:, 0].filled(-1).tolist() == [3.0, -1.0, 2.0]
    assert found[:, 2].filled(-1).tolist() == [6.0, -1.0, -1.0]
