"""Facts about checkerboards, bands, wrapped intensities and clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter

from describing import CONTEXT, compared, described
from harness.api import NotComputable
from harness.testing import check
from harness_plugins.metrics.artefacts import Artefacts, axis_lines, excess, jump_share, lattice
from harness_plugins.metrics.spectrum import power_spectrum

SIZES = [(64, 64), (24, 32, 32)]


def measured(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float | NotComputable]:
    """The quantities with default options."""
    return Artefacts().measure(compared(Artefacts(), real, synthetic), CONTEXT)


def textures(n: int, seed: int, size: tuple[int, ...] = (64, 64), channels: int = 1) -> np.ndarray:
    """Blurred noise with a little grain: images of one texture, of values near 0.5."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(n, channels, *size)), (0, 0, *(2.0 for _ in size)))
    return np.clip(0.5 + 0.05 * coarse / coarse.std() + 0.01 * rng.normal(size=coarse.shape), 0, 1)


def dark_corner(images: np.ndarray) -> np.ndarray:
    """The images with a corner that is black to the eye: levels of 1 to 6 of 255."""
    dark = images.copy()
    dark[..., :8, :8] = np.random.default_rng(99).integers(1, 7, dark[..., :8, :8].shape) / 255
    return dark


def test_places_in_the_spectrum() -> None:
    """The lattice holds every multiple of 1/4 once per pair f, -f; the lines every frequency along an axis above 1/8."""
    ((centres, rings),) = lattice((32, 32), 2)
    found = {tuple(place) for place in np.stack(np.unravel_index(centres, (32, 32)), axis=1).tolist()}
    every = {(k, m) for k in (0, 8, 16, 24) for m in (0, 8, 16, 24)} - {(0, 0)}
    assert found < every
    assert found | {(-k % 32, -m % 32) for k, m in found} == every
    assert len(found) == len({frozenset({(k, m), (-k % 32, -m % 32)}) for k, m in every})
    assert rings.shape == (len(found), 9 * 9 - 3 * 3)
    lines = axis_lines((32, 24))
    assert np.unravel_index(lines[0][0], (32, 24))[0].tolist() == list(range(5, 17))
    assert set(np.unravel_index(lines[0][1][0], (32, 24))[1].tolist()) == {2, 3, 4, 22, 21, 20}


def test_short_axes_have_fewer_stages() -> None:
    """A stage counts where at least 6 frequencies lie between its peaks, so an axis of 11 has none, and of 24 two."""
    assert len(lattice((11, 24), 3)[0][0]) == len({0, 6, 12}) - 1
    ((_, rings),) = lattice((3, 24), 3)
    assert all(len(set(ring)) == len(ring) for ring in rings.tolist())


