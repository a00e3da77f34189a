"""Facts about exact and near copies of training images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.api import Comparison, Context, ImageSet, NotComputable
from harness.testing import check, phantoms
from harness_plugins.metrics.pixel_copies import PixelCopies, normalised, pixel_hash, turns, two_nearest

CONTEXT = Context(seed=0, workdir=Path())


SETS = (("real_train", 3), ("real_val", 2), ("synthetic_a", 6))


def crops(folder: Path, step: int) -> ImageSet:
    """Return every so many of the pictures of a folder."""
    files = sorted(folder.rglob("*.png"))[::step]
    images = np.stack([np.asarray(Image.open(f).convert("L"), np.float32) / 255 for f in files])[:, None]
    return ImageSet(images, tuple(f"{f.parent.name}/{f.name}" for f in files), (1.0, 1.0))


def compared(train: ImageSet, test: ImageSet, synthetic: ImageSet) -> Comparison:
    """Return the comparison as the host makes it."""
    return Comparison(*(x.with_features(PixelCopies().describe(x, CONTEXT)) for x in (train, test, synthetic)))


def one_each(n: int, seed: int) -> ImageSet:
    """Return phantoms of n different patients."""
    return phantoms(n, seed=seed, size=32, patients=n)


def shares(images: np.ndarray, train: ImageSet, test: ImageSet) -> tuple[float, float]:
    """Return the shares of exact and of near copies when these are the synthetic images."""
    ids = tuple(f"s{k}" for k in range(len(images)))
    synthetic = ImageSet(np.ascontiguousarray(images, dtype=np.float32), ids, (1.0,) * (images.ndim - 2), origin="synthetic")
    found = PixelCopies().measure(compared(train, test, synthetic), CONTEXT)
    assert isinstance(found["exact_share"], float)
    assert isinstance(found["near_share"], float)
    return found["exact_share"], found["near_share"]


@pytest.mark.parametrize("size", [(32, 32), (12, 9, 11)])
def test_conforms(size: tuple[int, ...]) -> None:
    """It keeps the promises that every author's metric must keep, in 2D and 3D."""
    check(PixelCopies, size_px=size)


def test_planted_copies_are_found() -> None:
    """Exact copies are exact; flipped, turned, rescaled, slightly noisy and padded ones are near; other images are neither."""
    train, test, other = one_each(80, 1), one_each(40, 2), one_each(20, 3)
    assert shares(other.images, train, test) == (0.0, 0.0)
    source = train.images[:20]
    assert shares(source, train, test) == (1.0, 1.0)
    noise = np.random.default_rng(0).normal(0, 0.02, source.shape)
    for changed in (
        source[..., ::-1],
        source[..., ::-1, :],
        np.rot90(source, 1, (2, 3)),
        0.6 * source + 0.1,
        np.clip(source + noise, 0, 1),
        np.clip(0.7 * source[..., ::-1] + 0.1 + noise, 0, 1),
    ):
        exact, near = shares(changed, train, test)
        assert exact == 0.0
        assert near >= 0.95
    assert shares(np.concatenate([source[:5], other.images[:15]]), train, test) == (0.25, 0.25)


def test_margins_do_not_hide_a_copy() -> None:
    """An image on a black field is recognised in a smaller field."""
    rng = np.random.default_rng(1)

    def on_black(n: int, margin: int) -> np.ndarray:
        """Return random textures within a black margin."""
        texture = np.repeat(np.repeat(0.3 + 0.7 * rng.random((n, 1, 8, 8)), 4, axis=2), 4, axis=3)
        return np.pad(texture, ((0, 0), (0, 0), (margin, margin), (margin, margin))).astype(np.float32)

    def as_set(images: np.ndarray, name: str) -> ImageSet:
        """Return images as a set."""
        return ImageSet(images, tuple(f"{name}{k}" for k in range(len(images))), (1.0, 1.0))

    train, test = as_set(on_black(40, 12), "r"), as_set(on_black(30, 12), "t")
    exact, near = shares(train.images[:10, :, 6:-6, 6:-6], train, test)
    assert (exact, near) == (0.0, 1.0)


def test_volumes() -> None:
    """Exact and flipped copies of volumes are found."""
    rng = np.random.default_rng(2)

    def volumes(n: int, name: str) -> ImageSet:
        """Return coarse random volumes."""
        coarse = rng.random((n, 1, 4, 4, 4))
        for axis in (2, 3, 4):
            coarse = np.repeat(coarse, 3, axis=axis)
        return ImageSet(coarse.astype(np.float32), tuple(f"{name}{k}" for k in range(n)), (1.0, 1.0, 1.0))

    train, test, other = volumes(40, "r"), volumes(30, "t"), volumes(6, "o")
    assert shares(train.images[:6], train, test) == (1.0, 1.0)
    assert shares(train.images[:6, :, ::-1, :, ::-1], train, test) == (0.0, 1.0)
    assert shares(other.images, train, test) == (0.0, 0.0)


def test_hash_is_exact() -> None:
    """One unit in the last place of one pixel, or another shape, changes the hash; the sign of zero does not; float32 holds it."""
    image = np.random.default_rng(3).random((1, 6, 6)).astype(np.float32)
    changed = image.copy()
    changed[0, 2, 2] = np.nextafter(changed[0, 2, 2], np.float32(1))
    code = pixel_hash(image)
    assert code.max() < 2**24
    np.testing.assert_array_equal(code.astype(np.float32).astype(np.int64), code)
    assert (pixel_hash(changed) != code).any()
    assert (pixel_hash(image.reshape(1, 4, 9)) != code).any()
    np.testing.assert_array_equal(pixel_hash(-np.zeros((1, 2, 2))), pixel_hash(np.zeros((1, 2, 2))))


