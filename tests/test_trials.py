"""A task at work: what it learned is lent to it again, and what it says is what it promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import trials
from harness.checks import Part
from harness.components import Context, Task
from harness.errors import NotComputable, PluginError
from harness.host import Offer
from harness.images import ImageSet
from harness.quantities import Quantity


class Brightest(Task):
    """Says of each case whether it is brighter than the training images, and how many of them there were."""

    name = "brightest"
    version = "1"
    quantities = (Quantity(name="brighter", better="higher"), Quantity(name="count", better="higher"))

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Leave the mean and the number."""
        if not len(validation):
            raise NotComputable("needs validation images")
        np.save(context.workdir / "known.npy", [training.images.mean(), len(training)])

    def score(self, test: ImageSet, context: Context) -> Any:
        """Return one value per case, and one number; a black case has none."""
        mean, count = np.load(context.fitted / "known.npy")
        means = test.images.mean(axis=(1, 2, 3))
        return {"count": count, "brighter": np.ma.masked_array(means > mean, mask=means == 0)}


class ByRegion(Brightest):
    """The same for two regions."""

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Name the columns."""
        return ("left", "right")

    def score(self, test: ImageSet, context: Context) -> Any:
        """Return one value per case and region."""
        return {"count": 1, "brighter": np.zeros((len(test), 2))}


def part(component: Task) -> Part:
    """Return the component as an audit knows it, under another name."""
    return Part(component, Offer("task", component.name, "1", "tests", type(component)), {}, "", "lamp")


def answering(answer: Any) -> Part:
    """Return a task that gives this answer."""

    class Answering(Brightest):
        """Gives a fixed answer."""

        def score(self, test: ImageSet, context: Context) -> Any:
            """Return it."""
            return answer

    return part(Answering())


def grey(*levels: float) -> ImageSet:
    """Return one even image per level."""
    images = np.stack([np.full((1, 4, 4), level, np.float32) for level in levels])
    return ImageSet(images, tuple(map(str, range(len(levels)))), (1.0, 1.0))


def test_a_fit_is_scored_on_many_test_sets(tmp_path: Path) -> None:
    """Each set gets checked values by quantity, in the order of the promise; masked cases stay masked."""
    task = part(Brightest())
    trials.fit(task, grey(0.4, 0.6), grey(0.5), Context(1, tmp_path))
    lent = Context(2, tmp_path / "other", fitted=tmp_path)
    found = trials.score(task, grey(0.0, 0.2, 0.9), lent)
    assert list(found) == ["brighter", "count"]
    assert found["brighter"].dtype == np.float64
    assert found["brighter"].tolist() == [None, 0.0, 1.0]
    assert (found["count"].shape, float(found["count"])) == ((), 2.0)
    assert trials.score(task, grey(0.8), lent)["brighter"].tolist() == [1.0]


def test_regions_are_columns(tmp_path: Path) -> None:
    """A task with regions gives one value per case and region."""
    assert trials.score(part(ByRegion()), grey(0.1, 0.2, 0.3), Context(1, tmp_path))["brighter"].shape == (3, 2)


def test_a_task_that_cannot_answer_says_so(tmp_path: Path) -> None:
    """The reason passes through."""
    with pytest.raises(NotComputable, match="needs validation images"):
        trials.fit(part(Brightest()), grey(0.4), grey(0.1).take([]), Context(1, tmp_path))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ([0.5], r"lamp returned list; it promised \['brighter', 'count'\]"),
        ({"count": 1.0}, r"lamp returned \['count'\]; it promised \['brighter', 'count'\]"),
        ({"count": 1.0, "brighter": 0.5, "extra": 1.0}, r"lamp returned \['brighter', 'count', 'extra'\]"),
        ({"count": 1.0, "brighter": np.zeros(3)}, r"shape \(3,\) for brighter; promised \(2,\) or one number"),
        ({"count": 1.0, "brighter": np.zeros((2, 1))}, r"shape \(2, 1\) for brighter"),
        ({"count": np.inf, "brighter": 0.5}, "not finite for count; mask a case that has none"),
        ({"count": 1.0, "brighter": np.array([0.5, np.nan])}, "not finite for brighter"),
        ({"count": None, "brighter": 0.5}, "lamp returned NoneType for count, which holds no numbers|not finite for count"),
        ({"count": "many", "brighter": 0.5}, "lamp returned str for count, which holds no numbers"),
    ],
)
def test_broken_promises_are_the_plugin_s(answer: Any, sentence: str, tmp_path: Path) -> None:
    """Missing or unexpected quantities, other shapes and what is not a finite number are said with the name that the audit uses."""
    with pytest.raises(PluginError, match=sentence):
        trials.score(answering(answer), grey(0.1, 0.2), Context(1, tmp_path))
