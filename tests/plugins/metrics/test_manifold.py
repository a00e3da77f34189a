"""Facts about precision, recall, density and coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics.manifold import Manifold, prdc, realism

CONTEXT = Context(seed=0, workdir=Path())


def golden_value(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value to compare to: the reference implementation's, or the independent one where that lost digits."""
    return dict(row["independent"]["value"] if row["compare_to"] == "independent.value" else row["value"])


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The four shares are those of the reference implementation."""

    def value_of(row: Mapping[str, Any], sets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        found = Manifold(k=row["params"]["k"]).measure(compare(sets["train"], sets["gen"]), CONTEXT)
        return {name: found[name] for name in golden_value(row)}

    golden.check("prdc", value_of)


def test_golden_inclusive(golden: Any, compare: Callable[..., Comparison]) -> None:
    """With the surface inside, precision and recall are those of Kynkaanniemi et al."""

    def value_of(row: Mapping[str, Any], sets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        found = Manifold(k=row["params"]["k"], inclusive=True).measure(compare(sets["train"], sets["gen"]), CONTEXT)
        return {name: found[name] for name in ("precision", "recall")}

    golden.check("ipr", value_of)


def test_golden_realism(golden: Any, compare: Callable[..., Comparison]) -> None:
    """Both variants of the realism score are those of their implementations, image by image and in summary."""
    for row, sets in golden.rows("realism"):
        scores = realism(compare(sets["train"], sets["gen"]), row["params"]["k"], row["variant"])
        expected = golden_value(row)
        clipped = np.minimum(scores, 1e3)
        found = {
            "n": len(scores),
            "frac_ge_1": np.mean(scores >= 1.0),
            "n_huge": np.sum(scores >= 1e3),
            "min": scores.min(),
            "q05": np.quantile(clipped, 0.05),
            "q50": np.quantile(clipped, 0.5),
            "clipped_mean": clipped.mean(),
            "last8": clipped[-8:],
        }
        assert set(expected) == set(found)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], row["rtol"], row["atol"], err_msg=f"{row['id']} {name}")


def test_definition(compare: Callable[..., Comparison]) -> None:
    """They are the definitions written out over all pairs."""
    rng = np.random.default_rng(1)
    real, synthetic = rng.normal(size=(30, 3)), rng.normal(0.3, size=(25, 3))

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b[None], axis=2)

    radius_r, radius_s = (np.sort(distances(x, x), axis=1)[:, 4] for x in (real, synthetic))
    inside = distances(real, synthetic) < radius_r[:, None]
    expected = {
        "precision": inside.any(axis=0).mean(),
        "recall": (distances(real, synthetic) < radius_s[None]).any(axis=1).mean(),
        "density": inside.sum() / (4 * 25),
        "coverage": inside.any(axis=1).mean(),
    }
    assert prdc(compare(real, synthetic), 4) == pytest.approx(expected)


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats and another order of the rows give the same shares."""
    rng = np.random.default_rng(2)
    real, synthetic = rng.normal(size=(80, 12)), rng.normal(0.2, 1.0, size=(70, 12))
    first = prdc(compare(real, synthetic))
    assert prdc(compare(real, synthetic)) == first
    assert prdc(compare(real[::-1], rng.permutation(synthetic))) == pytest.approx(first)


def test_fall_under_the_defects_they_see(compare: Callable[..., Comparison]) -> None:
    """Noise lowers precision and density, lost modes lower recall and coverage, copies raise all but density beyond doubt."""
    rng = np.random.default_rng(3)
    real, fair = rng.normal(size=(300, 6)), rng.normal(size=(300, 6))
    base = prdc(compare(real, fair))
    noisy = prdc(compare(real, fair + rng.normal(0, 1.5, fair.shape)))
    assert noisy["precision"] < base["precision"]
    assert noisy["density"] < base["density"]
    collapsed = prdc(compare(real, fair[fair[:, 0] > 0.5]))
    assert collapsed["recall"] < base["recall"]
    assert collapsed["coverage"] < base["coverage"]
    copied = prdc(compare(real, real))
    assert copied == {"precision": 1.0, "recall": 1.0, "density": pytest.approx(1.0), "coverage": 1.0}


