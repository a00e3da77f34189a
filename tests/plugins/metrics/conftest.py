"""Feature matrices as comparisons, and the golden values of the metrics."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Comparison, ImageSet

SUBSET = Path(__file__).parent / "golden_subset.json"
Matrices = Mapping[str, np.ndarray]


def image_set(features: np.ndarray, name: str) -> ImageSet:
    """One blank pixel per feature row: these metrics look at the features alone."""
    n = len(features)
    ids = tuple(f"{name}{i}" for i in range(n))
    origin = "synthetic" if name == "synthetic" else "real"
    return ImageSet(np.zeros((n, 1, 1, 1), np.float32), ids, (1.0, 1.0), origin=origin, features=features)


@pytest.fixture(scope="session")
def compare() -> Callable[..., Comparison]:
    """Return the function that makes a comparison of feature matrices; `test` is `train` where not given."""

    def make(train: np.ndarray, synthetic: np.ndarray, test: np.ndarray | None = None) -> Comparison:
        test = train if test is None else test
        return Comparison(image_set(train, "train"), image_set(test, "test"), image_set(synthetic, "synthetic"))

    return make


def _ar1(x: np.ndarray, rho: float) -> np.ndarray:
    for j in range(1, x.shape[1]):
        x[:, j] = rho * x[:, j - 1] + np.sqrt(1.0 - rho * rho) * x[:, j]
    return x


def _decay(x: np.ndarray, p: float) -> np.ndarray:
    for j in range(x.shape[1]):
        x[:, j] = x[:, j] * (1.0 / (1.0 + p * j / x.shape[1]))
    return x


def _shift(x: np.ndarray, delta: float, cols: int | None = None) -> np.ndarray:
    x[:, :cols] += delta
    return x


def _copy(x: np.ndarray, source: np.ndarray, frac: float, seed: int) -> np.ndarray:
    m = round(frac * len(x))
    x[:m] = source[np.random.default_rng(seed).choice(len(source), m, replace=False)]
    return x


STEPS: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda x, seed, n, d: np.random.default_rng(seed).standard_normal((n, d)),
    "ar1": _ar1,
    "decay": _decay,
    "scale": lambda x, a: x * a,
    "shift": _shift,
    "copy": _copy,
}


def build(recipe: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Build the matrices of a recipe of the committed subset."""
    out: dict[str, np.ndarray] = {}
    for name, steps in recipe["sets"].items():
        x = np.empty(0)
        for step in steps:
            given = {key: value for key, value in step.items() if key not in ("op", "set")}
            x = STEPS[step["op"]](x, **given, **({"source": out[step["set"]]} if "set" in step else {}))
        out[name] = x
    return out


class Golden:
    """Golden rows with the matrices they were computed from."""

    def __init__(self, data: Mapping[str, Any], builder: Callable[[Any], Matrices]) -> None:
        """Take the content of a file of golden values and the function that builds its matrices."""
        self._data, self._builder, self._built = data, builder, dict[str, Matrices]()

    def rows(self, metric: str) -> Iterator[tuple[dict[str, Any], Matrices]]:
        """Yield every row of a metric with its case's matrices, whose fingerprints are checked."""
        rows = [row for row in self._data["values"] if row["metric"] == metric]
        assert rows, f"no golden row for {metric}"
        for row in rows:
            case = row["case"]
            if case not in self._built:
                recipe = self._data["recipes"][case]
                self._built[case] = self._builder(recipe)
                for name, matrix in self._built[case].items():
                    digest = hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).hexdigest()
                    assert digest == recipe["fingerprint"][name]["sha256"], f"{case}/{name} was not rebuilt exactly"
            yield row, self._built[case]

    def check(self, metric: str, value_of: Callable[[dict[str, Any], Matrices], Any]) -> None:
        """Compare `value_of(row, matrices)` with every golden row of the metric."""
        wrong = [
            f"{row['id']}: got {got}, golden {expected}"
            for row, matrices in self.rows(metric)
            if not agrees(got := value_of(row, matrices), expected := golden_value(row), row["rtol"], row["atol"])
        ]
        assert not wrong, "\n".join(wrong)


def golden_value(row: Mapping[str, Any]) -> Any:
    """Return the value to compare to: the reference implementation's, or the independent one where that lost digits."""
    return row["independent"]["value"] if row["compare_to"] == "independent.value" else row["value"]


def agrees(got: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Whether a number, or every number of a dictionary, lies within atol + rtol * |expected|."""
    if isinstance(expected, dict):
        return set(got) == set(expected) and all(agrees(got[k], expected[k], rtol, atol) for k in expected)
    return abs(got - expected) <= atol + rtol * abs(expected)


@pytest.fixture(scope="session", params=["subset", "all"])
def golden(request: pytest.FixtureRequest) -> Golden:
    """Golden values: the committed subset, and all of them where HARNESS_GOLDEN names their folder."""
    if request.param == "subset":
        return Golden(json.loads(SUBSET.read_text()), build)
    if not os.environ.get("HARNESS_GOLDEN"):
        pytest.skip("HARNESS_GOLDEN does not name the folder of golden values")
    folder = Path(os.environ["HARNESS_GOLDEN"])
    spec = importlib.util.spec_from_file_location("golden_recipes", folder / "recipes.py")
    assert spec is not None
    assert spec.loader is not None
    recipes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipes)
    return Golden(json.loads((folder / "upstream_public.json").read_text()), recipes.build)
