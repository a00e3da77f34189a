"""What a metric may answer, and what is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.asking import ask, ask_each
from harness.components import Context, Metric
from harness.errors import NotComputable, PluginError
from harness.images import Comparison, from_features
from harness.quantities import Quantity

CONTEXT = Context(seed=0, workdir=Path())
THREE = Comparison(*(from_features(np.arange(6.0).reshape(3, 2), role) for role in ("train", "test", "synthetic")))


class Says(Metric):
    """Answers what it is told to."""

    name = "says"
    version = "1"
    quantities = (Quantity(name="a", better="lower"), Quantity(name="b", better="lower"))
    answer: Any = None
    blamed: Any = None

    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return the answer."""
        return self.answer

    def per_image(self, comparison: Comparison, context: Context) -> Mapping[str, np.ndarray]:
        """Return whom it was told to blame."""
        return self.blamed


def test_one_quantity_may_have_no_number() -> None:
    """A `NotComputable` in the place of a number is that quantity's reason, and the others keep their numbers."""
    found = ask(Says(answer={"a": np.float32(1.5), "b": NotComputable("needs more")}), THREE, CONTEXT)
    assert found["a"] == 1.5
    assert str(found["b"]) == "needs more"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"a": 1.0}, r"returned \['a'\]; it promised \['a', 'b'\]"),
        ({"a": 1.0, "b": float("nan")}, "returned nan for b"),
        (3.0, "returned float"),
    ],
)
def test_a_broken_promise_is_the_metrics_failure(answer: Any, said: str) -> None:
    """Missing quantities, numbers that are not finite and other types are said in words."""
    with pytest.raises(PluginError, match=said):
        ask(Says(answer=answer), THREE, CONTEXT)


def test_images_are_blamed_with_finite_numbers_of_a_promised_quantity() -> None:
    """One number for each synthetic image passes; another length, name or an infinity is a failure."""
    assert ask_each(Says(blamed={"a": np.arange(3)}), THREE, CONTEXT)["a"].tolist() == [0.0, 1.0, 2.0]
    for blamed in ({"a": np.arange(2)}, {"c": np.arange(3)}, {"a": np.array([0.0, np.inf, 1.0])}):
        with pytest.raises(PluginError, match="finite numbers"):
            ask_each(Says(blamed=blamed), THREE, CONTEXT)
