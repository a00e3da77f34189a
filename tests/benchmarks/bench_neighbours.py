"""What the nearest-neighbour metrics cost, beside the libraries that they are known from: `python tests/benchmarks/bench_neighbours.py`.

Precision, recall, density, coverage, realism, AuthPct, authenticity and duplicates inside the synthetic set, on float32 features. Every
contestant runs in a process of its own, which reports its time, the time of one float32 matrix product n x n x d in blocks (the mean
of one before and one after), and the most memory above what it took once the features were loaded. Ratios of times to the product
compare across machines and loads. `--large` measures 50,000 images on each side, ours alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

K = 5
GIB = float(1 << 30)
Values = dict[str, float]


def features(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return real and synthetic features whose spread falls off along the columns, as that of embeddings does; 2 % are copies."""
    rng = np.random.default_rng(0)
    scale = (1.0 / (1.0 + np.arange(d) / 16.0)).astype(np.float32)
    real, synthetic = rng.standard_normal((n, d), np.float32), rng.standard_normal((n, d), np.float32)
    real *= scale
    synthetic *= scale
    synthetic[:, :4] += np.float32(0.1)
    synthetic[: n // 50] = real[: n // 50]
    return real, synthetic


def ours(real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return the family by the metrics of the harness."""
    from harness.api import Comparison
    from harness.images import from_features
    from harness_plugins.metrics.manifold import prdc, realism
    from harness_plugins.metrics.memorisation import authpct

    sides = {"train": real, "test": real[:0], "synthetic": synthetic}
    comparison = Comparison(**{role: from_features(x, role) for role, x in sides.items()})
    found = prdc(comparison, K)
    found["realism"] = float(np.mean(realism(comparison, K) >= 1.0))
    found["authpct"] = authpct(comparison)
    found["authenticity"] = found["authpct"] / 100.0
    found["duplicates"] = float(np.mean(comparison.neighbours("synthetic", "synthetic", 1)[0][:, 0] == 0.0))
    return found


def peer_prdc(real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return precision, recall, density and coverage by the prdc package (Naeem et al. 2020)."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        return {name: float(value) for name, value in compute_prdc(real, synthetic, K).items()}


def peer_realism(real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return the share of realistic images as dgm-eval computes realism: two matrices of distances, radii below the median."""
    from sklearn.metrics import pairwise_distances

    within = pairwise_distances(real, real, metric="euclidean", n_jobs=8)
    indices = np.argpartition(within, K + 1, axis=-1)[..., : K + 1]
    radii = np.take_along_axis(within, indices, axis=-1).max(axis=-1)
    across = pairwise_distances(real, synthetic, metric="euclidean", n_jobs=8)
    small = radii < np.median(radii)
    with np.errstate(divide="ignore"):
        scores = (radii[small, None] / across[small]).max(axis=0)
    return {"realism": float(np.mean(scores >= 1.0))}


def peer_authpct(real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return AuthPct as dgm-eval computes it: two float32 matrices of distances by torch."""
    import torch

    real_torch, synthetic_torch = torch.tensor(real), torch.tensor(synthetic)
    within = torch.cdist(real_torch, real_torch)
    within.fill_diagonal_(float("inf"))
    own = within.min(dim=0).values
    nearest = torch.cdist(real_torch, synthetic_torch).min(dim=0)
    return {"authpct": float(100.0 * (own[nearest.indices] < nearest.values).float().mean())}


def peer_authenticity(real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return authenticity as in ahmedmalaa/evaluating-generative-models (boris-new): scikit-learn's neighbours, real and synthetic."""
    from sklearn.neighbors import NearestNeighbors

    own = NearestNeighbors(n_neighbors=2).fit(real).kneighbors(real)[0][:, 1]
    distance, index = NearestNeighbors(n_neighbors=1).fit(real).kneighbors(synthetic)
    return {"authenticity": float(np.mean(own[index[:, 0]] < distance[:, 0]))}


def peer_duplicates(_real: np.ndarray, synthetic: np.ndarray) -> Values:
    """Return the share of synthetic images identical to another, by scikit-learn's nearest neighbours."""
    from sklearn.neighbors import NearestNeighbors

    distance = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(synthetic).kneighbors()[0]
    return {"duplicates": float(np.mean(distance[:, 0] == 0.0))}


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], Values]] = {
    "PRDC, prdc": peer_prdc,
    "realism, as dgm-eval": peer_realism,
    "AuthPct, as dgm-eval": peer_authpct,
    "authenticity, as its authors": peer_authenticity,
    "duplicates, scikit-learn": peer_duplicates,
}
CONTESTANTS = {"ours": ours, **PEERS}


