"""Component and its seven kinds: a class is a component, its fields are its options, its one verb does the work."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from .errors import NotComputable
from .images import Comparison, ImageSet, Request
from .quantities import ModelCall, Quantity, Rating, Scale

Gives = Literal["embedding", "spatial", "logits", "distances", "quality"]
Modality = Literal["ultrasound", "mri", "xray", "mammography", "microscopy"]


class FailureMode(StrEnum):
    """What can be wrong with synthetic images; `sees` and `blind_to` of a metric name these, qualification tests the claim.

    HARMLESS is no failure: a perturbation of this mode is a negative control, to which a metric should not respond.
    """

    NOISE = "noise"
    BLUR = "blur"
    LOCAL_MORPHOLOGY = "local_morphology"
    MEMORISATION = "memorisation"
    INTERNAL_DUPLICATION = "internal_duplication"
    MODE_COLLAPSE = "mode_collapse"
    DISTRIBUTION_SHIFT = "distribution_shift"
    MODE_INVENTION = "mode_invention"
    LABEL_NOISE = "label_noise"
    MASK_MISALIGNMENT = "mask_misalignment"
    ARTEFACT = "artefact"
    HARMLESS = "harmless"


@dataclass(frozen=True)
class Context:
    """Lent to a component for one call.

    seed: derived from the audit's seed, the component and the repeat. workdir: an empty folder of its own; what `fit` leaves
    there is kept and lent again. device: torch device name. fitted: folder that `fit` filled, None where there was no fit.
    checkpoints: folder in which an unfinished `fit` keeps what it needs to go on; a call that was killed finds there what it
    left, and it is removed once the call is over. None where nothing can be kept. curve: what `record` was told. calls: what `asked`
    was told.
    """

    seed: int
    workdir: Path
    device: str = "cpu"
    fitted: Path | None = None
    report: Callable[[int, int], None] = field(default=lambda done, total: None, repr=False, compare=False)
    notes: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    checkpoints: Path | None = None
    curve: list[tuple[str, int, float]] = field(default_factory=list, repr=False, compare=False)
    calls: list[ModelCall] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def rng(self) -> np.random.Generator:
        """A numpy generator seeded with `seed`; the same object throughout the call."""
        return np.random.default_rng(self.seed)

    def note(self, quantity: str, text: str) -> None:
        """Say how the value of a quantity was computed, where there are several ways; it is stored with the score."""
        self.notes[quantity] = text

    def record(self, series: str, step: int, value: float) -> None:
        """Add a point to the training curve, which is stored with the audit: a loss, or `seconds` of training up to this step.

        ValueError where the value is not finite, at once and not when the training is over.
        """
        if not math.isfinite(value):
            raise ValueError(f"{series} is {value} at step {step}, which is not finite")
        self.curve.append((series, step, value))

    def asked(self, call: ModelCall) -> None:
        """Hand over one question put to a language model with its reply, which is stored with the audit and can be replayed."""
        self.calls.append(call)

    def progress(self, done: int, total: int) -> None:
        """Say how far the call is."""
        self.report(done, total)


class Component(BaseModel):
    """A named, versioned piece of an audit. `needs` out of masks, labels, concepts, patients, groups, sources, features."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    name: ClassVar[str]
    version: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    kind: ClassVar[str] = ""

    @classmethod
    def summary(cls) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())

    def inputs(self) -> tuple[Path, ...]:
        """Files and folders whose bytes decide the result: they enter the keys of this component's cells."""
        return ()


class Generator(Component):
    """Makes synthetic images. `fit` is for generators that the audit itself trains."""

    kind = "generator"

    def conditions(self) -> frozenset[str]:
        """Return what a request must hold besides n, out of labels, masks, concepts; labels are always given where there are some.

        masks: each image is made for the mask of one real image, so that real and synthetic cases pair one to one.
        """
        return frozenset()

    def fit(self, train: ImageSet, context: Context) -> None:
        """Learn from `train` and leave the result in `context.workdir`. Optional; `context.fitted` lends it to `sample`.

        A long training keeps its state in `context.checkpoints` and goes on from there, and tells its curve to `context.record`.
        """

    @abstractmethod
    def sample(self, request: Request, context: Context) -> ImageSet | Any:
        """Return `request.n` images, `origin="synthetic"`, or the folder of their files; decided by `context.seed` alone."""


