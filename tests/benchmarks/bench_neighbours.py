"""How the blocked neighbour search compares with the usual libraries; run it by hand: python tests/benchmarks/bench_neighbours.py.

Times are divided by that of one float64 matrix product n x n x d in the same process, so that they compare across machines and
loads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors

from harness.api import Comparison, ImageSet
from harness_plugins.metrics.manifold import prdc


def image_set(features: np.ndarray, name: str) -> ImageSet:
    """One blank pixel per feature row."""
    ids = tuple(f"{name}{i}" for i in range(len(features)))
    return ImageSet(np.zeros((len(features), 1, 1, 1), np.float32), ids, (1.0, 1.0), features=features)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest of so many times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print one line per way of finding neighbours."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, nargs="+", default=[1000, 4000])
    options.add_argument("--d", type=int, default=256)
    options.add_argument("--k", type=int, default=5)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    k = given.k
    for n in given.n:
        rng = np.random.default_rng(0)
        real, synthetic = rng.normal(size=(n, given.d)), rng.normal(0.1, 1.0, size=(n, given.d))
        sides = [image_set(real, "train"), image_set(real[:2], "test"), image_set(synthetic, "synthetic")]
        product = timed(lambda a=real, b=synthetic: a @ b.T, given.repeats)
        whole = Comparison(*sides)
        whole_prdc, reference = prdc(whole, k), compute_prdc(real, synthetic, k)
        assert all(abs(whole_prdc[name] - reference[name]) < 1e-9 for name in reference), "the two PRDC disagree"
        rows = np.arange(0, n, 2)
        ways: dict[str, Callable[[], object]] = {
            "PRDC, blocked": lambda: prdc(Comparison(*sides), k),
            "PRDC, half-sample of known distances": lambda: prdc(whole.take(train=rows, synthetic=rows), k),
            "PRDC, prdc library": lambda: compute_prdc(real, synthetic, k),
            "k neighbours, blocked": lambda: Comparison(*sides).neighbours("synthetic", "train", k),
            "k neighbours, sklearn": lambda: NearestNeighbors(n_neighbors=k, algorithm="brute").fit(real).kneighbors(synthetic),
        }
        print(f"n = {n}, d = {given.d}, k = {k}; one matrix product {product * 1e3:.1f} ms")
        for name, work in ways.items():
            seconds = timed(work, given.repeats)
            print(f"  {name:<38} {seconds:8.3f} s {seconds / product:8.1f} products")


if __name__ == "__main__":
    main()
