"""How the blocked neighbour search compares with the usual libraries: `python tests/benchmarks/bench_neighbours.py`.

Times are divided by that of one float64 matrix product n x n x d in the same process, so that they compare across machines and
loads.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from functools import partial

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


def ways(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, Callable[[], object]]:
    """Return the work to be timed, by name; the two PRDC must agree."""
    sides = [image_set(real, "train"), image_set(real[:2], "test"), image_set(synthetic, "synthetic")]
    known, rows = Comparison(*sides), np.arange(0, len(real), 2)
    ours, theirs = prdc(known, k), library_prdc(real, synthetic, k)
    assert all(abs(ours[name] - theirs[name]) < 1e-9 for name in ours), f"{ours} is not {theirs}"
    return {
        "PRDC, blocked": lambda: prdc(Comparison(*sides), k),
        "PRDC, half-sample of known distances": lambda: prdc(known.take(train=rows, synthetic=rows), k),
        "PRDC, prdc library": lambda: library_prdc(real, synthetic, k),
        "k neighbours, blocked": lambda: Comparison(*sides).neighbours("synthetic", "train", k),
        "k neighbours, sklearn": lambda: NearestNeighbors(n_neighbors=k, algorithm="brute").fit(real).kneighbors(synthetic),
    }


def library_prdc(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, float]:
    """Return the reference library's PRDC, its printing swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return dict(compute_prdc(real, synthetic, k))


def main() -> None:
    """Print one line per way of finding neighbours."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, nargs="+", default=[1000, 4000])
    options.add_argument("--d", type=int, default=256)
    options.add_argument("--k", type=int, default=5)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    for n in given.n:
        rng = np.random.default_rng(0)
        real, synthetic = rng.normal(size=(n, given.d)), rng.normal(0.1, 1.0, size=(n, given.d))
        product = timed(partial(np.matmul, real, synthetic.T), given.repeats)
        print(f"n = {n}, d = {given.d}, k = {given.k}; one matrix product {product * 1e3:.1f} ms")
        for name, work in ways(real, synthetic, given.k).items():
            seconds = timed(work, given.repeats)
            print(f"  {name:<38} {seconds:8.3f} s {seconds / product:8.1f} products")


if __name__ == "__main__":
    main()
