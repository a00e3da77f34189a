"""Frechet distance between feature clouds, known as FID when the features are those of an Inception network."""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity


class Frechet(Metric):
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to real and to synthetic features (FID).

    fid = |m_r - m_s|^2 + tr S_r + tr S_s - 2 tr (S_r S_s)^(1/2) with means m and covariances S, ddof 1 (Heusel et al. 2017,
    arXiv:1706.08500). From 0 upwards, lower is better, in squared feature units: values compare only within one extractor and
    one number of images, because the expected value falls with the number of images. It sees whatever moves the means or
    covariances of the features. It is blind to copies of training images, which leave both where they are.
    """

    name = "frechet"
    version = "1"
    needs = frozenset({"features"})
    quantities = (Quantity(name="fid", better="lower", low=0.0, biased_in_n=True, family="distance"),)
    sees = frozenset({FailureMode.NOISE, FailureMode.BLUR, FailureMode.DISTRIBUTION_SHIFT, FailureMode.MODE_COLLAPSE})
    blind_to = frozenset({FailureMode.MEMORISATION})

    against: Literal["train", "test"] = "train"

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the Frechet distance between the synthetic images and one real side."""
        return {"fid": frechet_distance(comparison.features(self.against), comparison.features("synthetic"))}


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the squared Frechet distance between Gaussians fitted to the rows of two feature matrices.

    tr (S_r S_s)^(1/2) is the sum of the singular values of A B^T, where A^T A = S_r and B^T B = S_s. That form is exact also
    with fewer images than features, where square roots of the product's spurious eigenvalues bias the usual routes.
    """
    if min(len(real), len(synthetic)) < 2:
        raise NotComputable(f"a covariance needs 2 images on each side, got {len(real)} real and {len(synthetic)} synthetic")
    a, b = (np.asarray(side, dtype=np.float64) for side in (real, synthetic))
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    a, b = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    cross = np.linalg.svd(_short(a) @ _short(b).T, compute_uv=False).sum()
    distance = float(((mean_a - mean_b) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2.0 * cross)
    # The distance of a set from itself is zero up to rounding, which may fall on either side.
    return max(distance, 0.0)


def _short(block: np.ndarray) -> np.ndarray:
    """Return a matrix with the same B^T B and no more rows than columns."""
    if block.shape[0] <= block.shape[1]:
        return block
    return np.asarray(np.linalg.qr(block, mode="r"))