class Extractor(Component):
    """Turns images into feature vectors."""

    kind = "extractor"

    def gives(self) -> Gives:
        """Return what the features are: metrics say which kinds they take.

        embedding: vectors whose means, covariances and distances mean something; spatial: a flattened map of positions; logits: of
        a classifier, one column per class; distances: only the squared Euclidean distances between rows mean something.
        """
        return "embedding"

    def fit(self, train: ImageSet, context: Context) -> None:
        """Learn from `train` and leave the state in `context.workdir`. Optional; `context.fitted` lends it to `extract`."""

    @abstractmethod
    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the features, (N, F) float32; row i belongs to image i whatever else is in the set."""


class Perturbation(Component):
    """Plants one known defect in real images.

    full_severity: what severity 1 means, in the field's units. doses: severities above 0 that qualification plants when the
    user names none; dose_of_concern: the one that must be noticed, because why. presets: by modality, the options with which the
    perturbation belongs to that preset of the battery (`battery: {preset: mri}`); a modality that is not named leaves it out.
    """

    kind = "perturbation"
    failure_mode: ClassVar[FailureMode]
    full_severity: ClassVar[str]
    presets: ClassVar[Mapping[Modality, Mapping[str, Any]]] = {}
    doses: tuple[float, ...] = (0.25, 0.5, 1.0)
    dose_of_concern: float = 0.5
    because: str = ""

    @abstractmethod
    def apply(self, images: ImageSet, train: ImageSet, severity: float, context: Context) -> ImageSet:
        """Return `images` with the defect at `severity` in [0, 1]; 0 is the identity.

        `train` are the images that a copying generator would copy. Ids and patients stay those of the slot that an image fills;
        fewer images may come back than went in.
        """


class Metric(Component):
    """Compares synthetic with real images.

    A metric with `needs = {"features"}` is measured once per extractor whose features are of a kind that it `takes`. One that
    looks at images overrides `describe`: the host calls it once per image set and lends the numbers as `comparison.features`, so
    that resampling never touches an image again. in_suite: part of the suite that `metrics: default` and `harness metrics` run.
    """

    kind = "metric"
    quantities: ClassVar[tuple[Quantity, ...]]
    sees: ClassVar[frozenset[FailureMode]] = frozenset()
    blind_to: ClassVar[frozenset[FailureMode]] = frozenset()
    takes: ClassVar[frozenset[Gives]] = frozenset({"embedding"})
    in_suite: ClassVar[bool] = False

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return numbers about each image, (N, D) float32; row i depends on image i alone. Optional."""
        raise NotImplementedError

    @classmethod
    def describes(cls) -> bool:
        """Whether the metric makes its own features with `describe`."""
        return cls.describe is not Metric.describe

    @abstractmethod
    def measure(self, comparison: Comparison, context: Context) -> Mapping[str, float | NotComputable]:
        """Return one finite number per promised quantity, or the `NotComputable` that says why that one has none.

        Raise `NotComputable` where there is no number at all.
        """

    def per_image(self, comparison: Comparison, context: Context) -> Mapping[str, np.ndarray]:
        """Return for some promised quantities how far each synthetic image is to blame, (N_synthetic,), higher is worse. Optional.

        The host asks once for the synthetic images and once with the test images in their place, and names the images that stand
        out.
        """
        return {}


class Task(Component):
    """Trains something on images and tests it."""

    kind = "task"
    quantities: ClassVar[tuple[Quantity, ...]]

    def columns(self, images: ImageSet) -> tuple[str, ...]:
        """Return the names of the columns of results on such images: "" is the case as a whole, others are regions or classes.

        A label is named `label=0`, which is printed with its name.
        """
        return ("",)

    @abstractmethod
    def fit(self, training: ImageSet, validation: ImageSet, context: Context) -> None:
        """Train on `training`, stop by `validation`, and leave what was learned in `context.workdir`."""

    @abstractmethod
    def score(self, test: ImageSet, context: Context) -> Mapping[str, np.ndarray | float]:
        """Test what `fit` left in `context.fitted` on `test`, whose labels and masks are used only to score.

        Return per quantity a (N,) or (N, K) masked array, one value per test case (and column, where there are several), or one number.
        """


class RatingImporter(Component):
    """Reads the ratings of experts."""

    kind = "rating_importer"

    def asked(self) -> Mapping[str, Scale]:
        """Return the scales as they were put to the raters, by name, where the file says so: an audit that says otherwise is refused."""
        return {}

    @abstractmethod
    def read(self, context: Context) -> Iterable[Rating]:
        """Yield every rating, the unusable ones too, with a status and a reason."""


class LLMCheck(Component):
    """Asks a language model to rate images."""

    kind = "llm_check"

    @classmethod
    def prompt_sets(cls) -> dict[str, Path]:
        """Return the files of the prompt sets that come with this check, by name; `harness prompts` prints them."""
        return {}

    @abstractmethod
    def rate(self, images: ImageSet, scales: tuple[Scale, ...], context: Context) -> Iterable[Rating]:
        """Yield one rating per image, scale and repeat (`occasion` 1, 2, ...), `rater` the model, `rater_kind="llm"`.

        A refusal or an unusable answer is a rating with a status and a reason. Each question goes to `context.asked` with its reply as
        it came. What was asked already is kept in `context.checkpoints`, so that a killed run does not ask twice.
        """


KINDS: dict[str, type[Component]] = {
    kind.kind: kind for kind in (Generator, Extractor, Perturbation, Metric, Task, RatingImporter, LLMCheck)
}
