"""Facts about texture features and their z-scores.

The numbers in `ORACLE` were computed once by scikit-image 0.26.0 (graycomatrix and graycoprops, symmetric and normed, 16 levels, mean over
four angles, diagonal offsets of d pixels along both axes; local_binary_pattern, P = 8, R = 1, "uniform", inner pixels) and PyWavelets
1.8.0 (wavedec2, "haar", mode "symmetric") on the image of `oracle_image`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check, phantoms
from harness_plugins.extractors.radiomics import Radiomics
from harness_plugins.extractors.texture import (
    cooccurrence,
    directions,
    first_order,
    grey_levels,
    haar,
    haralick,
    local_binary_patterns,
)

ORACLE = {
    1: {
        "contrast": 10.358975274725275, "dissimilarity": 2.5887628205128204, "homogeneity": 0.2994677388026245,
        "asm": 0.01314922829032994, "correlation": 0.2301909696222973, "entropy": 4.579335550067524 / np.log(2),
    },
    2: {
        "contrast": 13.722276444315918, "dissimilarity": 2.9538650311676626, "homogeneity": 0.27889019765570083,
        "asm": 0.012897993054688564, "correlation": -0.016965963520571312, "entropy": 4.593986083777558 / np.log(2),
    },
}  # fmt: skip
ORACLE_LBP = [
    0.12719298245614036, 0.1074561403508772, 0.06798245614035088, 0.05701754385964912, 0.06798245614035088,
    0.07017543859649122, 0.06798245614035088, 0.10087719298245613, 0.13596491228070176, 0.19736842105263158,
]  # fmt: skip
ORACLE_HAAR = {
    "HL1_rms": 0.1451591734567943, "HL1_mean_absolute": 0.11068147538735777, "LH1_rms": 0.16032749732016627,
    "LH1_mean_absolute": 0.1298231180584122, "HH1_rms": 0.11040705249946835, "HH1_mean_absolute": 0.0851501439736734,
    "HL2_rms": 0.2321206294907391, "HL2_mean_absolute": 0.16659663865546226, "LH2_rms": 0.21365389758520975,
    "LH2_mean_absolute": 0.15987394957983198, "HH2_rms": 0.12943289517103188, "HH2_mean_absolute": 0.0926937441643324,
}  # fmt: skip


def oracle_image() -> np.ndarray:
    """Return the 8-bit image that the oracle saw."""
    x = np.random.default_rng(7).random((21, 26))
    x = (x + np.roll(x, 1, 0) + np.roll(x, 1, 1)) / 3
    return np.clip(np.round(x * 255) / 255, 0, 1)


def textured(images: ImageSet) -> ImageSet:
    """Return the images with noise, so that no feature of theirs is constant."""
    noise = np.random.default_rng(11).random(images.images.shape)
    return replace(images, images=(0.7 * images.images + 0.3 * noise).astype(np.float32))


def fitted(train: ImageSet, folder: Path, extractor: Radiomics | None = None) -> Context:
    """Return the context of an extractor fitted on these images."""
    folder.mkdir(exist_ok=True)
    (extractor or Radiomics()).fit(train, Context(seed=0, workdir=folder))
    return Context(seed=0, workdir=folder, fitted=folder)


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_conforms(size: tuple[int, ...], channels: int) -> None:
    """It keeps the promises that every author's extractor must keep, in 2D and 3D."""
    check(Radiomics, n=12, size_px=size, channels=channels)


@pytest.mark.parametrize("distance", [1, 2])
def test_cooccurrence_is_that_of_scikit_image(distance: int) -> None:
    """Haralick features agree with graycoprops, entropy in bits."""
    found = haralick(cooccurrence(grey_levels(oracle_image(), 16), 16, distance))
    for name, value in ORACLE[distance].items():
        assert found[name] == pytest.approx(value, rel=1e-10)


def test_patterns_are_those_of_scikit_image() -> None:
    """The histogram agrees with local_binary_pattern on the inner pixels."""
    np.testing.assert_allclose(local_binary_patterns(oracle_image()), ORACLE_LBP)


def test_wavelets_are_those_of_pywavelets() -> None:
    """Every band of two scales agrees with wavedec2, odd sizes included."""
    assert haar(oracle_image(), 2) == pytest.approx(ORACLE_HAAR)