def test_real_side_is_an_option(compare: Callable[..., Comparison]) -> None:
    """`against: test` compares with the test images."""
    rng = np.random.default_rng(4)
    train, test, synthetic = rng.normal(9.0, size=(40, 3)), rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    comparison = compare(train, synthetic, test)
    assert Manifold().measure(comparison, CONTEXT)["precision"] == 0.0
    assert Manifold(against="test").measure(comparison, CONTEXT) == Manifold().measure(compare(test, synthetic), CONTEXT)
    assert Manifold(against="test").per_image(comparison, CONTEXT) == {}


def test_identical_images_are_strictly_inside_nothing(compare: Callable[..., Comparison]) -> None:
    """When all images are one, every radius is zero and every share is zero, as in Naeem et al.'s code."""
    identical = compare(np.ones((9, 2)), np.ones((9, 2)))
    assert set(prdc(identical).values()) == {0.0}
    assert set(prdc(identical, inclusive=True).values()) == {1.0, 9 / 5}
    assert "no train image has a ball of positive radius below the median" in str(Manifold().measure(identical, CONTEXT)["realism"])


def test_definition_of_realism(compare: Callable[..., Comparison]) -> None:
    """It is the largest ratio of radius to distance over the smaller half of the balls, and the share counts those from 1."""
    rng = np.random.default_rng(5)
    real, synthetic = rng.normal(size=(41, 3)), rng.normal(0.3, size=(25, 3))
    synthetic[0] = real[0]
    radii = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[:, 3]
    across = np.linalg.norm(real[:, None] - synthetic[None], axis=2)
    small, up_to = radii < np.median(radii), radii <= np.median(radii)
    assert not np.array_equal(small, up_to)
    with np.errstate(divide="ignore"):
        plain = (radii[small, None] / across[small]).max(axis=0)
    squared = (radii[up_to, None] ** 2 / (across[up_to] ** 2 + 1e-5)).max(axis=0)
    comparison = compare(real, synthetic)
    np.testing.assert_allclose(realism(comparison, 3), plain)
    np.testing.assert_allclose(realism(comparison, 3, "kynkaat"), squared)
    for variant, scores in (("dgm", plain), ("kynkaat", squared)):
        metric = Manifold(k=3, realism_variant=variant)
        assert metric.measure(comparison, CONTEXT)["realism"] == np.mean(scores >= 1)
        np.testing.assert_allclose(metric.per_image(comparison, CONTEXT)["realism"], 1 / scores)


def test_images_to_blame(compare: Callable[..., Comparison]) -> None:
    """Images far outside stand out, and an exact copy is at 0."""
    rng = np.random.default_rng(6)
    real, synthetic = rng.normal(size=(200, 4)), rng.normal(size=(60, 4))
    synthetic[:5] += 8.0
    inner = np.argmin((real**2).sum(axis=1))
    synthetic[5] = real[inner]
    blame = Manifold().per_image(compare(real, synthetic), CONTEXT)["realism"]
    assert set(np.argsort(blame)[-5:]) == set(range(5))
    assert blame[5] == 0.0


def test_conformance() -> None:
    """It keeps the promises of a metric: one answer for one seed, whatever the order of the images."""
    check(Manifold())
    check(Manifold(inclusive=True, realism_variant="kynkaat"))


def test_too_few_images(compare: Callable[..., Comparison]) -> None:
    """Fewer than k + 1 images on one side are no number, and the reason counts them."""
    with pytest.raises(NotComputable, match="needs 6 images on each side for k = 5, got 20 real and 5 synthetic"):
        prdc(compare(np.zeros((20, 2)), np.zeros((5, 2))))
    with pytest.raises(NotComputable, match="got 0 real and 20 synthetic"):
        Manifold(against="test").measure(compare(np.zeros((20, 2)), np.zeros((20, 2)), np.zeros((0, 2))), CONTEXT)
    with pytest.raises(NotComputable, match="got 1 real and 1 synthetic"):
        realism(compare(np.zeros((1, 2)), np.zeros((1, 2))))
