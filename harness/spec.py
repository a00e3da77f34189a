"""`model.yaml` as pydantic: data, components, purposes, criteria. Reading the file, with lines, is `specfile`."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator

from .components import FailureMode, Modality
from .quantities import Name
from .readerspec import ScaleSpec, StudySpec

Share = Annotated[float, Field(ge=0.0, le=10.0)]


class Model(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reference(Model):
    """A component by name, with options: `frechet`, or `{vendi: {kernel: cosine}}`.

    With the option `as` it goes by another name in this audit, so that one component can be used twice with different options.
    """

    name: str
    options: dict[str, Any] = {}

    @property
    def called(self) -> str:
        """The name by which the audit knows the component: its own, or that of the option `as`."""
        return str(self.options.get("as", self.name))

    @property
    def own_options(self) -> dict[str, Any]:
        """The options of the component itself."""
        return {key: value for key, value in self.options.items() if key != "as"}

    @model_validator(mode="after")
    def _is_called(self) -> Self:
        if "as" in self.options and not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,63}", self.called):
            raise ValueError(f"as: {self.called!r} is no name; names are lower case letters, digits and _")
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1:
            name, options = next(iter(value.items()))
            if options is None or isinstance(options, dict):
                return {"name": name, "options": options or {}}
        if isinstance(value, dict) and set(value) == {"name", "options"}:
            return value
        raise ValueError("a component is a name, or one name with its options: {name: {option: value}}")

    @model_serializer
    def _short(self) -> str | dict[str, Any]:
        return {self.name: self.options} if self.options else self.name


# A stratum of the test images of tasks: thirds by the size of the lesion, where there are masks.
LESION_SIZE = "lesion_size"
# What reads images where none is named: neither needs weights.
EXTRACTORS = tuple(map(Reference.model_validate, ("pixels", "random_conv")))


class Attribute(Model):
    """Where a label, patient or group of an image is read: exactly one of folder, pattern, column, header.

    folder: level of the folder name, 1 = the folder the file is in. pattern: regular expression searched in the path below the
    arm's folder; its first group, or the whole match. column: of `data.csv`. header: a DICOM keyword such as PatientID.
    """

    folder: int | None = Field(None, ge=1)
    pattern: str | None = None
    column: str | None = None
    header: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"folder": 1} if value == "folder" else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(v is not None for v in (self.folder, self.pattern, self.column, self.header)) != 1:
            raise ValueError("give exactly one of folder, pattern, column, header (or the word folder)")
        return self


class MaskRule(Model):
    """Where the mask of an image is: a file beside it whose stem ends in `suffix`, or the same relative path in `folder`.

    regions: mask values in the order of region numbers 1..K; values left out are background. None: everything above 0 is 1.
    """

    suffix: str | None = None
    folder: str | None = None
    regions: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.suffix is None) == (self.folder is None):
            raise ValueError("give exactly one of suffix, folder")
        return self


class Patches(Model):
    """Cut each image or volume into `per_image` seeded random patches of `size` (px, array order).

    inside_mask: patch centres lie where the mask named by `data.masks` is above 0.
    """

    size: tuple[int, ...]
    per_image: int = Field(ge=1)
    inside_mask: bool = False


class Percentiles(Model):
    """Intensity window from these percentiles of the training images (one window for all arms)."""

    percentiles: tuple[float, float]


class CsvTable(Model):
    """A table with one row per file: `id` is the column that holds the path below the arm's folder, or the file name."""

    path: str
    id: str = "file"


class Layout(Model):
    """How files become images with labels, patients, groups and masks."""

    files: str = "**/*"
    csv: CsvTable | None = None
    labels: Attribute | None = None
    patients: Attribute | None = None
    groups: dict[Name, Attribute] = {}
    masks: MaskRule | None = None
    concepts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        taken = sorted(RESERVED & set(self.groups))
        if taken:
            raise ValueError(f"a group cannot be called {taken[0]}: choose another name")
        return self


# What is known of every image under these names already.
RESERVED = frozenset({"origin", "planted", "truth", "case", "patient", "label", "concepts", "stratum"})


