"""Facts about the network that predicts the Dice of a segmenter without ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check, phantoms
from harness_plugins.extractors.evanyseg_predictor import COLUMNS, EvanysegPredictor, thirds

QUICK = EvanysegPredictor(segmenter_steps=3, predictor_steps=3, batch_size=4, candidates=12, channels=(4, 4, 8, 8))


def discs(n: int, seed: int, size: tuple[int, ...] = (16, 16), noise: float = 0.1, patients: int | None = None) -> ImageSet:
    """Return noisy images of a bright ball each, with its mask."""
    rng = np.random.default_rng(seed)
    grid = np.indices(size)
    masks = np.empty((n, *size), np.uint8)
    for mask in masks:
        centre, radius = rng.uniform(5, np.array(size) - 5), rng.uniform(2.5, 4.5)
        mask[:] = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2
    images = np.clip(0.3 + 0.4 * masks + rng.normal(0.0, noise, masks.shape), 0.0, 1.0).astype(np.float32)[:, None]
    names = None if patients is None else tuple(f"p{k % patients}" for k in range(n))
    return ImageSet(images, tuple(f"{seed}-{k}" for k in range(n)), (1.0,) * len(size), masks=masks, patients=names)


def fitted(extractor: EvanysegPredictor, train: ImageSet, folder: Path, seed: int = 1) -> Context:
    """Fit in a folder; return the context that lends it."""
    folder.mkdir(exist_ok=True)
    extractor.fit(train, Context(seed, folder))
    return Context(seed, folder, fitted=folder)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvanysegPredictor, Context]:
    """Return an extractor that learned on discs, and the context that lends what it learned."""
    extractor = EvanysegPredictor(segmenter_steps=60, predictor_steps=150, batch_size=8, rounds=1)
    return extractor, fitted(extractor, discs(60, 1, patients=36), tmp_path_factory.mktemp("fit"))


def test_knows_good_images_from_bad_ones(learned: tuple[EvanysegPredictor, Context]) -> None:
    """Without masks: predicted Dice is high on new discs, lower on discs that drown in noise; the mask covers about what the disc does."""
    extractor, context = learned
    clear, drowned = (discs(24, 5, noise=noise) for noise in (0.1, 0.5))
    good, bad = (extractor.extract(replace(images, masks=None), context) for images in (clear, drowned))
    assert good.dtype == np.float32
    assert good.shape == (24, len(COLUMNS))
    assert good[:, 0].mean() > bad[:, 0].mean() + 0.1
    assert clear.masks is not None
    assert good[:, 1].mean() == pytest.approx(clear.masks.mean(), abs=0.1)


def test_says_how_wrong_it_is(learned: tuple[EvanysegPredictor, Context]) -> None:
    """Every row repeats the error on the twelve patients held out, with intervals: below a constant's, and that on wrong images."""
    extractor, context = learned
    found = extractor.extract(discs(3, 6), context)
    assert (found[:, 2:] == found[0, 2:]).all()
    facts = dict(zip(COLUMNS, found[0].tolist(), strict=True))
    assert facts["patients"] == 12.0
    assert facts["images"] == 20.0
    assert facts["all_correlation"] > 0.5
    assert facts["all_mae"] < facts["all_constant_mae"]
    assert facts["all_mae"] < facts["swapped_mae"]
    assert facts["image_skill"] == pytest.approx(1.0 - facts["all_mae"] / facts["swapped_mae"], abs=1e-5)
    assert abs(facts["optimism"]) < 0.2
    for of in ("own", "all"):
        for name in ("mae", "correlation", "slope", "skill"):
            assert facts[f"{of}_{name}_low"] < facts[f"{of}_{name}"] < facts[f"{of}_{name}_high"]