def test_normalisation() -> None:
    """Mean 0, norm 1, whatever gain and offset; a flat image is zeros; a whole image of `side` pixels is only rescaled."""
    image = np.random.default_rng(4).random((8, 8))
    small = normalised(image, 8, cut=False)
    np.testing.assert_allclose(small, (image - image.mean()) / np.linalg.norm(image - image.mean()))
    for cut in (False, True):
        np.testing.assert_allclose(normalised(0.3 * image + 0.5, 8, cut), normalised(image, 8, cut), atol=1e-12)
        np.testing.assert_array_equal(normalised(np.full((9, 7), 0.3), 8, cut), np.zeros((8, 8)))
    framed = np.pad(np.kron(0.2 + image, np.ones((8, 8))), ((20, 30), (9, 40)))
    np.testing.assert_allclose(normalised(framed, 8, cut=True), small, atol=0.02)


def test_turns_are_the_symmetries() -> None:
    """In 2D they are the eight of numpy's flips and turns, in 3D the eight flips."""
    square = np.arange(9).reshape(3, 3)
    expected = {tuple(np.rot90(side, k).ravel()) for side in (square, square.T) for k in range(4)}
    assert {tuple(move) for move in turns(3, 2)} == expected
    cube = np.arange(8).reshape(2, 2, 2)
    flips = {tuple(np.flip(cube, axes).ravel()) for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))}
    assert {tuple(move) for move in turns(2, 3)} == flips


def test_distances_written_out() -> None:
    """The two nearest are those of all pairs, views and moves written out."""
    rng = np.random.default_rng(5)
    a, b = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (rng.normal(size=(7, 2, 16)), rng.normal(size=(9, 2, 16))))
    moves = turns(4, 2)
    every = np.min([np.linalg.norm(a[:, None, v][:, :, move] - b[None, :, v], axis=2) for v in (0, 1) for move in moves], axis=0)
    np.testing.assert_allclose(two_nearest(a, b, moves), np.sort(every, axis=1)[:, :2])
    np.testing.assert_array_equal(two_nearest(b[:3, :, moves[5]], b, moves)[:, 0], 0.0)


def test_blamed_are_the_copies() -> None:
    """Copies are blamed most, by 1."""
    train, test, other = one_each(60, 6), one_each(30, 7), one_each(20, 8)
    images = other.images.copy()
    images[:3], images[3:6] = train.images[:3], train.images[3:6, ..., ::-1]
    blamed = PixelCopies().per_image(compared(train, test, replace(other, images=images)), CONTEXT)
    np.testing.assert_array_equal(blamed["exact_share"], np.arange(20) < 3)
    np.testing.assert_allclose(blamed["near_share"][:6], 1.0, atol=1e-5)
    assert blamed["near_share"][6:].max() < 0.9


def test_twins_in_train_hide_no_exact_copy() -> None:
    """Images that are in train twice, once flipped and once as they are, are still found."""
    train, test = one_each(60, 9), one_each(30, 10)
    source = train.images[:10]
    for twin in (source, source[..., ::-1], 0.5 * source):
        images = np.concatenate([train.images, twin])
        doubled = ImageSet(images, tuple(f"d{k}" for k in range(len(images))), (1.0, 1.0))
        assert shares(source, doubled, test)[1] == 1.0


def test_deterministic_and_indifferent_to_order() -> None:
    """Repeats agree exactly; another order of the images gives the same numbers."""
    train, test, other = one_each(50, 11), one_each(30, 12), one_each(20, 13)
    images = np.concatenate([train.images[:4], other.images])
    first = shares(images, train, test)
    assert shares(images, train, test) == first
    backwards = train.take(np.arange(50)[::-1]), test.take(np.arange(30)[::-1])
    assert shares(images[::-1], *backwards) == first


def test_bad_input() -> None:
    """An empty or small test set leaves the exact share; empty sides, equal training images and flat ones are reasons or no copies."""
    train, test, other = one_each(40, 14), one_each(24, 15), one_each(10, 16)
    for few in (test.take([]), test.take(np.arange(19))):
        found = PixelCopies().measure(compared(train, few, other), CONTEXT)
        assert found["exact_share"] == 0.0
        assert f"got {len(few)}" in str(found["near_share"])
    for sides in ((train.take([]), test, other), (train, test, other.take([]))):
        with pytest.raises(NotComputable, match="there are no"):
            PixelCopies().measure(compared(*sides), CONTEXT)
    equal = replace(train, images=np.broadcast_to(train.images[:1], train.images.shape).copy())
    assert "differ once normalised, got 1" in str(PixelCopies().measure(compared(equal, test, other), CONTEXT)["near_share"])
    tiny = ImageSet(np.zeros((3, 1, 1, 1), np.float32), ("a", "b", "c"), (1.0, 1.0))
    assert np.isfinite(PixelCopies().describe(tiny, CONTEXT)).all()
    assert shares(np.full_like(other.images, 0.5), train, test) == (0.0, 0.0)


def test_real_mammograms(real_data: Path) -> None:
    """Among real mammography crops planted copies are found in every disguise, and no image of a real generator is called one."""
    train, test, synthetic = (crops(real_data / "mammo_mcgan" / folder, step) for folder, step in SETS)
    assert shares(synthetic.images, train, test) == (0.0, 0.0)
    source = train.images[::10]
    noise = np.random.default_rng(0).normal(0, 0.05, source.shape)
    for changed in (source[..., ::-1], np.rot90(source, 1, (2, 3)), 0.6 * source + 0.1, np.clip(source + noise, 0, 1)):
        assert shares(changed, train, test) == (0.0, 1.0)
    assert shares(source, train, test) == (1.0, 1.0)