class DataSpec(Layout):
    """The real images and how every arm is preprocessed.

    test: real images that the generator did not see; only where metrics are qualified without a generator may they be left out, and a
    `test_share` of the training patients is set aside.
    window: the intensities that become 0 and 1; absent, the range of an integer file type (floating-point files must declare
    it). outside: what becomes of pixels outside it (always counted). spacing_mm: absent, from file headers. channels: grey or
    rgb; absent, as the training files are. size and resize: pixel size of every image; `refuse` stops at a file of another
    size. series: a folder of single-frame DICOM files is one volume. synthetic: layout of the generator's files where it
    differs. label_names: the classes in order; absent, those of the training set in alphabetical order.
    """

    train: str
    test: str | None = None
    test_share: float = Field(0.3, gt=0.0, lt=1.0)
    validation: str | None = None
    validation_share: float = Field(0.2, gt=0.0, lt=1.0)
    spacing_mm: tuple[float, ...] | None = None
    window: tuple[float, float] | Percentiles | None = None
    outside: Literal["clip", "refuse"] = "clip"
    channels: Literal["grey", "rgb"] | None = None
    size: tuple[int, ...] | None = None
    resize: Literal["refuse", "stretch", "pad", "crop"] = "refuse"
    series: bool = False
    patches: Patches | None = None
    label_names: tuple[str, ...] | None = None
    synthetic: Layout | None = None


