"""Facts about the conformance tests: good components pass, every broken promise is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.api import (
    Comparison,
    Component,
    Context,
    Extractor,
    FailureMode,
    Generator,
    ImageSet,
    InputError,
    LLMCheck,
    Metric,
    NotComputable,
    Perturbation,
    Quantity,
    Rating,
    RatingImporter,
    Request,
    Scale,
    Task,
)
from harness.testing import check, measure


class Brightness(Metric):
    """Difference of mean brightness."""

    name = "brightness"
    version = "1"
    quantities = (Quantity(name="gap", better="lower", low=0.0),)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the gap."""
        return {"gap": abs(float(comparison.synthetic.images.mean(dtype=float) - comparison.test.images.mean(dtype=float)))}


class Darken(Perturbation):
    """Darkens the images."""

    name = "darken"
    version = "1"
    failure_mode = FailureMode.DISTRIBUTION_SHIFT
    full_severity = "black"

    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return darker images."""
        return images if severity == 0 else replace(images, images=images.images * np.float32(1 - severity), checked=False)


class Means(Extractor):
    """Mean of every channel, less the mean of the training images."""

    name = "means"
    version = "1"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Leave the mean."""
        np.save(context.workdir / "mean.npy", train.images.mean())

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the means."""
        return images.images.mean(axis=(2, 3)) - np.load(context.fitted / "mean.npy")


class Grey(Generator):
    """Grey images."""

    name = "grey"
    version = "1"
    needs = frozenset({"labels"})

    def conditions(self) -> frozenset[str]:
        """Work from labels."""
        return frozenset({"labels"})

    def fit(self, train: ImageSet, context: Context) -> None:
        """Remember how large an image is."""
        np.save(context.workdir / "shape.npy", np.array(train.images.shape[1:]))
        context.record("loss", 1, 0.5)

    def sample(self, request: Request, context: Context) -> ImageSet:
        """Return grey images with the labels asked for."""
        assert context.fitted is not None
        shape = np.load(context.fitted / "shape.npy")
        images, ids = np.full((request.n, *shape), 0.5, np.float32), tuple(map(str, range(request.n)))
        return ImageSet(images, ids, request.spacing_mm, labels=request.labels, origin="synthetic")


class Guess(Task):
    """Guesses the commonest label."""

    name = "guess"
    version = "1"
    needs = frozenset({"labels"})
    quantities = (Quantity(name="right", better="higher"), Quantity(name="share", better="higher"))

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Name the columns."""
        return ("", "again")

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Leave the guess."""
        np.save(context.workdir / "guess.npy", np.bincount(training.labels).argmax())

    def score(self, test: ImageSet, context: Context) -> dict[str, Any]:
        """Return whether the guess is right."""
        guess = np.load(context.fitted / "guess.npy")
        return {"right": np.ma.masked_array(test.labels == guess, dtype=float)[:, None].repeat(2, axis=1), "share": 0.5}


class Forgetful(Guess):
    """Keeps what it learned in the instance."""

    _guess: int = -1

    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Remember the guess."""
        self._guess = int(np.bincount(training.labels).argmax())

    def score(self, test: ImageSet, context: Context) -> dict[str, Any]:
        """Return whether the guess is right."""
        return {"right": np.asarray(test.labels == self._guess, dtype=float)[:, None].repeat(2, axis=1), "share": 0.5}


class Memory(RatingImporter):
    """Ratings from memory."""

    name = "memory"
    version = "1"

    def read(self, context: Context) -> Iterator[Rating]:
        """Yield two ratings, one unusable."""
        yield Rating(item="a", rater="r", scale="realism", value="1")
        yield Rating(item="b", rater="r", scale="realism", value=None, status="unusable", reason="blank cell")


class Always(LLMCheck):
    """Always says the same."""

    name = "always"
    version = "1"

    def rate(self, images: ImageSet, scales: tuple[Scale, ...], context: Context) -> Iterator[Rating]:
        """Yield the first category for every image and scale."""
        for item in images.ids:
            for scale in scales:
                yield Rating(item=item, rater="m", rater_kind="llm", scale=scale.name, value=scale.categories[0])


