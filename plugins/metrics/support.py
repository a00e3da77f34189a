"""Alpha-precision, beta-recall, authenticity and identifiability: who lies in whose support."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from .memorisation import authpct

Score = Literal["authors", "synthcity"]
AuthenticityOf = Literal["synthetic", "real"]
_BLOCK_ENTRIES = 4_000_000


_FOLDED = "half-samples understate the spread of a sum of absolute deviations (simulated: 95 % intervals cover 90 %)"
_DENSE = "it depends so much on how densely synthetic images lie that half of them understate its spread (simulated: 89 %)"


class Support(Metric):
    """Alpha-precision, beta-recall and authenticity (Alaa et al. 2022, arXiv:2102.08921), and identifiability.

    alpha_precision: P(a) is the share of synthetic images no farther from the mean of the training images than the a-quantile of
    those is; a perfect generator has P(a) = a. beta_recall: R(b) is the share of training images that have a synthetic image
    within the distance to their own nearest training image, where that synthetic image is no farther from the synthetic mean
    than the b-quantile over the images found so. Both are scored over equally spaced `levels` by 1 - 2 sum |P(a) - a| step,
    which is 1 at best and -1 / (levels - 1) at worst. authenticity: share of synthetic images that are farther from their
    nearest training image than that one from its own nearest, from 0 to 1 (100 times it is AuthPct). identifiability: share of
    training images that are nearer to a synthetic image than to any other training image, from 0 to 1, lower is better (Yoon et
    al. 2020, IEEE JBHI 24:2378, with equal weights). Higher is better for the first three. A perfect generator reaches 1 in
    alpha-precision alone: the others depend on dimension and on the number of images, so read them against their floor.

    `score`: authors is the sum above, of the authors' repository, hence the default; synthcity is 1 - sum |P(a) - a| / sum a, so
    that the worst value is 0: the loss is divided by 15 instead of by 14.5. Both take 30 levels.
    `authenticity_of`: synthetic is the definition. real reproduces values printed by synthcity and by the main branch of
    ahmedmalaa/evaluating-generative-models, which take the row number of the nearest synthetic image for that of a training
    image: a known error that makes the number depend on the order of the images and needs as many training as synthetic images.
    The centre is the mean, not the trained one-class embedding of the paper. Alpha-precision is blind to copies, to lost modes
    that are balanced about the mean, and to all but distances from one centre.
    """

    name = "support"
    version = "1"
    needs = frozenset({"features"})
    in_suite = True
    quantities = (
        Quantity(name="alpha_precision", better="higher", high=1.0, biased_in_n=True, no_interval=_FOLDED),
        Quantity(name="beta_recall", better="higher", high=1.0, biased_in_n=True, family="coverage"),
        Quantity(name="authenticity", better="higher", low=0.0, high=1.0, biased_in_n=True, fixed_train=True, family="memorisation"),
        Quantity(
            name="identifiability", better="lower", low=0.0, high=1.0, biased_in_n=True, fixed_train=True, family="memorisation",
            no_interval=_DENSE,
        ),
    )  # fmt: skip
    sees = frozenset({FailureMode.NOISE, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.INTERNAL_DUPLICATION})

    levels: int = Field(30, ge=2)
    score: Score = "authors"
    authenticity_of: AuthenticityOf = "synthetic"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the four numbers of the synthetic images against the training images."""
        train, synthetic = comparison.n("train"), comparison.n("synthetic")
        if train < 2 or not synthetic:
            raise NotComputable(f"needs 2 training images and 1 synthetic, got {train} and {synthetic}")
        levels = np.linspace(0.0, 1.0, self.levels)
        found: dict[str, float | NotComputable] = {
            "alpha_precision": curve_score(alpha_curve(comparison, levels), levels, self.score),
            "beta_recall": curve_score(beta_curve(comparison, levels), levels, self.score),
            "identifiability": identifiability(comparison),
        }
        try:
            found["authenticity"] = authenticity(comparison, self.authenticity_of)
        except NotComputable as reason:
            found["authenticity"] = reason
        return found


def alpha_curve(comparison: Comparison, levels: np.ndarray) -> np.ndarray:
    """Return (levels,) the share of synthetic images inside the ball round the training mean that holds each share of train."""
    train = comparison.centred("train")
    centre = train.mean(axis=0)
    radii = np.quantile(_distances(train, centre), levels)
    return _share_up_to(_distances(comparison.centred("synthetic"), centre), radii, comparison.n("synthetic"))


def beta_curve(comparison: Comparison, levels: np.ndarray) -> np.ndarray:
    """Return (levels,) the share of training images that are recalled from each inner part of the synthetic images."""
    distance, index = comparison.neighbours("train", "synthetic", 1)
    own = comparison.neighbours("train", "train", 1)[0][:, 0]
    synthetic = comparison.centred("synthetic")
    found = _distances(synthetic, synthetic.mean(axis=0))[index[:, 0]]
    return _share_up_to(found[distance[:, 0] <= own], np.quantile(found, levels), len(own))


def curve_score(curve: np.ndarray, levels: np.ndarray, score: Score = "authors") -> float:
    """Return 1 less the area between a curve and the diagonal, scaled: 1 on the diagonal, about 0 where all or nothing is in.

    authors: 1 - 2 sum |curve - level| step. synthcity: 1 - sum |curve - level| / sum of the levels.
    """
    gap = float(np.abs(curve - levels).sum())
    return 1.0 - gap / float(levels.sum()) if score == "synthcity" else 1.0 - 2.0 * gap * float(levels[1] - levels[0])


def authenticity(comparison: Comparison, of: AuthenticityOf = "synthetic") -> float:
    """Return the share of synthetic images farther from their nearest training image than that from its own nearest.

    of = "real" is the share of training images t whose distance to their nearest synthetic image, in row j, is more than the
    nearest-neighbour distance of the training image in row j: an error of published code that numbers are reproduced with.
    """
    if of == "synthetic":
        return authpct(comparison) / 100.0
    distance, index = comparison.neighbours("train", "synthetic", 1)
    own = comparison.neighbours("train", "train", 1)[0][:, 0]
    if comparison.n("synthetic") > len(own):
        raise NotComputable(
            f"authenticity_of: real has a training image for each synthetic one, got {len(own)} for {comparison.n('synthetic')}"
        )
    return float(np.mean(own[index[:, 0]] < distance[:, 0]))


def identifiability(comparison: Comparison) -> float:
    """Return the share of training images that are nearer to a synthetic image than to any other training image."""
    nearest = comparison.neighbours("train", "synthetic", 1)[0][:, 0]
    return float(np.mean(nearest < comparison.neighbours("train", "train", 1)[0][:, 0]))


def _share_up_to(values: np.ndarray, edges: np.ndarray, n: int) -> np.ndarray:
    """Return (edges,) how many values are no larger than each edge, over n."""
    return np.searchsorted(np.sort(values), edges, side="right") / n


def _distances(features: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return (N,) Euclidean distances from one point, in blocks of bounded memory."""
    step = max(1, _BLOCK_ENTRIES // max(len(centre), 1))
    blocks = (features[i : i + step] - centre for i in range(0, len(features), step))
    return np.concatenate([np.sqrt(np.einsum("ij,ij->i", block, block)) for block in blocks])
