"""How the Frechet distance compares with the usual matrix roots: `python tests/benchmarks/bench_frechet.py`.

Times are processor seconds, divided by those of one float64 matrix product d x d x d in the same process, so that they compare
across machines and loads. The trace term starts from the covariances (with fewer images than features, ours starts from the
centred features); the whole distance starts from the features. The last column is the relative distance from the sum of the
singular values of the product of the centred features, which is exact also with fewer images than features, where roots of the
product of the covariances are not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.linalg

from harness_plugins.metrics import frechet


def mixing(d: int, decay: float) -> np.ndarray:
    """Return (d, d) principal axes in random directions, whose standard deviations fall as j^-decay."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    return np.arange(1, d + 1)[:, None] ** -decay * axes


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """Return the processor seconds of one call and its value."""
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def by_sqrtm(first: np.ndarray, second: np.ndarray) -> float:
    """The trace term as pytorch-fid, clean-fid, dgm-eval and MONAI compute it."""
    return float(np.trace(scipy.linalg.sqrtm(first @ second)).real)


def by_eigvals(first: np.ndarray, second: np.ndarray) -> float:
    """The trace term as torch-fidelity and torchmetrics compute it."""
    return float((scipy.linalg.eigvals(first @ second) ** 0.5).real.sum())


def ours(sides: list[frechet._Side], covariances: list[np.ndarray]) -> float:
    """The trace term by our cheapest exact route."""
    if sides[0].n <= sides[0].width:
        return frechet._by_images(*sides)[0]
    root = frechet._root_of_product(*covariances, sum(side.total for side in sides))
    assert root is not None
    return root


def compare(n: int, axes: np.ndarray, product: float) -> None:
    """Print the trace term and the whole distance for n images on each side."""
    rng, d = np.random.default_rng(1), len(axes)
    real, synthetic = (rng.normal(shift, 1.0, size=(n, d)) @ axes for shift in (0.0, 0.05))
    sides = [frechet._Side(real), frechet._Side(synthetic)]
    seconds, truth = timed(lambda: frechet._sum_of_singular_values(sides[0].factor() @ sides[1].factor().T))
    rest = float(((sides[0].mean - sides[1].mean) ** 2).sum()) + sides[0].total + sides[1].total
    spent, covariances = time.process_time(), [np.cov(side, rowvar=False) for side in (real, synthetic)]
    spent = time.process_time() - spent
    terms = {
        "ours": timed(partial(ours, sides, covariances)),
        "scipy eigvals": timed(partial(by_eigvals, *covariances)),
        "scipy sqrtm": timed(partial(by_sqrtm, *covariances)),
    }
    result = frechet.frechet_distance(real, synthetic)
    whole = timed(lambda: frechet.frechet_distance(real, synthetic).distance)
    print(f"n = {n}, d = {d}; route: {result.route}; singular values, the yardstick: {seconds / product:.1f} products")
    slowest = terms["scipy sqrtm"][0]
    for name, (took, value) in terms.items():
        line(f"trace term, {name}", took, product, slowest, abs(value - truth) / truth)
    distance = rest - 2.0 * truth
    wholes = {name: (spent + took, rest - 2.0 * value) for name, (took, value) in terms.items()} | {"ours": whole}
    for name, (took, value) in wholes.items():
        line(f"whole distance, {name}", took, product, spent + slowest, abs(value - distance) / distance)


def line(name: str, took: float, product: float, slowest: float, error: float) -> None:
    """Print one way."""
    print(f"  {name:<32} {took:8.2f} s {took / product:8.1f} products  {slowest / took:6.1f} times as fast as sqrtm  error {error:.1e}")


def main() -> None:
    """Print one table per number of images."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, nargs="+", default=[10_000, 1_000])
    options.add_argument("--d", type=int, default=2048)
    options.add_argument("--decay", type=float, default=0.7, help="standard deviations of the principal axes fall as j^-decay")
    given = options.parse_args()
    square = np.random.default_rng(0).normal(size=(given.d, given.d))
    product = min(timed(lambda: float((square @ square)[0, 0]))[0] for _ in range(3))
    print(f"one matrix product of {given.d} x {given.d}: {product:.3f} s")
    axes = mixing(given.d, given.decay)
    for n in given.n:
        compare(n, axes, product)


if __name__ == "__main__":
    main()
