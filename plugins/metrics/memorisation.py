"""Copies of training images among the synthetic ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

_FEWEST_CALIBRATORS = 20


_JUMPS = "a percentile jumps where the share of copies passes it (simulated: 95 % intervals cover 53 % where a tenth are copies)"


class Memorisation(Metric):
    """Share of synthetic images that are copies of training images, AuthPct, and the nearest-neighbour distance ratio (NNDR).

    copied_share: an image is a copy if it lies much nearer to one training image than to the next, u = d1 / d2 below a
    threshold that test images, which cannot be copies, do not reach: the smaller of their smallest u and of alpha^(1/D). Near
    a smooth density -log u is exponential with the local dimension D as rate, D = 1 / mean(-log u) (Levina & Bickel 2004;
    Amsaleg et al. 2015, KDD), so alpha, `false_positive_rate`, is the chance that an honest image is called a copy. From 0 to
    1, lower is better. authpct: percentage of synthetic images that are farther from their nearest training image than that
    one from its own nearest neighbour (Alaa et al. 2022, arXiv:2102.08921; per synthetic image, Stein et al. 2023,
    arXiv:2306.04675; marcojira/fld prints it less 50). From 0 to 100, higher means less copied; a perfect generator does not
    reach 100 and the level depends on dimension and number, so read it against its real-against-real floor.

    nndr: the `nndr_percentile`-th percentile of u over the synthetic images, from 0 to 1, higher is better. nndr_to_test: that
    over the same percentile of the test images: 1 where synthetic images are as far from training images as unseen real ones,
    towards 0 where copies are among them. The default is the 5th, as in reports on tabular data (Zhao et al. 2021,
    arXiv:2102.08369): a median stays where it is until half of the images are copies, a minimum is one image's.

    Exact duplicates among the training images count once, and test images that are identical to a training image do not
    calibrate. Blind to copies of images whose near copies are in the training set as well (neighbouring slices), to copies that
    the extractor places elsewhere (flipped, cropped), and to everything that is not copying. Images to blame: 1 - u.
    """

    name = "memorisation"
    version = "2"
    needs = frozenset({"features"})
    takes = frozenset({"embedding", "distances"})
    in_suite = True
    quantities = (
        Quantity(
            name="copied_share", better="lower", low=0.0, high=1.0, proportion=True, fixed_train=True, family="memorisation"
        ),
        Quantity(
            name="authpct", unit="%", better="higher", low=0.0, high=100.0, biased_in_n=True, fixed_train=True,
            family="memorisation",
        ),
        Quantity(
            name="nndr", better="higher", low=0.0, high=1.0, fixed_train=True, no_interval=_JUMPS, family="memorisation"
        ),
        Quantity(name="nndr_to_test", better="higher", low=0.0, family="memorisation", no_interval=_JUMPS),
    )  # fmt: skip
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.MODE_COLLAPSE, FailureMode.INTERNAL_DUPLICATION, FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT})

    false_positive_rate: float = Field(0.001, gt=0.0, lt=1.0)
    nndr_percentile: float = Field(5.0, ge=0.0, le=100.0)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the share of copies, AuthPct and the distance ratios of the synthetic images, each or why it has no number."""
        return {
            "copied_share": _answer(lambda: float(np.mean(copies(comparison, self.false_positive_rate)))),
            "authpct": _answer(lambda: authpct(comparison)),
            "nndr": _answer(lambda: nndr(comparison, self.nndr_percentile)),
            "nndr_to_test": _answer(lambda: nndr_to_test(comparison, self.nndr_percentile)),
        }

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return 1 - u for each synthetic image: 1 for an exact copy, 0 half-way between two training images."""
        return {"copied_share": 1.0 - _synthetic_ratios(distinct_train(comparison))}


def copies(comparison: Comparison, false_positive_rate: float = 0.001) -> np.ndarray:
    """Return (N_synthetic,) True where a synthetic image is a copy of a training image."""
    distinct = distinct_train(comparison)
    own = _synthetic_ratios(distinct)
    return own < copy_threshold(_test_ratios(distinct), false_positive_rate)


def ratios(nearest: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return u = d1 / d2, the distance to the nearest over that to the second nearest distinct training image, in [0, 1]."""
    return nearest / second


