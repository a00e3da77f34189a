"""Facts about the Vendi score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import cdist

from harness.api import Comparison, Context, NotComputable
from harness.testing import check
from harness_plugins.metrics import diversity
from harness_plugins.metrics.diversity import Vendi, median_distance, renyi_number, vendi_score


def measured(comparison: Comparison, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Both quantities of a comparison."""
    return Vendi(**options).measure(comparison, Context(seed=seed, workdir=Path()))


def score(rows: np.ndarray, compare: Callable[..., Comparison], **options: Any) -> float:
    """Vendi score of synthetic features."""
    return float(measured(compare(rows, rows), **options)["vendi"])


def written_out(kernel: np.ndarray, order: float) -> float:
    """The definition on the n x n matrix of similarities; inf is the limit."""
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-14]
    if order == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    return float(1 / values.max()) if order == np.inf else float((values**order).sum() ** (1 / (1 - order)))


@pytest.mark.parametrize(
    "options", [{}, {"order": "inf"}, {"kernel": "rbf"}, {"kernel": "poly3_cosine"}, {"centre": "train", "order": 0.5}]
)
def test_conforms(options: dict[str, Any]) -> None:
    """The component keeps the promises of a metric."""
    check(Vendi(**options))


def test_golden_values(golden: Any, compare: Callable[..., Comparison]) -> None:
    """The component gives the values of the reference implementations, for every order and kernel that they have."""
    kernels = {"linear_cosine": "cosine", "poly3_cosine": "poly3_cosine"}

    def value(row: dict[str, Any], sets: dict[str, np.ndarray]) -> float:
        return score(sets[row["inputs"][0]], compare, order=row["params"]["q"], kernel=kernels[row["variant"]])

    golden.check("vendi", value)


