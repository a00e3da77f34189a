"""How the Vendi score compares with the eigenvalues of the n x n matrix: `python tests/benchmarks/bench_vendi.py`.

Times are processor seconds, divided by those of one float64 matrix product n x n x d in the same process, so that they compare
across machines and loads. The last column is the relative distance between the two values.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.linalg

from harness_plugins.metrics.diversity import vendi_score


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """Return the processor seconds of one call and its value."""
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def naive(rows: np.ndarray) -> float:
    """The score of order 1 as the vendi-score package and dgm-eval compute it."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = scipy.linalg.eigvalsh(unit @ unit.T / len(rows))
    values = values[values > 0.0]
    return float(np.exp(-(values * np.log(values)).sum()))


def main() -> None:
    """Print one line per number of images and features."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, nargs="+", default=[500, 1000, 4000])
    options.add_argument("--d", type=int, nargs="+", default=[256, 2048])
    given = options.parse_args()
    for n in given.n:
        for d in given.d:
            rows = np.random.default_rng(0).normal(0.2, 1.0, size=(n, d)) * np.arange(1, d + 1) ** -0.7
            product = min(timed(lambda rows=rows: float((rows @ rows.T)[0, 0]))[0] for _ in range(3))
            ours, value = min(timed(partial(vendi_score, rows)) for _ in range(2))
            theirs, expected = timed(partial(naive, rows))
            print(
                f"n = {n:5d}, d = {d:4d}: ours {ours:7.3f} s, {ours / product:5.1f} products; n x n {theirs:7.3f} s, "
                f"{theirs / product:6.1f} products; {theirs / ours:6.1f} times as fast; difference {abs(value - expected) / expected:.1e}"
            )


if __name__ == "__main__":
    main()