def _mix(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Mix = Annotated[tuple[Share, Share], BeforeValidator(_mix)]


class Tasks(Model):
    """Downstream tasks over mixes (real share, synthetic share), both as fractions of the real training count.

    synthetic_test: so many further synthetic images on which tasks are tested too; where the generator makes its images from masks,
    they are made from those of the real test images, to which they pair one to one.
    """

    components: tuple[Reference, ...]
    mixes: tuple[Mix, ...] = ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    repeats: int = Field(5, ge=2)
    synthetic_test: int = Field(0, ge=0)


class Ratings(Model):
    """Opinions of experts and of language models. study: the reader study that asks the experts."""

    importers: tuple[Reference, ...] = ()
    llm_checks: tuple[Reference, ...] = ()
    scales: tuple[ScaleSpec, ...] = ()
    study: StudySpec | None = None


_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no time: write 600, 90s, 10m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


class Battery(Model):
    """Size of the perturbation battery.

    preset: adds the perturbations that belong to this modality and that the data allow, with the doses chosen for it. budget:
    seconds of one core, or 90s, 10m, 2h; where the battery would need more, replicates are given up first, then null splits, then
    doses other than that of concern, and the plan says what. replicates: at each dose; null_splits: real against real.
    fault_seeds: independently planted probes that the replicates are drawn from. n: images in a replicate, where fewer than half of a
    probe are wanted: what is qualified at many images says nothing of a stratum that holds few.
    """

    preset: Modality | None = None
    budget: Annotated[float, BeforeValidator(_seconds), Field(gt=0.0)] | None = None
    replicates: int = Field(20, ge=4)
    null_splits: int = Field(200, ge=20)
    fault_seeds: int = Field(2, ge=1)
    n: int | None = Field(None, ge=10)

    @model_validator(mode="after")
    def _each_probe_is_drawn_from(self) -> Self:
        if self.fault_seeds > self.replicates:
            raise ValueError(f"{self.fault_seeds} fault seeds for {self.replicates} replicates: some probes would never be drawn from")
        return self


class Intervals(Model):
    """Size of the resampling behind intervals and floors."""

    half_samples: int = Field(50, ge=10)
    floor_splits: int = Field(20, ge=4)


class Criterion(Model):
    """One declared bound on one quantity; the rules are in `judge`.

    quantity: `component.quantity`, or `ratings.SCALE.STATISTIC` and `llm.SCALE.STATISTIC` for what experts and language models agree
    on, find or answer (`share.CATEGORY`), on strata out of real, synthetic, label and the groups. mix: which training mix a task quantity
    is judged at. gain_at_least: bound on the paired gain over mix (1, 0). guards: ids of criteria of the same purpose that must be met.
    """

    id: Name
    claim: str = Field(min_length=1)
    quantity: str
    extractor: str | None = None
    mix: Mix | None = None
    at_least: float | None = None
    at_most: float | None = None
    between: tuple[float, float] | None = None
    gain_at_least: float | None = None
    because: str = Field(min_length=1)
    unit: Literal["patient", "image"] = "image"
    n_min: int = Field(1, ge=1)
    runs_min: int = Field(1, ge=1)
    strata: tuple[str, ...] = ()
    strata_role: Literal["descriptive", "each_must_meet"] = "descriptive"
    failure_modes: tuple[FailureMode, ...] = ()
    qualified_by: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    role: Literal["critical", "supportive"] = "critical"
    one_kind_because: str = ""

    @property
    def of_raters(self) -> bool:
        """Whether the criterion is about what experts or language models say."""
        return self.quantity.startswith(("ratings.", "llm."))

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [name for name in ("at_least", "at_most", "between", "gain_at_least") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of at_least, at_most, between, gain_at_least; got {', '.join(given) or 'none'}")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError(f"between needs a lower bound below the upper one, got {list(self.between)}")
        if self.gain_at_least is not None and (self.mix is None or tuple(self.mix) == (1.0, 0.0)):
            raise ValueError("gain_at_least compares a mix with (1, 0): name another mix")
        return self


class Purpose(Model):
    """A question with its context of use: the thing a verdict is about.

    uses_model: the purpose trains or tests a model, so rule R1 asks for a critical task criterion.
    """

    context_of_use: str = Field(min_length=1)
    question: str = ""
    user: str = ""
    target_population: str = ""
    not_for: tuple[str, ...] = ()
    uses_model: bool = True
    influence: Literal["low", "medium", "high"] | None = None
    consequence: Literal["low", "medium", "high"] | None = None
    criteria: tuple[Criterion, ...] = ()

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        ids = [c.id for c in self.criteria]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"criterion ids must be unique within a purpose; {', '.join(twice)} occurs more than once")
        return self


def _suite(value: Any) -> Any:
    return ["default"] if value == "default" else value


class AuditSpec(Model):
    """One `model.yaml`. Without generator, samples and purposes it says all that `harness qualify` needs.

    metrics: by name; `default` stands for every metric of the default suite that the data and the extractors allow. strata: labels
    or groups within which metrics are measured too; absent, the labels where the data have them and the groups that the generator's
    files have; a criterion may name more. runs: how many times so many samples are drawn, each with a seed of its own; from 3 on, how
    much the runs differ enters every interval, and repeat k of a task learns from run k.
    """

    audit: Name
    title: str = ""
    seed: int = Field(0, ge=0, lt=2**63)
    about: dict[str, Any] = {}
    data: DataSpec
    generator: Reference | None = None
    samples: int = Field(0, ge=0)
    runs: int = Field(1, ge=1, le=100)
    extractors: tuple[Reference, ...] = ()
    metrics: Annotated[tuple[Reference, ...], BeforeValidator(_suite)] = ()
    strata: tuple[str, ...] | None = None
    perturbations: tuple[Reference, ...] = ()
    tasks: Tasks | None = None
    ratings: Ratings | None = None
    battery: Battery = Battery()
    intervals: Intervals = Intervals()
    purposes: dict[Name, Purpose] = {}

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.generator is not None and self.samples < 2:
            raise ValueError(f"samples: an audit of a generator needs at least 2 images, got {self.samples}")
        if self.runs == 2:
            raise ValueError("runs: 2 do not tell how much runs differ; ask for 1, or for 3 or more")
        mixed = self.tasks is not None and any(synthetic for _, synthetic in self.tasks.mixes)
        if self.tasks is not None and mixed and 1 < self.runs < self.tasks.repeats:
            few = f"runs: {self.runs} for {self.tasks.repeats} repeats of each task, each of which learns from a run of its own"
            raise ValueError(f"{few}; ask for {self.tasks.repeats} runs or more, for 1, or for fewer repeats")
        return self

    def lacks(self) -> list[str]:
        """Return what an audit needs and this file does not say."""
        given = {"generator": self.generator, "purposes": self.purposes, "data.test": self.data.test}
        return [name for name, value in given.items() if not value]

    def for_qualification(self) -> AuditSpec:
        """Return the part that qualifies metrics on the real images: no generator, no purposes, no ratings."""
        left_out: dict[str, Any] = {"generator": None, "samples": 0, "runs": 1, "purposes": {}, "ratings": None, "strata": ()}
        return self.model_copy(update={"audit": f"{self.audit[:55]}-qualify", **left_out})

    def plan(self) -> dict[str, Any]:
        """Return the part that is locked before the first score: everything but the generator and free descriptions."""
        return self.model_dump(mode="json", exclude={"title", "about", "generator"})

    def plan_sha256(self) -> str:
        """Digest of the plan."""
        return digest(self.plan())


def digest(value: Any) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