@pytest.mark.parametrize("component", [Brightness, Darken, Means, Grey, Guess, Memory, Always])
def test_good_components_pass(component: Any) -> None:
    """A component of each kind that keeps its promises passes, as a class and as an instance."""
    check(component)
    check(component(), n=30, size_px=(9, 12), seed=3)


def test_volumes_and_colours() -> None:
    """The images can be volumes and can have several channels."""
    check(Brightness, size_px=(5, 6, 7), channels=2, n=10)


def returning(value: Any) -> type[Metric]:
    """Make a metric that returns this."""

    class Returning(Brightness):
        """Returns a fixed answer."""

        def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
            """Return it."""
            return value

    return Returning


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"gap": float("nan")}, r"gap is nan; raise NotComputable"),
        ({"gap": float("inf")}, r"gap is inf"),
        ({"gap": "0.1"}, r"gap is '0.1', which is not a number"),
        ({"gap": True}, r"gap is True, which is not a number"),
        ({"gap": -1.0}, r"gap is -1, outside its range 0.0 to None"),
        ({"other": 1.0}, r"promises \['gap'\] and returns \['other'\]"),
        ({"gap": 1.0, "more": 1.0}, r"returns \['gap', 'more'\]"),
        (0.5, r"must return a mapping of quantity to number, got float"),
    ],
)
def test_wrong_answers_of_a_metric(value: Any, sentence: str) -> None:
    """Not finite, not a number, out of range, the wrong names, no mapping: each is said."""
    with pytest.raises(AssertionError, match=sentence):
        check(returning(value))


class Mutating(Brightness):
    """Writes into its input."""

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Blacken the first image."""
        comparison.test.images[0] = 0.0
        return {"gap": 0.0}


class Drawing(Brightness):
    """Draws from the global random state."""

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return a random number."""
        return {"gap": float(np.random.rand())}  # noqa: NPY002


class Restless(Brightness):
    """Draws without a seed."""

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return a random number."""
        return {"gap": float(np.random.default_rng().random())}


class Ordered(Brightness):
    """Looks at the first image alone."""

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return its brightness."""
        return {"gap": float(comparison.test.images[0].mean())}