@pytest.mark.parametrize("order", [0.1, 0.5, 0.99, 1.0, 2.0, 7.5, "inf"])
@pytest.mark.parametrize(("n", "d"), [(12, 5), (5, 12), (9, 9)])
def test_definition(n: int, d: int, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more images than features and with fewer, whole and in blocks of one row, it is the definition written out."""
    rows = np.random.default_rng(1).normal(0.5, size=(n, d))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = written_out(unit @ unit.T, float(order))
    assert vendi_score(rows, order) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(diversity, "_BLOCK_ENTRIES", 1)
    assert vendi_score(rows, order) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("order", [0.9, 1.0, 2.0, "inf"])
def test_definition_of_the_other_kernels(order: Any) -> None:
    """The Gaussian and the polynomial kernel are the ones that the options describe."""
    rows = np.random.default_rng(2).normal(size=(14, 6))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gauss = np.exp(-(cdist(rows, rows) ** 2) / (2 * 1.7**2))
    assert vendi_score(rows, order, "rbf", 1.7) == pytest.approx(written_out(gauss, float(order)), rel=1e-10)
    cubic = (unit @ unit.T / 6 + 1) ** 3
    assert vendi_score(rows, order, "poly3_cosine") == pytest.approx(written_out(cubic, float(order)), rel=1e-10)


def test_effective_number() -> None:
    """k orthogonal groups of equal size count as k at every order, under repetition too; images all alike count as one."""
    groups = np.repeat(np.eye(9)[:4] * 3.0, 5, axis=0)
    for order in (0.1, 0.5, 1.0, 2.0, "inf"):
        assert vendi_score(groups, order) == pytest.approx(4.0, rel=1e-9)
        assert vendi_score(np.full((7, 3), 0.3), order) == pytest.approx(1.0, rel=1e-9)
    assert vendi_score(groups, 1.0, "rbf", 1e-2) == pytest.approx(4.0, rel=1e-9)
    assert renyi_number(np.full(8, 0.125), 3.0) == pytest.approx(8.0)


def test_orders_fall() -> None:
    """The score never rises with the order, and order 1 joins its neighbours."""
    rows = np.random.default_rng(3).normal(size=(60, 8)) * np.arange(1, 9)
    scores = [vendi_score(rows, order) for order in (0.1, 0.5, 1 - 1e-6, 1.0, 1 + 1e-6, 2.0, 50.0, "inf")]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] == pytest.approx(scores[4], rel=1e-5)


def test_low_orders_are_exact_or_refused() -> None:
    """Singular directions do not leak into low orders; where a kernel's eigenvalues lie below rounding, the reason gives the bounds."""
    rows = np.random.default_rng(4).normal(size=(40, 6))
    doubled = np.hstack([rows, rows @ np.random.default_rng(5).normal(size=(6, 20))])
    unit = doubled / np.linalg.norm(doubled, axis=1, keepdims=True)
    values = np.linalg.svd(unit, compute_uv=False)[:6] ** 2 / 40
    assert vendi_score(doubled, 0.1) == pytest.approx((values**0.1).sum() ** (1 / 0.9), rel=1e-10)
    smooth = np.linspace(0, 1, 30)[:, None]
    with pytest.raises(NotComputable, match=r"order 0\.1 rests on eigenvalues below rounding: the score lies between 3\.\d+ and 4\.\d+"):
        vendi_score(smooth, 0.1, "rbf", 1.0)
    assert vendi_score(smooth, 1.0, "rbf", 1.0) == pytest.approx(written_out(np.exp(-((smooth - smooth.T) ** 2) / 2), 1.0), rel=1e-10)


def test_scale_does_not_matter() -> None:
    """The cosine ignores the length of the rows, also where their squares are beyond the range of numbers."""
    rows = np.random.default_rng(6).normal(size=(30, 4))
    for factor in (1e-200, 1e200, np.arange(1, 31)[:, None]):
        assert vendi_score(rows * factor) == pytest.approx(vendi_score(rows), rel=1e-12)


def test_median_bandwidth(compare: Callable[..., Comparison]) -> None:
    """The default bandwidth is the median distance between two training images, so the score does not change with the units."""
    rng = np.random.default_rng(7)
    train, synthetic = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    distances = cdist(train, train)[np.triu_indices(30, 1)]
    assert median_distance(train) == pytest.approx(np.median(distances))
    by_median = measured(compare(train, synthetic), kernel="rbf")
    assert by_median == pytest.approx(measured(compare(train, synthetic), kernel="rbf", bandwidth=float(np.median(distances))))
    assert by_median == pytest.approx(measured(compare(train * 255, synthetic * 255), kernel="rbf"))


def test_centring(compare: Callable[..., Comparison]) -> None:
    """Far from the origin all cosines are near 1 and the score is near 1; less the training mean, it sees the spread again."""
    rng = np.random.default_rng(8)
    train, synthetic = rng.normal(size=(60, 5)), rng.normal(size=(60, 5))
    far = compare(train + 50.0, synthetic + 50.0)
    assert measured(far)["vendi"] < 1.1
    near = measured(far, centre="train")
    assert near["vendi"] > 4.0
    assert near["vendi"] == pytest.approx(vendi_score(synthetic - train.mean(axis=0)), rel=1e-9)


def test_ratio(compare: Callable[..., Comparison]) -> None:
    """The ratio is that of the scores at equal number, 1 for equal distributions, below 1 for a collapsed generator."""
    rng = np.random.default_rng(9)
    train, synthetic = rng.normal(size=(300, 30)), rng.normal(size=(300, 30))
    assert measured(compare(train, synthetic))["vendi_ratio"] == pytest.approx(vendi_score(synthetic) / vendi_score(train), rel=1e-12)
    for n_train, n_synthetic in ((300, 60), (60, 300)):
        fair = measured(compare(train[:n_train], synthetic[:n_synthetic]))
        assert fair["vendi_ratio"] == pytest.approx(1.0, abs=0.05)
        assert fair["vendi"] == pytest.approx(vendi_score(synthetic[:n_synthetic]))
    collapsed = np.repeat(synthetic[:20], 15, axis=0)
    assert measured(compare(train, collapsed))["vendi_ratio"] < 0.6


def test_deterministic_and_indifferent_to_order(compare: Callable[..., Comparison]) -> None:
    """Repeats agree exactly, another order of the rows to rounding, and the draw of the larger set follows the seed."""
    rng = np.random.default_rng(10)
    train, synthetic = rng.normal(size=(50, 12)), rng.normal(size=(90, 12))
    here, moved = compare(train, synthetic), compare(train[::-1], rng.permutation(synthetic))
    assert measured(here) == measured(here)
    assert measured(moved) == pytest.approx(measured(here), rel=1e-10)
    assert measured(here, seed=1)["vendi_ratio"] != measured(here)["vendi_ratio"]
    assert measured(here, seed=1)["vendi"] == measured(here)["vendi"]


def test_falls_with_collapse_and_is_blind_to_fidelity(compare: Callable[..., Comparison]) -> None:
    """Lost modes lower it, noise raises it, copies of the training images leave it at theirs: what the docstring says."""
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(6, 20)) * 4.0
    train, synthetic = (centres[rng.integers(0, 6, 240)] + rng.normal(size=(240, 20)) for _ in range(2))
    base = measured(compare(train, synthetic))
    lost = measured(compare(train, centres[rng.integers(0, 2, 240)] + rng.normal(size=(240, 20))))
    noisy = measured(compare(train, synthetic + rng.normal(0, 3.0, size=synthetic.shape)))
    for name in ("vendi", "vendi_ratio"):
        assert lost[name] < base[name] < noisy[name]
    assert measured(compare(train, train.copy()))["vendi_ratio"] == pytest.approx(1.0)