def test_first_order_is_scipys() -> None:
    """Skewness, kurtosis, percentiles and entropy agree with scipy and numpy."""
    values = oracle_image().ravel()
    grey = grey_levels(values, 16)
    found = first_order(values, grey, 16)
    assert found["skewness"] == pytest.approx(stats.skew(values))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(values, fisher=False))
    assert found["entropy"] == pytest.approx(stats.entropy(np.bincount(grey), base=2))
    assert found["interquartile_range"] == pytest.approx(stats.iqr(values))
    assert found["sd"] == pytest.approx(values.std())
    low, high = np.percentile(values, (10, 90))
    middle = values[(values >= low) & (values <= high)]
    assert found["robust_mean_absolute_deviation"] == pytest.approx(np.abs(middle - middle.mean()).mean())


def test_cooccurrence_of_volumes_written_out() -> None:
    """Thirteen directions, each a symmetric count of pairs of voxels, with and without a mask."""
    rng = np.random.default_rng(0)
    grey, inside = rng.integers(0, 3, (4, 5, 4)), rng.random((4, 5, 4)) > 0.4
    assert len(directions(3)) == 13
    assert len(directions(2)) == 4
    for mask in (None, inside):
        found = cooccurrence(grey, 3, 2, mask)
        for matrix, step in zip(found, directions(3), strict=True):
            counts = np.zeros((3, 3))
            for at in product(range(4), range(5), range(4)):
                to = tuple(a + 2 * s for a, s in zip(at, step, strict=True))
                if all(0 <= t < n for t, n in zip(to, grey.shape, strict=True)) and (mask is None or (mask[at] and mask[to])):
                    counts[grey[at], grey[to]] += 1
                    counts[grey[to], grey[at]] += 1
            np.testing.assert_allclose(matrix, counts / counts.sum())


def test_shade_and_prominence_are_central_moments() -> None:
    """They are the third and fourth central moments of i + j under the matrix."""
    matrices = cooccurrence(grey_levels(oracle_image(), 8), 8, 1)
    i, j = np.indices((8, 8))
    found = haralick(matrices)
    for name, power in (("shade", 3), ("prominence", 4)):
        expected = np.mean([(p * ((i + j) - (p * (i + j)).sum()) ** power).sum() for p in matrices])
        assert found[name] == pytest.approx(expected)


def test_patterns_do_not_turn_with_the_image() -> None:
    """Turning and flipping an image leaves its patterns; a flat one has the ninth alone; a volume has those of three planes."""
    image = oracle_image()
    for turned in (np.rot90(image), image[::-1]):
        np.testing.assert_allclose(local_binary_patterns(turned), local_binary_patterns(image))
    np.testing.assert_array_equal(local_binary_patterns(np.full((5, 5), 0.3)), np.eye(10)[8])
    volume = np.random.default_rng(1).random((6, 7, 8))
    planes = [np.mean([local_binary_patterns(np.take(volume, k, axis)) for k in range(volume.shape[axis])], axis=0) for axis in range(3)]
    np.testing.assert_allclose(local_binary_patterns(volume), np.concatenate(planes))


def test_wavelets_keep_energy() -> None:
    """The transform is orthonormal: one scale's details and what is left have the energy of the image, in 3D too."""
    volume = np.random.default_rng(2).random((8, 6, 4))
    bands = [value for name, value in haar(volume, 1).items() if name.endswith("_rms")]
    smooth = volume.reshape(4, 2, 3, 2, 2, 2).sum(axis=(1, 3, 5)) / np.sqrt(8)
    assert len(bands) == 7
    assert sum(b**2 for b in bands) * smooth.size + (smooth**2).sum() == pytest.approx((volume**2).sum())


