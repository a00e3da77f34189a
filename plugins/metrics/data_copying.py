"""C_T: the data-copying test of Meehan et al."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

_NO_INTERVAL = (
    "a z score: under equal distributions it is standard normal, and as it grows with the square root of the number of images "
    "half-samples do not show its spread; the cells depend on the seed of k-means"
)


class DataCopying(Metric):
    """Z scores of the data-copying test C_T (Meehan, Chaudhuri & Dasgupta 2020, arXiv:2004.05675).

    zu: are the synthetic images nearer to the training images than the test images are? Z = (U - (n m / 2 - 1/2)) /
    sqrt(n m (n + m + 1) / 12), where U counts the pairs of m synthetic and n test images in which the synthetic one is farther
    from its nearest training image (Mann & Whitney; ties one half). ct: the same within `cells` cells of k-means on the training
    images, averaged with the cells' shares of the test images as weights over cells with more than `least` synthetic images;
    worst_cell: the lowest of these. ct_mem: ct with training and synthetic images in each other's place (copies that stand out
    among the synthetic ones); ct_mode: ct with one half of the test images (by patient) as the training images and the other
    half as the test images: lost modes and poor fit without copying. 0 is ideal and, below zero, copying starts: under -3 is
    hardly chance. Higher is better only up to 0; far above 0 means that the synthetic images are too far away (underfitting).

    zu takes the features as they are; the cells their first `components` principal components on the training images of the
    test, where there are more features than that (as dgm-eval does, which takes 3 cells, 64 components and 20 images). The
    published code seeds nothing and the seed alone moves C_T by 0.1 to 0.2, so the numbers are means over `repeats` seeds of
    k-means (10 starts each), on images sorted by their features; one repeat is what dgm-eval prints. A z score grows with the
    number of images. Blind to copies in cells with few synthetic images, to few copies among many images, and to lost modes.
    """

    name = "data_copying"
    version = "1"
    needs = frozenset({"features"})
    quantities = tuple(
        Quantity(name=name, better="higher", biased_in_n=True, fixed_train=True, no_interval=_NO_INTERVAL, family="memorisation")
        for name in ("zu", "ct", "worst_cell", "ct_mode", "ct_mem")
    )
    sees = frozenset({FailureMode.MEMORISATION})
    blind_to = frozenset({FailureMode.INTERNAL_DUPLICATION, FailureMode.MODE_COLLAPSE})

    cells: int = Field(3, ge=1)
    components: int = Field(64, ge=1)
    least: int = Field(20, ge=0)
    repeats: int = Field(5, ge=1)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the global z score and the means of the cell-wise ones over the seeds, each or why it has no number."""
        if not (comparison.n("train") and comparison.n("test") and comparison.n("synthetic")):
            counts = ", ".join(f"{comparison.n(role)} {role}" for role in ("train", "test", "synthetic"))
            raise NotComputable(f"needs images on every side, got {counts}")
        distance = {role: comparison.neighbours(role, "train", 1)[0][:, 0] for role in ("synthetic", "test")}
        train, test, synthetic = (_sorted(comparison.centred(role))[0] for role in ("train", "test", "synthetic"))
        half, other = _split(comparison, context.rng)
        seeds = context.rng.integers(2**31, size=self.repeats)
        found: dict[str, float | NotComputable] = {"zu": z_score(distance["synthetic"], distance["test"])}
        for name, sides in {
            "ct": (train, test, synthetic),
            "ct_mode": (half, other, synthetic),
            "ct_mem": (synthetic, test, train),
        }.items():
            try:
                scores = np.array(list(self._scores(*sides, seeds)))
            except NotComputable as reason:
                found |= {name: reason} | ({"worst_cell": reason} if name == "ct" else {})
                continue
            found[name] = float(scores[:, 0].mean())
            if name == "ct":
                found["worst_cell"] = float(scores[:, 1].mean())
        return found

    def _scores(self, train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, seeds: np.ndarray) -> Iterator[tuple[float, float]]:
        """Yield the weighted mean and the lowest of the cells' z scores, seed by seed."""
        train, test, synthetic = principal_components(train, test, synthetic, self.components)
        for seed in seeds:
            labels = kmeans_cells(train, test, synthetic, self.cells, np.random.RandomState(seed))
            scores, weights = cell_scores(train, test, synthetic, labels, self.least / len(synthetic))
            yield weighted_mean(scores, weights), float(scores.min())