def test_bad_input(compare: Callable[..., Comparison]) -> None:
    """Too few images, rows of length zero and too many images for an n x n eigenproblem are said in words."""
    rows = np.random.default_rng(12).normal(size=(12, 3))
    with pytest.raises(NotComputable, match="needs 2 synthetic images, got 1"):
        measured(compare(rows, rows[:1]))
    for n, reason in ((0, "needs 2 training images, got 0"), (1, "needs 2 training images, got 1")):
        result = measured(compare(rows[:n], rows))
        assert result["vendi"] == vendi_score(rows)
        assert str(result["vendi_ratio"]) == reason
    assert measured(compare(rows, rows, rows[:0])) == measured(compare(rows, rows))
    for options in ({"centre": "train"}, {"kernel": "rbf"}):
        with pytest.raises(NotComputable, match="no training images to take the mean or the bandwidth from"):
            measured(compare(rows[:0], rows), **options)
    blank = np.vstack([rows, np.zeros((2, 3))])
    with pytest.raises(NotComputable, match="2 of 14 synthetic images have features of length zero"):
        measured(compare(rows, blank))
    assert "2 of 14 training images" in str(measured(compare(blank, np.vstack([rows, rows])[:14]))["vendi_ratio"])
    with pytest.raises(NotComputable, match="12 of 12 synthetic images"):
        measured(compare(np.full((12, 3), 0.5), np.full((12, 3), 0.5)), centre="train")
    with pytest.raises(NotComputable, match="12 synthetic images exceed 10"):
        measured(compare(rows[:5], rows), kernel="poly3_cosine", max_images=10)
    with pytest.raises(NotComputable, match="median distance of 12 training images takes too long"):
        measured(compare(rows, rows[:5]), kernel="rbf", max_images=10)
    with pytest.raises(NotComputable, match="median distance between training images is zero"):
        measured(compare(np.ones((12, 3)), rows), kernel="rbf")
    with pytest.raises(NotComputable, match="needs 2 training images, got 1"):
        measured(compare(rows[:1], rows), kernel="rbf")


def test_options_are_checked() -> None:
    """Orders are above zero and infinity is the word; both are read from YAML as they are written."""
    for order in (0.0, -1.0, float("inf"), float("nan"), "Inf"):
        with pytest.raises(ValidationError):
            Vendi(order=order)
    assert Vendi(order=2).order == 2.0
    assert Vendi.model_validate_json(Vendi(order="inf", kernel="rbf", bandwidth=2.0).model_dump_json()).order == "inf"