def memory(field: str) -> float:
    """Return a field of the kernel's account of this process's memory, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / GIB


def product(a: np.ndarray, b: np.ndarray) -> float:
    """Return the seconds of one matrix product in blocks, for many rows from the first 10,000 of them."""
    out, some = np.empty((min(2048, len(a)), min(2048, len(b))), np.float32), min(10_000, len(a))
    start = time.perf_counter()
    for i in range(0, some, 2048):
        for j in range(0, len(b), 2048):
            left, right = a[i : min(i + 2048, some)], b[j : j + 2048]
            np.matmul(left, right.T, out=out[: len(left), : len(right)])
    return (time.perf_counter() - start) * len(a) / some


def contest(name: str, n: int, d: int) -> None:
    """Print one contestant's values, seconds, seconds of a product and extra memory, as JSON."""
    real, synthetic = features(n, d)
    # Importing and warming up is nobody's work.
    CONTESTANTS[name](real[:64].copy(), synthetic[:64].copy())
    before = product(real, synthetic)
    Path("/proc/self/clear_refs").write_text("5")
    loaded, start = memory("VmRSS"), time.perf_counter()
    values = CONTESTANTS[name](real, synthetic)
    seconds, extra = time.perf_counter() - start, memory("VmHWM") - loaded
    print(json.dumps({"values": values, "seconds": seconds, "product": (before + product(real, synthetic)) / 2, "extra": extra}))


def apart(name: str, n: int, d: int) -> dict[str, float]:
    """Run a contestant in a process of its own and print its line."""
    command = [sys.executable, __file__, "--contestant", name, "--n", str(n), "--d", str(d)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    answer["ratio"] = answer["seconds"] / answer["product"]
    values = ", ".join(f"{key} {value:.4g}" for key, value in answer["values"].items())
    print(f"  {name:<26} {answer['seconds']:8.2f} s {answer['ratio']:7.1f} products {answer['extra']:7.3f} GiB   {values}", flush=True)
    return answer


def beside_peers(n: int, d: int) -> None:
    """Print every contestant's cost, and ours beside the sum of the others' times and the most of their memory."""
    print(f"n = {n} on each side, d = {d}, k = {K}")
    found = {name: apart(name, n, d) for name in CONTESTANTS}
    peers = [found[name] for name in PEERS]
    print(f"  peers together {sum(p['ratio'] for p in peers):.1f} products, {sum(p['seconds'] for p in peers):.1f} s")
    print(f"  times ours, in products: {sum(p['ratio'] for p in peers) / found['ours']['ratio']:.1f}")
    print(f"  our extra memory over theirs: {found['ours']['extra'] / max(p['extra'] for p in peers):.3f}")


def half_samples(n: int, d: int, repeats: int = 50) -> None:
    """Print what the whole family costs on half-samples of what is known already."""
    from harness.neighbours import Pool

    real, synthetic = features(n, d)
    pool, rng, raw = Pool({"train": real, "synthetic": synthetic}), np.random.default_rng(1), {"train": real, "synthetic": synthetic}
    seconds = []
    for repeat in range(repeats + 1):
        part = pool if repeat == 0 else pool.take({role: np.sort(rng.permutation(n)[: n // 2]) for role in raw})
        start = time.perf_counter()
        radii = {role: part.neighbours(role, role, K)[0][:, -1] for role in raw}
        part.within("synthetic", "train", radii["train"])
        part.within("train", "synthetic", radii["synthetic"])
        part.neighbours("train", "synthetic", 1)
        part.neighbours("synthetic", "train", 2)
        part.reach("synthetic", "train", np.where(radii["train"] < np.median(radii["train"]), radii["train"], 0.0))
        seconds.append(time.perf_counter() - start)
    print(f"  n = {n}, d = {d}: whole {seconds[0]:.2f} s, {repeats} half-samples {sum(seconds[1:]):.2f} s", flush=True)


def main() -> None:
    """Print the tables, or one contestant's answer."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--d", type=int, default=2048)
    options.add_argument("--large", action="store_true", help="50,000 images on each side, ours alone")
    options.add_argument("--contestant", choices=CONTESTANTS, help="one contestant in this process, as JSON")
    given = options.parse_args()
    if given.contestant:
        contest(given.contestant, given.n, given.d)
    elif given.large:
        apart("ours", 50_000, given.d)
    else:
        beside_peers(given.n, given.d)
        print("cost against n")
        for n in (1000, 2000, 5000, 10_000):
            apart("ours", n, given.d)
        print("half-samples")
        for n, d in ((1000, 226), (2000, 226), (5000, given.d)):
            half_samples(n, d)


if __name__ == "__main__":
    main()