def z_score(synthetic: np.ndarray, test: np.ndarray) -> float:
    """Return the z-scored Mann-Whitney U of the distances to the nearest training image; below 0 the synthetic ones are nearer.

    The mean under equal distributions is taken as n m / 2 - 1/2, as in casey-meehan/data-copying.
    """
    from scipy.stats import rankdata

    m, n = len(synthetic), len(test)
    if not (m and n):
        raise NotComputable(f"needs 1 synthetic and 1 test image, got {m} and {n}")
    u = rankdata(np.concatenate([synthetic, test]))[:m].sum() - m * (m + 1) / 2
    return float((u - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))


def ct(train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, labels: tuple[np.ndarray, np.ndarray, np.ndarray], tau: float) -> float:
    """Return C_T for given cells: `labels` (N,) of each side; cells need a share of more than tau of the synthetic images."""
    return weighted_mean(*cell_scores(train, test, synthetic, labels, tau))


def cell_scores(
    train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, labels: tuple[np.ndarray, np.ndarray, np.ndarray], tau: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the z scores of the cells that count, and how many test images each has.

    A cell counts if it has test images and more than a share tau of the synthetic ones.
    """
    scores, weights = [], []
    in_train, in_test, in_synthetic = labels
    for cell in np.unique(in_test):
        mine = in_synthetic == cell
        if not mine.any() or mine.mean() <= tau:
            continue
        if not (in_train == cell).any():
            raise NotComputable(f"cell {cell} has test and synthetic but no training images; take fewer cells")
        there, weight = train[in_train == cell], int((in_test == cell).sum())
        scores.append(z_score(_nearest(synthetic[mine], there), _nearest(test[in_test == cell], there)))
        weights.append(weight)
    if not scores:
        raise NotComputable(f"no cell has test images and more than {tau * len(synthetic):g} of the {len(synthetic)} synthetic images")
    return np.array(scores), np.array(weights)


def weighted_mean(scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of the scores with these weights."""
    return float(weights @ scores / weights.sum())


def kmeans_cells(
    train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, cells: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cell of each image of each side by k-means on `train`, the best of 10 starts."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(train, axis=0))
    if distinct < cells:
        raise NotComputable(f"needs {cells} different images to make {cells} cells, got {distinct}")
    fitted = KMeans(n_clusters=cells, n_init=10, random_state=random_state).fit(train)
    return fitted.labels_, fitted.predict(test), fitted.predict(synthetic)


def principal_components(
    train: np.ndarray, test: np.ndarray, synthetic: np.ndarray, components: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sides on the first principal components of `train`, or as they are where they have no more features than that.

    By an exact eigenproblem; dgm-eval's randomised one moves C_T with its seed.
    """
    if train.shape[1] <= components:
        return train, test, synthetic
    mean = train.mean(axis=0)
    centred = train - mean
    if len(train) < train.shape[1]:
        _, vectors = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ vectors[:, ::-1][:, :components]
        length = np.linalg.norm(axes, axis=0)
        axes = axes[:, length > 1e-9 * max(length.max(), 1e-300)]
        axes /= np.linalg.norm(axes, axis=0)
    else:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :components]
    return centred @ axes, (test - mean) @ axes, (synthetic - mean) @ axes


def _nearest(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return (N,) float64 distances to the nearest of the rows of `among`, recomputed by direct differences."""
    from sklearn.metrics import pairwise_distances_argmin

    mean = among.mean(axis=0, dtype=np.float64)
    points, among = points - mean, among - mean
    return np.asarray(np.sqrt(((points - among[pairwise_distances_argmin(points, among)]) ** 2).sum(axis=1)))


def _sorted(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in an order that depends on their values alone, and that order."""
    order = np.lexsort(features.T[::-1])
    return features[order], order


def _split(comparison: Comparison, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two halves of the test images that share no patient."""
    features, order = _sorted(comparison.centred("test"))
    _, first, units = np.unique(comparison.units("test")[order], return_index=True, return_inverse=True)
    # Numbered by first appearance among the sorted images, the patients are drawn alike whatever the order of the images.
    place = np.argsort(np.argsort(first))[units]
    drawn = rng.permutation(len(first))[: len(first) // 2]
    mine = np.isin(place, drawn)
    return features[mine], features[~mine]
