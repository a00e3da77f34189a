"""Copies of training images among the synthetic ones."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

_FEWEST_CALIBRATORS = 20


class Memorisation(Metric):
    """Share of synthetic images that are copies of training images, and AuthPct.

    copied_share: an image is a copy if it lies much nearer to one training image than to the next, u = d1 / d2 below a
    threshold that test images, which cannot be copies, do not reach: the smaller of their smallest u and of alpha^(1/D). Near
    a smooth density -log u is exponential with the local dimension D as rate, D = 1 / mean(-log u) (Levina & Bickel 2004;
    Amsaleg et al. 2015, KDD), so alpha, `false_positive_rate`, is the chance that an honest image is called a copy. From 0 to
    1, lower is better. authpct: percentage of synthetic images that are farther from their nearest training image than that
    one from its own nearest neighbour (Alaa et al. 2022, arXiv:2102.08921; per synthetic image, Stein et al. 2023,
    arXiv:2306.04675). From 0 to 100, higher means less copied; a perfect generator does not reach 100 and the level depends on
    dimension and number, so read it against its real-against-real floor.

    Exact duplicates among the training images count once, and test images that are identical to a training image do not
    calibrate. Blind to copies of images whose near copies are in the training set as well (neighbouring slices), to copies that
    the extractor places elsewhere (flipped, cropped), and to everything that is not copying.
    """

    name = "memorisation"
    version = "1"
    needs = frozenset({"features"})
    quantities = (
        Quantity(
            name="copied_share", better="lower", low=0.0, high=1.0, proportion=True, fixed_train=True, family="memorisation"
        ),
        Quantity(
            name="authpct", unit="%", better="higher", low=0.0, high=100.0, biased_in_n=True, fixed_train=True,
            family="memorisation",
        ),
    )  # fmt: skip
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.MODE_COLLAPSE, FailureMode.INTERNAL_DUPLICATION, FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT})

    false_positive_rate: float = Field(0.001, gt=0.0, lt=1.0)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the share of copies and AuthPct of the synthetic images."""
        copied = copies(comparison, self.false_positive_rate)
        return {"copied_share": float(np.mean(copied)), "authpct": authpct(comparison)}


def copies(comparison: Comparison, false_positive_rate: float = 0.001) -> np.ndarray:
    """Return (N_synthetic,) True where a synthetic image is a copy of a training image."""
    if not comparison.n("synthetic"):
        raise NotComputable("there are no synthetic images")
    distinct = _distinct(comparison)
    threshold = copy_threshold(ratios(*distinct.neighbours("test", "train", 2)[0].T), false_positive_rate)
    return ratios(*distinct.neighbours("synthetic", "train", 2)[0].T) < threshold


def ratios(nearest: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return u = d1 / d2, the distance to the nearest over that to the second nearest distinct training image, in [0, 1]."""
    return nearest / second


def copy_threshold(test_ratios: np.ndarray, false_positive_rate: float = 0.001) -> float:
    """Return the ratio below which an image is a copy: min(smallest test ratio, alpha^(1/D)), D = 1 / mean(-log u).

    D is the maximum-likelihood estimate of the local dimension (Levina & Bickel 2004). Ratios of zero are test images that
    are identical to a training image; they are left out.
    """
    usable = test_ratios[test_ratios > 0.0]
    if len(usable) < _FEWEST_CALIBRATORS:
        raise NotComputable(f"needs {_FEWEST_CALIBRATORS} test images that are not identical to a training image, got {len(usable)}")
    inverse_dimension = float(np.mean(-np.log(usable)))
    if inverse_dimension == 0.0:
        raise NotComputable("every test image is equally far from its two nearest training images")
    return min(float(usable.min()), false_positive_rate**inverse_dimension)


def authpct(comparison: Comparison) -> float:
    """Return the percentage of synthetic images farther from their nearest training image than that from its own nearest."""
    train, synthetic = comparison.n("train"), comparison.n("synthetic")
    if train < 2 or not synthetic:
        raise NotComputable(f"needs 2 training images and 1 synthetic, got {train} and {synthetic}")
    distance, index = comparison.neighbours("synthetic", "train", 1)
    own = comparison.neighbours("train", "train", 1)[0][:, 0]
    return float(100.0 * np.mean(own[index[:, 0]] < distance[:, 0]))


def _distinct(comparison: Comparison) -> Comparison:
    """Return the comparison with one of each group of training images whose features are identical."""
    first: dict[bytes, int] = {}
    # Adding zero turns -0.0 into 0.0, which is the same number with other bytes.
    for row, values in enumerate(comparison.features("train") + 0.0):
        first.setdefault(values.tobytes(), row)
    if len(first) < 2:
        raise NotComputable(f"needs 2 training images with different features, got {len(first)}")
    return comparison if len(first) == comparison.n("train") else comparison.take(train=np.array(list(first.values())))