def copy_threshold(test_ratios: np.ndarray, false_positive_rate: float = 0.001) -> float:
    """Return the ratio below which an image is a copy: min(smallest test ratio, alpha^(1/D)), D = 1 / mean(-log u).

    D is the maximum-likelihood estimate of the local dimension (Levina & Bickel 2004). Ratios of zero are test images that
    are identical to a training image; they are left out.
    """
    usable = _usable(test_ratios)
    inverse_dimension = float(np.mean(-np.log(usable)))
    if inverse_dimension == 0.0:
        raise NotComputable("every test image is equally far from its two nearest training images")
    return min(float(usable.min()), false_positive_rate**inverse_dimension)


def nndr(comparison: Comparison, percentile: float = 5.0) -> float:
    """Return a percentile of u = d1 / d2 from the synthetic to the distinct training images, in [0, 1]."""
    return float(np.percentile(_synthetic_ratios(distinct_train(comparison)), percentile))


def nndr_to_test(comparison: Comparison, percentile: float = 5.0) -> float:
    """Return that percentile over the same one of the test images that are not identical to a training image, from 0."""
    distinct = distinct_train(comparison)
    reference = float(np.percentile(_usable(_test_ratios(distinct)), percentile))
    return float(np.percentile(_synthetic_ratios(distinct), percentile)) / reference


def authpct(comparison: Comparison) -> float:
    """Return the percentage of synthetic images farther from their nearest training image than that from its own nearest."""
    train, synthetic = comparison.n("train"), comparison.n("synthetic")
    if train < 2 or not synthetic:
        raise NotComputable(f"needs 2 training images and 1 synthetic, got {train} and {synthetic}")
    distance, index = comparison.neighbours("synthetic", "train", 1)
    own = comparison.neighbours("train", "train", 1)[0][:, 0]
    return float(100.0 * np.mean(own[index[:, 0]] < distance[:, 0]))


def distinct_train(comparison: Comparison) -> Comparison:
    """Return the comparison with one of each group of training images whose features are identical."""
    n = comparison.n("train")
    if n < 2:
        raise NotComputable(f"needs 2 training images with different features, got {n}")
    twins = np.flatnonzero(comparison.neighbours("train", "train", 1)[0][:, 0] == 0.0)
    if not len(twins):
        return comparison
    first: dict[bytes, int] = {}
    # Adding zero turns -0.0 into 0.0, which is the same number with other bytes.
    for row, values in zip(twins, comparison.features("train")[twins] + 0.0, strict=True):
        first.setdefault(values.tobytes(), int(row))
    kept = np.ones(n, dtype=bool)
    kept[twins] = False
    kept[list(first.values())] = True
    if kept.sum() < 2:
        raise NotComputable(f"needs 2 training images with different features, got {kept.sum()}")
    return comparison.take(train=np.flatnonzero(kept))


def _synthetic_ratios(distinct: Comparison) -> np.ndarray:
    if not distinct.n("synthetic"):
        raise NotComputable("there are no synthetic images")
    return ratios(*distinct.neighbours("synthetic", "train", 2)[0].T)


def _test_ratios(distinct: Comparison) -> np.ndarray:
    return ratios(*distinct.neighbours("test", "train", 2)[0].T) if distinct.n("test") else np.empty(0)


def _usable(test_ratios: np.ndarray) -> np.ndarray:
    """Return the ratios of test images that are not identical to a training image, if there are enough of them."""
    usable = test_ratios[test_ratios > 0.0]
    if len(usable) < _FEWEST_CALIBRATORS:
        raise NotComputable(f"needs {_FEWEST_CALIBRATORS} test images that are not identical to a training image, got {len(usable)}")
    return usable


def _answer(number: Callable[[], float]) -> float | NotComputable:
    try:
        return number()
    except NotComputable as reason:
        return reason