def test_a_row_depends_on_its_image_alone(learned: tuple[EvanysegPredictor, Context]) -> None:
    """A row is the same to the last bit alone and in another order."""
    extractor, context = learned
    images = discs(35, 7)
    whole = extractor.extract(images, context)
    np.testing.assert_array_equal(extractor.extract(images.take([34]), context)[0], whole[34])
    np.testing.assert_array_equal(extractor.extract(images.take(np.arange(35)[::-1]), context)[::-1], whole)


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_keeps_the_promises_of_an_extractor(size: tuple[int, ...], channels: int) -> None:
    """Conformance in 2D and 3D, with one channel and two, on sides that no halving divides; it gives what only evanyseg takes."""
    check(QUICK, n=26, size_px=size, channels=channels)
    assert QUICK.gives() == "quality"


def test_deterministic_in_its_seed(tmp_path: Path) -> None:
    """One seed, one network to the last bit, whatever torch drew before; another seed, another; torch's state is left alone."""
    import torch

    train, unseen = discs(14, 1), discs(4, 2)
    first = QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "a"))
    torch.rand(3)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "b")), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.allclose(QUICK.extract(unseen, fitted(QUICK, train, tmp_path / "c", seed=2)), first)


def test_large_images_are_averaged_down(tmp_path: Path) -> None:
    """The networks are trained and asked on averages: where noise of single pixels cancels out, it does not matter."""
    small = QUICK.model_copy(update={"side": 16})
    large = discs(14, 1, (32, 32))
    context = fitted(small, large, tmp_path / "fit")
    averages = large.images.reshape(14, 1, 16, 2, 16, 2).mean(axis=(3, 5))
    smooth = replace(large, images=averages.repeat(2, axis=2).repeat(2, axis=3))
    np.testing.assert_allclose(small.extract(smooth, context), small.extract(large, context), atol=1e-3)


def test_the_three_parts_share_no_patient() -> None:
    """Every image is in one part, patients stay together, and each part has a third of those with foreground."""
    train = phantoms(60, seed=1, size=16, patients=24)
    assert train.masks is not None
    healthy = np.array([name[-1] in "14" for name in train.patients or ()])
    train = replace(train, masks=train.masks * ~healthy[:, None, None])
    parts = thirds(train, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(60))
    owners = [{np.array(train.patients)[row] for row in part} for part in parts]
    assert len(set.union(*owners)) == sum(len(names) for names in owners) == 24
    ill = [len(names & set(np.array(train.patients)[~healthy])) for names in owners]
    assert max(ill) - min(ill) <= 1


def test_what_cannot_be_learned_or_read_is_said(tmp_path: Path, picture_set: Any) -> None:
    """No masks, empty ones, few patients or images, a loss that explodes, no fit, and another size after the fit."""
    context, train = Context(1, tmp_path), discs(14, 1)
    assert train.masks is not None
    with pytest.raises(NotComputable, match="needs training images with masks, got none"):
        QUICK.fit(replace(train, masks=None), context)
    with pytest.raises(NotComputable, match="needs training images with masks, got none"):
        QUICK.fit(train.take([]), context)
    with pytest.raises(NotComputable, match="needs training images with foreground, got 14 empty masks"):
        QUICK.fit(replace(train, masks=train.masks * np.uint8(0)), context)
    with pytest.raises(NotComputable, match="needs 12 images with foreground for three parts, got 11"):
        QUICK.fit(train.take(np.arange(11)), context)
    with pytest.raises(NotComputable, match="needs 12 patients with foreground for three parts, got 7"):
        QUICK.fit(discs(14, 1, patients=7), context)
    with pytest.raises(NotComputable, match=r"no longer finite after .* steps: lower segmenter_rate"):
        EvanysegPredictor(segmenter_steps=30, segmenter_rate=1e30, batch_size=4).fit(train, context)
    with pytest.raises(InputError, match="evanyseg_predictor has not been fitted"):
        QUICK.extract(train, context)
    lent = fitted(QUICK, train, tmp_path / "fit")
    with pytest.raises(InputError, match=r"images of shape \(1, 20, 24\) after training on \(1, 16, 16\)"):
        QUICK.extract(picture_set(2), lent)


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that runs out of memory gives the name of the option that helps."""
    import torch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(EvanysegPredictor, "_learn_to_segment", full)
    with pytest.raises(NotComputable, match="too little memory for batch_size 4: lower it"):
        QUICK.fit(discs(14, 1), Context(1, tmp_path))