def test_z_scores_of_training_images(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Training images have mean 0 and standard deviation 1 in every feature."""
    train = textured(picture_set(20))
    scores = Radiomics().extract(train, fitted(train, tmp_path))
    assert scores.shape == (20, 69)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scores.std(axis=0, ddof=1), 1.0, atol=1e-4)


def test_constant_features_are_dropped_and_named(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """A channel that is black in training has no scale: its features are dropped and counted."""
    train = textured(picture_set(8, channels=2))
    images = train.images.copy()
    images[:, 1] = 0.0
    train = replace(train, images=images)
    scores = Radiomics().extract(train, fitted(train, tmp_path))
    listed = json.loads((tmp_path / "features.json").read_text())
    assert scores.shape[1] == listed["n_kept"] == 69
    assert listed["n_dropped"] == len(listed["dropped"]) == 69
    assert {name.split("_")[0] for name in listed["dropped"]} == {"channel1"}


@pytest.mark.parametrize(("size", "channels", "expected"), [((20, 24), 3, 207), ((10, 12, 11), 1, 105)])
def test_rows_are_independent(
    picture_set: Callable[..., ImageSet], tmp_path: Path, size: tuple[int, ...], channels: int, expected: int
) -> None:  # fmt: skip
    """A row is the same to the last bit alone and in another order; colour or volume."""
    images = textured(picture_set(6, size, channels))
    context = fitted(images, tmp_path)
    whole = Radiomics().extract(images, context)
    assert whole.shape == (6, expected)
    np.testing.assert_array_equal(Radiomics().extract(images.take([5]), context)[0], whole[5])
    np.testing.assert_array_equal(Radiomics().extract(images.take(np.arange(6)[::-1]), context)[::-1], whole)


def test_noise_and_blur_move_the_features(tmp_path: Path) -> None:
    """Both move phantoms further from the training mean than other phantoms are, and more of them moves further."""
    train, other = phantoms(40, seed=1), phantoms(20, seed=2)
    context, rng = fitted(train, tmp_path), np.random.default_rng(3)

    def size(images: np.ndarray) -> float:
        """Return the mean length of the feature vectors."""
        return float(np.linalg.norm(Radiomics().extract(replace(other, images=images.astype(np.float32)), context), axis=1).mean())

    noise = rng.normal(size=other.images.shape)
    noisy = [size(np.clip(other.images + amount * noise, 0, 1)) for amount in (0.0, 0.05, 0.1)]
    assert noisy == sorted(noisy)
    blurred = (other.images + np.roll(other.images, 1, 2) + np.roll(other.images, 1, 3)) / 3
    assert size(blurred) > 1.5 * noisy[0]


def test_region_is_the_mask(tmp_path: Path) -> None:
    """Measured inside the mask, what lies outside does not count in first-order and co-occurrence features."""
    images = phantoms(12, seed=4)
    assert images.masks is not None
    extractor = Radiomics(region="mask")
    context = fitted(images, tmp_path, extractor)
    kept = [name.split("_", 1)[1] for name in json.loads((tmp_path / "features.json").read_text())["kept"]]
    local = np.array([not name.startswith(("lbp", "haar")) for name in kept])
    changed = np.where(images.masks[:, None] > 0, images.images, 1.0 - images.images)
    before, after = (extractor.extract(x, context) for x in (images, replace(images, images=changed)))
    np.testing.assert_array_equal(before[:, local], after[:, local])
    assert not np.allclose(before[:, ~local], after[:, ~local])


def test_region_without_masks(tmp_path: Path) -> None:
    """No masks, empty ones, and ones too small for a pair of pixels: each is a reason."""
    images, extractor = phantoms(12, seed=5), Radiomics(region="mask")
    assert images.masks is not None
    context = Context(seed=0, workdir=tmp_path)
    with pytest.raises(NotComputable, match="needs masks, and these images have none"):
        extractor.fit(replace(images, masks=None), context)
    masks = images.masks.copy()
    masks[3:5] = 0
    with pytest.raises(NotComputable, match="2 of 12 are empty"):
        extractor.fit(replace(images, masks=masks), context)
    masks[3:5, 9, 9] = 1
    with pytest.raises(NotComputable, match="no two pixels of a mask are 1 pixels apart"):
        extractor.fit(replace(images, masks=masks), context)


def test_bad_input(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """Small images, one training image, equal images, other channels, no fit, distances of 0: each is said precisely."""
    context = Context(seed=0, workdir=tmp_path)
    with pytest.raises(NotComputable, match=r"needs 5 pixels along every axis, got images of \(1, 1\)"):
        Radiomics().fit(picture_set(3, (1, 1)), context)
    with pytest.raises(NotComputable, match="2 training images, got 1"):
        Radiomics().fit(picture_set(1), context)
    same = picture_set(4)
    flat = replace(same, images=np.full_like(same.images, 0.5))
    with pytest.raises(NotComputable, match="none of the 69 features varies"):
        Radiomics().fit(flat, context)
    with pytest.raises(InputError, match="has not been fitted"):
        Radiomics().extract(same, context)
    with pytest.raises(InputError, match="give 138 features, training gave 69"):
        Radiomics().extract(picture_set(4, channels=2), fitted(same, tmp_path))
    with pytest.raises(InputError, match="must be 1 pixel or more"):
        Radiomics(distances=(0, 1)).fit(same, context)
    assert np.isfinite(Radiomics().extract(flat, fitted(same, tmp_path))).all()