class Hopeless(Brightness):
    """Never has an answer."""

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Say so."""
        raise NotComputable("needs 500 images, got 48")


class Undocumented(Brightness):  # noqa: D101
    pass


class Contradictory(Brightness):
    """Sees noise and does not."""

    sees: ClassVar[frozenset[FailureMode]] = frozenset({FailureMode.NOISE})
    blind_to: ClassVar[frozenset[FailureMode]] = frozenset({FailureMode.NOISE})


class Needy(Brightness):
    """Needs something unheard of."""

    needs = frozenset({"weights"})


class Twice(Brightness):
    """Promises one thing twice."""

    quantities = (Quantity(name="gap", better="lower"), Quantity(name="gap", better="higher"))


class Nameless(Brightness):
    """Has no name."""

    name = ""


class Demanding(Brightness):
    """Has an option without a default."""

    path: str


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Mutating, "changes the images that it was given"),
        (Drawing, "global random state; it must use context.rng"),
        (Restless, "on the same images with the same seed"),
        (Ordered, "with the images in another order"),
        (Hopeless, r"no answer on 48 random images .*needs 500 images"),
        (Undocumented, "needs a docstring"),
        (Contradictory, "to see and to be blind to"),
        (Needy, r"needs \['weights'\]"),
        (Twice, "promises a quantity twice"),
        (Nameless, "needs a class attribute name"),
        (Demanding, "cannot be built without options"),
        (Component, "is of no kind|needs a class attribute name"),
        (dict, "dict is not a Component"),
    ],
)
def test_broken_metrics_and_declarations(component: Any, sentence: str) -> None:
    """Each broken promise fails with a sentence that names it."""
    with pytest.raises(AssertionError, match=sentence):
        check(component)


def perturbing(change: Callable[..., ImageSet], **declared: Any) -> type[Perturbation]:
    """Make a perturbation that applies this change above severity 0."""

    def apply(self: Perturbation, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        return images if severity == 0 else change(images, context)

    return type("Changed", (Darken,), {"__doc__": "A change.", "apply": apply, **declared})


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (type("Eager", (Darken,), {"__doc__": "Eager.", "apply": lambda s, i, t, v, c: i.take([0])}), "at severity 0"),
        (perturbing(lambda images, context: images), "changes nothing at its dose of concern"),
        (perturbing(lambda images, context: images.take([])), "leaves no image"),
        (perturbing(lambda images, context: replace(images, masks=None, labels=None)), r"loses \['labels', 'masks'\]"),
        (perturbing(lambda images, context: replace(images, ids=tuple(f"x{i}" for i in images.ids))), "invents ids"),
        (perturbing(lambda images, context: replace(images, patients=images.patients[::-1])), "its patient"),
        (perturbing(lambda images, context: images.images), "must return an ImageSet, got ndarray"),
        (
            perturbing(lambda images, context: images.take(np.random.default_rng().permutation(48)[:9])),
            "not decided by context.seed",
        ),
        (perturbing(lambda images, context: images, full_severity=""), "needs full_severity"),
        (Darken(doses=(0.5, 0.25), dose_of_concern=0.5), "must rise"),
        (Darken(doses=(0.25, 0.75)), "dose_of_concern 0.5 is none of"),
    ],
)
def test_broken_perturbations(component: Any, sentence: str) -> None:
    """Not the identity at 0, no change, lost or invented knowledge, no seed, odd doses: each is said."""
    with pytest.raises(AssertionError, match=sentence):
        check(component)


def extracting(extract: Callable[..., Any]) -> type[Component]:
    """Make an extractor with this verb."""
    return type("Extracting", (Extractor,), {"__doc__": "E.", "name": "e", "version": "1", "extract": extract})


@pytest.mark.parametrize(
    ("extract", "sentence"),
    [
        (lambda s, i, c: i.images.mean(axis=(2, 3)).astype(float), r"must return float32 of shape \(48, F\), got float64"),
        (lambda s, i, c: i.images[:3, 0, 0], r"got float32 \(3, 32\)"),
        (lambda s, i, c: np.full((len(i), 2), np.nan, np.float32), "not finite"),
        (lambda s, i, c: (i.images - i.images.mean(axis=0)).mean(axis=(2, 3)), "depend on the other images"),
        (lambda s, i, c: np.random.default_rng().random((len(i), 2), np.float32), "other features for the same images"),
    ],
)
def test_broken_extractors(extract: Callable[..., Any], sentence: str) -> None:
    """Wrong type or shape, not finite, rows that depend on each other, no determinism: each is said."""
    with pytest.raises(AssertionError, match=sentence):
        check(extracting(extract))


def changed(base: type[Component], verb: str, value: Callable[..., Any]) -> type[Component]:
    """Make a component whose verb returns this function of the good answer."""

    def call(self: Component, *arguments: Any) -> Any:
        return value(getattr(super(type(self), self), verb)(*arguments))

    return type("Changed", (base,), {"__doc__": "Changed.", verb: call})


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (changed(Grey, "sample", lambda s: s.take([0])), "returns 1 images where 12 were asked for"),
        (changed(Grey, "sample", lambda s: replace(s, origin="real")), "origin="),
        (changed(Grey, "sample", lambda s: s.images), "must return an ImageSet or a folder, got ndarray"),
        (changed(Grey, "sample", lambda s: replace(s, images=s.images[:, :, :8])), r"trained on images of \(1, 32, 32\) and makes some of"),
        (changed(Grey, "sample", lambda s: replace(s, labels=1 - s.labels)), "works from labels and returns others"),
        (
            changed(Grey, "sample", lambda s: replace(s, images=np.random.default_rng().random(s.images.shape, np.float32))),
            "other images for the same request, seed and fitted folder",
        ),
        (changed(Grey, "conditions", lambda c: c | {"mood"}), r"asks for \['mood'\]; a request holds"),
        (changed(Guess, "score", lambda r: {"right": 1.0}), r"returns \['right'\]"),
        (changed(Guess, "score", lambda r: [1.0]), "must return a mapping of quantity to values, got list"),
        (changed(Guess, "score", lambda r: {**r, "share": np.ones(5)}), r"share has shape \(5,\), expected \(48, 2\)"),
        (changed(Guess, "score", lambda r: {**r, "share": np.ones(48)}), r"share has shape \(48,\), expected \(48, 2\)"),
        (changed(Guess, "score", lambda r: {**r, "share": np.full((48, 2), np.nan)}), "mask the cases"),
        (changed(Guess, "score", lambda r: {**r, "share": None}), "share is None, which is not a number"),
        (changed(Guess, "score", lambda r: {**r, "share": np.random.default_rng().random()}), "other values of share for the same images"),
        (Forgetful, "other values of right for the same images, seed and fitted folder"),
        (changed(Memory, "read", lambda r: []), "reads no rating"),
        (changed(Memory, "read", lambda r: None), "ratings one by one, got NoneType"),
        (changed(Memory, "read", lambda r: ["a"]), "must give Rating, got str"),
        (changed(Memory, "read", lambda r: [x.model_copy(update={"reason": ""}) for x in r]), "no reason"),
        (changed(Memory, "read", lambda r: [x.model_copy(update={"value": None}) for x in r]), "is ok but has no value"),
        (changed(Always, "rate", lambda r: list(r)[1:]), "one rating per image and scale: 96 expected, got 95"),
        (changed(Always, "rate", lambda r: [x.model_copy(update={"rater_kind": "expert"}) for x in r]), "rater_kind"),
    ],
)
def test_broken_components_of_the_other_kinds(component: Any, sentence: str) -> None:
    """Generators, tasks, importers and language-model checks are told what they get wrong."""
    with pytest.raises(AssertionError, match=sentence):
        check(component)


def arrays(**changes: Any) -> dict[str, Any]:
    """Return features of three sides, some of them replaced."""
    rng = np.random.default_rng(0)
    return {role: rng.normal(size=(30, 4)) for role in ("train", "test", "synthetic")} | changes


def test_a_metric_is_named_as_in_a_model_yaml() -> None:
    """A name, options, another name and an instance all lead to the same metric."""
    plain = measure("frechet", **arrays())
    assert measure({"frechet": {}}, **arrays()) == measure({"frechet": {"as": "again"}}, **arrays()) == plain
    assert measure("frechet", **arrays(test=np.empty((0, 4)))).keys() == plain.keys()
    for nothing in ({}, {"frechet": {}, "vendi": {}}, {"frechet": 3}, {"frechet": {"as": "No Name"}}):
        with pytest.raises(InputError, match="names no metric: write a name, or"):
            measure(nothing, **arrays())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"synthetic": np.where(np.arange(120).reshape(30, 4) == 41, np.nan, 0.0)},
            "synthetic: holds values .* in 1 of 30 rows, .* row 10",
        ),
        ({"train": np.full((30, 4), np.inf)}, "train: holds values that are not finite in 30 of 30 rows"),
        ({"test": np.ones((30, 5))}, "the numbers of features differ: 4 in train and 5 in test"),
        ({"test": np.ones(30)}, r"test: must hold numbers of shape \(N, F\), got float64 \(30,\)"),
        ({"train": np.array([["a"]])}, "train: must hold numbers of shape"),
    ],
)
def test_arrays_that_no_metric_can_be_asked_about(changes: dict[str, Any], sentence: str) -> None:
    """The side and the number of rows are named before any metric sees them."""
    with pytest.raises(InputError, match=sentence):
        measure("no_metric_at_all", **arrays(**changes))