def test_definition() -> None:
    """Checkerboard and banding are the differences of mean levels, written out for one stage."""
    real, synthetic = textures(5, 1, (16, 16)), textures(4, 2, (16, 16)) + 0.01 * (np.indices((16, 16)).sum(0) % 2)

    def levels(images: np.ndarray) -> np.ndarray:
        rows = []
        for image in images[:, 0].astype(np.float32):
            power = power_spectrum(image)
            peaks, lines = [], []
            for k, m in ((0, 8), (8, 0), (8, 8)):
                ring = [power[(k + a) % 16, (m + b) % 16] for a in range(-4, 5) for b in range(-4, 5) if max(abs(a), abs(b)) >= 2]
                peaks.append(power[k, m] / np.median(ring))
            for spectrum in (power, power.T):
                beside = (-4, -3, -2, 2, 3, 4)
                lines += [spectrum[k, 0] / np.median([spectrum[k, b] for b in beside]) for k in range(3, 9)]
            rows.append((10 * np.log10(np.mean(peaks)), 10 * np.log10(np.mean(lines))))
        return np.array(rows)

    expected = levels(synthetic).mean(axis=0) - levels(real).mean(axis=0)
    comparison = compared(Artefacts(stages=1), real, synthetic)
    found = Artefacts(stages=1).measure(comparison, CONTEXT)
    assert [found["checkerboard"], found["banding"]] == pytest.approx(expected, rel=1e-4)
    blamed = Artefacts(stages=1).per_image(comparison, CONTEXT)
    apart = levels(synthetic) - levels(real).mean(axis=0)
    np.testing.assert_allclose(np.stack([blamed["checkerboard"], blamed["banding"]], axis=1), apart, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_among_equals(size: tuple[int, ...]) -> None:
    """Two sets of the same texture differ by fractions of a dB, and neither wraps nor clips."""
    found = measured(textures(24, 3, size), textures(24, 4, size))
    assert abs(found["checkerboard"]) < 1.0
    assert abs(found["banding"]) < 1.5
    assert found["wraparound"] <= 1 / 24
    assert found["saturation"] == 0.0


@pytest.mark.parametrize("size", SIZES)
def test_uneven_overlap_of_up_sampling_is_seen(size: tuple[int, ...]) -> None:
    """A transposed convolution of stride 2 with a kernel of 3 leaves a checkerboard; the more of it, the higher the level."""
    real, half = textures(10, 5, size), textures(10, 6, tuple(n // 2 for n in size))
    spread = np.zeros((10, 1, *size))
    spread[(..., *(slice(None, None, 2) for _ in size))] = half
    kernel = np.ones((1, 1, *(3 for _ in size)))
    overlapping = convolve(spread, kernel, mode="wrap")
    even = convolve(spread, np.ones((1, 1, *(2 for _ in size))), mode="wrap")
    grain = 0.01 * np.random.default_rng(7).normal(size=spread.shape)
    values = []
    for share in (0.0, 0.01, 0.1):
        images = np.clip((1 - share) * textures(10, 8, size) + share * overlapping / overlapping.max() + grain, 0, 1)
        values.append(measured(real, images)["checkerboard"])
    assert values[0] < values[1] < values[2]
    assert values[2] > 10.0
    assert measured(real, np.clip(even + grain, 0, 1))["checkerboard"] < values[2]


@pytest.mark.parametrize("period", [2, 4, 8])
def test_every_stage_is_seen(period: int) -> None:
    """A faint pattern of period 2, 4 or 8 pixels stands out by more than 5 dB; a period of 5 is no stage."""
    real, other = textures(10, 9), textures(10, 10)

    def patterned(every: int) -> np.ndarray:
        rows, columns = np.indices((64, 64))
        return other + 0.06 * ((rows % every == 0) & (columns % every == 0))

    assert measured(real, patterned(period))["checkerboard"] > 5.0
    assert measured(real, patterned(5))["checkerboard"] < 3.0


@pytest.mark.parametrize(("size", "axis"), [((64, 64), 2), ((64, 64), 3), ((24, 32, 32), 2)])
def test_bands_are_seen_whatever_their_spacing(size: tuple[int, ...], axis: int) -> None:
    """Lines, or planes, of irregular brightness raise banding with their strength, and checkerboard less."""
    real, other = textures(16, 11, size), textures(16, 12, size)
    shape = [16 if a == 0 else n if a == axis else 1 for a, n in enumerate(other.shape)]
    bands = np.random.default_rng(13).normal(size=shape)
    found = [measured(real, np.clip(other + strength * bands, 0, 1)) for strength in (0.0, 0.003, 0.02)]
    assert found[0]["banding"] < found[1]["banding"] < found[2]["banding"]
    assert found[2]["banding"] > 10.0
    assert found[2]["checkerboard"] < found[2]["banding"]


def test_bands_of_real_images_do_not_count() -> None:
    """Where the real images have the same lines, there is nothing beyond them."""
    real, other = textures(16, 14), textures(16, 15)
    bands = 0.02 * np.random.default_rng(16).normal(size=(16, 1, 64, 1))
    found = measured(real + bands, other + bands[::-1])
    assert abs(found["banding"]) < 1.5


@pytest.mark.parametrize("size", SIZES)
def test_overflow_of_8_bits_is_counted(size: tuple[int, ...]) -> None:
    """Dark corners that fall below 0 and come back as white are wrapped: their images are counted, and ranked by extent."""
    real, synthetic = dark_corner(textures(30, 17, size)), dark_corner(textures(20, 18, size))
    levels = np.rint(synthetic * 255).astype(np.int64)
    levels[2] -= 3
    levels[9] -= 5
    wrapped = (levels % 256) / 255
    comparison = compared(Artefacts(), real, wrapped)
    assert Artefacts().measure(comparison, CONTEXT)["wraparound"] == pytest.approx(2 / 20)
    blamed = Artefacts().per_image(comparison, CONTEXT)["wraparound"]
    assert set(np.argsort(-blamed)[:2].tolist()) == {2, 9}
    assert np.count_nonzero(blamed) == 2
    assert measured(real, synthetic)["wraparound"] == 0.0


def test_jumps_of_real_images_do_not_count() -> None:
    """Images with a white mark on black in all sets are not wrapped, until one has many more jumps."""
    real, synthetic = dark_corner(textures(30, 19)), dark_corner(textures(20, 20))
    for images in (real, synthetic):
        images[..., 2:4, 2:4] = 1.0
    assert measured(real, synthetic)["wraparound"] == 0.0
    synthetic[7, 0, ::2, ::2], synthetic[7, 0, 1::2, 1::2] = 1.0, 0.0
    assert measured(real, synthetic)["wraparound"] == pytest.approx(1 / 20)


def test_jump_share() -> None:
    """It is the share of neighbours along any axis that differ by at least the jump, an axis of one pixel having none."""
    image = np.array([[[0.0, 0.8, 0.8], [0.0, 0.0, 0.1]]])
    assert jump_share(image, 0.75) == pytest.approx(2 / 7)
    assert jump_share(image, 0.85) == 0.0
    assert jump_share(image[:, None], 0.75) == pytest.approx(2 / 7)


def test_clipping_beyond_that_of_real_images() -> None:
    """Saturation is the share of clipped pixels that real images do not have at the same end; a black background is none."""
    real, synthetic = textures(10, 21), textures(10, 22)
    real[..., :16, :] = 0.0
    assert measured(real, synthetic)["saturation"] == 0.0
    synthetic[..., :16, :] = 0.0
    synthetic[..., :8] = np.where(synthetic[..., :8] > 0, 1.0, 0.0)
    found = compared(Artefacts(), real, synthetic)
    assert Artefacts().measure(found, CONTEXT)["saturation"] == pytest.approx(48 * 8 / 64**2)
    synthetic[4, ..., 8:12] = 1.0
    assert Artefacts().per_image(compared(Artefacts(), real, synthetic), CONTEXT)["saturation"].argmax() == 4
    nearly = textures(10, 23)
    nearly[..., :4] = 0.999
    assert measured(real, nearly)["saturation"] == pytest.approx(4 / 64)


def test_channels_are_averaged() -> None:
    """A pattern in one channel of two has half the ratio, a constant channel is left out, and counts run over all pixels."""
    one = textures(6, 24, channels=2)
    power = [power_spectrum(channel) for channel in one[0].astype(np.float32)]
    places = lattice((64, 64), 3)
    features = described(Artefacts(), one, "x").features
    assert features is not None
    assert features[0, 0] == pytest.approx(np.mean([excess(p, places) for p in power]), rel=1e-5)
    one[:, 1] = 0.0
    features = described(Artefacts(), one, "x").features
    assert features is not None
    assert features[0, 0] == pytest.approx(excess(power[0], places), rel=1e-5)
    assert features[0, 3] == pytest.approx(0.5)


def test_deterministic_and_indifferent_to_order_and_batch() -> None:
    """Numbers of an image do not depend on the set, and the measure does not depend on the order."""
    real, synthetic = textures(7, 25), textures(9, 26)
    alone = np.concatenate([described(Artefacts(), image[None], "x").features for image in real])
    np.testing.assert_array_equal(alone, described(Artefacts(), real, "x").features)
    assert measured(real, synthetic) == measured(real, synthetic)
    assert measured(real[::-1], synthetic[::-1]) == pytest.approx(measured(real, synthetic))


def test_flat_images_are_left_out() -> None:
    """Constant images change no level and are not blamed for any; where all are constant, two quantities have a reason."""
    real, synthetic = textures(8, 27), textures(8, 28)
    mixed = np.concatenate([synthetic, np.full((2, 1, 64, 64), 0.3)])
    for name in ("checkerboard", "banding"):
        assert measured(real, mixed)[name] == pytest.approx(measured(real, synthetic)[name])
        assert Artefacts().per_image(compared(Artefacts(), real, mixed), CONTEXT)[name][-2:].tolist() == [0.0, 0.0]
    for word, found in (("synthetic", measured(real, mixed[-2:])), ("real", measured(mixed[-2:], synthetic))):
        assert str(found["checkerboard"]) == str(found["banding"]) == f"every {word} image is constant: there is no spectrum"
        assert found["wraparound"] == found["saturation"] == 0.0
    assert set(Artefacts().per_image(compared(Artefacts(), mixed[-2:], synthetic), CONTEXT)) == {"wraparound", "saturation"}


def test_an_exact_pattern_is_finite() -> None:
    """A pattern without any noise has a level, which rounding to 12 bits bounds."""
    pattern = np.broadcast_to((np.indices((32, 32)).sum(0) % 2) * 1.0, (2, 1, 32, 32))
    found = measured(textures(5, 29, (32, 32)), pattern)
    assert 60.0 < found["checkerboard"] < 130.0


def test_bad_input() -> None:
    """Images too small for a lattice and empty sides are reasons; one image on each side is enough."""
    for size, words in (((1, 1), "1 x 1"), ((64, 7), "64 x 7"), ((3, 11, 11), "3 x 11 x 11")):
        with pytest.raises(NotComputable, match=f"12 pixels along one axis and 8 along another, got {words}"):
            described(Artefacts(), np.zeros((2, 1, *size)), "x")
    real, synthetic = textures(5, 30), textures(5, 31)
    comparison = compared(Artefacts(), real, synthetic, real[:0])
    assert Artefacts().measure(comparison, CONTEXT)["saturation"] == 0.0
    with pytest.raises(NotComputable, match="there are no test images"):
        Artefacts(against="test").measure(comparison, CONTEXT)
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        measured(real, synthetic[:0])
    same = measured(real[:1], real[:1])
    assert same == {"checkerboard": 0.0, "banding": 0.0, "wraparound": 0.0, "saturation": 0.0}


@pytest.mark.parametrize(("size", "channels"), [((20, 24), 1), ((12, 9, 11), 2)])
def test_conforms(size: tuple[int, ...], channels: int) -> None:
    """It keeps the promises of a metric on images and on volumes."""
    check(Artefacts(), n=24, size_px=size, channels=channels)


def test_a_published_generator(real_data: Path) -> None:
    """A C-DCGAN's mammography crops have checkerboards, bands and wrapped corners; crops of other patients have none."""

    def read(folder: str, every: int) -> np.ndarray:
        files = sorted((real_data / "mammo_mcgan" / folder).rglob("*.png"))[::every]
        return np.stack([np.asarray(Image.open(file).convert("L"), np.float32)[None] / 255 for file in files])

    train, val, synthetic = read("real_train", 8), read("real_val", 2), read("synthetic_a", 6)
    found, floor = measured(train, synthetic), measured(train, val)
    assert found["checkerboard"] > 15.0
    assert found["banding"] > 5.0
    assert found["wraparound"] > 0.04
    assert max(abs(floor["checkerboard"]), abs(floor["banding"])) < 1.5
    assert floor["wraparound"] < 0.03
    blamed = Artefacts().per_image(compared(Artefacts(), train, synthetic), CONTEXT)["wraparound"]
    worst = synthetic[np.argsort(-blamed)[:5], 0]
    assert all(((image > 0.95).sum() > 50) and ((image < 0.05).sum() > 50) for image in worst)
