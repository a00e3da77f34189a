"""What each chapter of the dossier says, derived from stored rows and the locked plan: rows in, printable facts out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .components import FailureMode
from .figures import Span, span
from .records import (
    CellRow,
    CriterionRow,
    FindingRow,
    ImageSetRow,
    LedgerRow,
    PlannedCellRow,
    QualificationRow,
    ScoreRow,
    VerdictRow,
)  # fmt: skip
from .spec import AuditSpec, Criterion, Purpose
from .verdicts import mix_of
from .wording import STATUSES, counted, listed, number, words

LEAST_PATIENTS = 10
PANEL_TEXT = 240
STAGES = ("sample", "extract", "qualify", "measure", "evaluate", "rate", "judge")
TONES = {"met": "good", "not_met": "bad"}


@dataclass(frozen=True)
class Case:
    """A purpose with its verdict and its criteria, numbered P1, P2, ... in the order of the plan."""

    label: str
    name: str
    purpose: Purpose
    verdict: VerdictRow | None
    criteria: tuple[CriterionRow, ...]

    @property
    def word(self) -> str:
        """The verdict; not assessed where the audit ended before one was reached."""
        return self.verdict.verdict if self.verdict else "not_assessed"

    @property
    def reason(self) -> str:
        """One line on why."""
        return self.verdict.reason if self.verdict else "The audit ended before a verdict was reached."

    @property
    def conditions(self) -> list[str]:
        """Conditions under which the verdict holds."""
        return self.verdict.conditions if self.verdict else []

    def ident(self, criterion: CriterionRow | Criterion | str) -> str:
        """Return the criterion's id in this dossier, as in P1-C2."""
        name = criterion if isinstance(criterion, str) else criterion.criterion if isinstance(criterion, CriterionRow) else criterion.id
        return f"{self.label}-{name}"

    @property
    def whole(self) -> tuple[CriterionRow, ...]:
        """The criteria without the rows for single strata or raters, whose ids end in brackets."""
        return tuple(c for c in self.criteria if "[" not in c.criterion)

    def tally(self) -> list[tuple[str, int]]:
        """Count criteria by status, in the order of the vocabulary."""
        counts: Counter[str] = Counter(c.status for c in self.whole)
        return [(status, counts[status]) for status in STATUSES if counts[status]]

    def short(self) -> str:
        """The reason, or the summary where the reason would fill a panel."""
        return self.reason if len(self.reason) <= PANEL_TEXT else self.summary()

    def summary(self) -> str:
        """Say the verdict in one plain sentence."""
        critical = [c for c in self.whole if c.role == "critical"]
        met = sum(c.status == "met" for c in critical)
        failed = sum(c.status == "not_met" for c in critical)
        of = counted(len(critical), "critical criterion", "critical criteria")
        all_met = "the one critical criterion is met" if len(critical) == 1 else f"all {len(critical)} critical criteria are met"
        if self.word == "adequate":
            return f"The images are adequate for this purpose: {all_met}."
        if self.word == "adequate_with_conditions":
            return f"The images are adequate for this purpose under {counted(len(self.conditions), 'condition')}: {all_met}."
        if self.word == "inadequate":
            verb = "is" if failed == 1 else "are"
            return f"The images are not adequate for this purpose: {failed} of {of} {verb} not met, and nothing offsets that."
        if self.word == "insufficient_evidence":
            return f"Whether the images are adequate for this purpose is undecided: {met} of {of} met, none shown to fail."
        return "No verdict was reached for this purpose, and nothing may be concluded for it."

    def changes(self) -> list[str]:
        """Say what would change the verdict, from the statuses alone."""
        by = {s: [c for c in self.whole if c.status == s] for s in STATUSES}
        lines = []
        if by["not_met"]:
            lines.append(f"{self._ids(by['not_met'])} not met: the bound most favourable to the item misses the threshold, so more data "
                         "of the same kind will not help; a changed item under a new plan may.")  # fmt: skip
        if by["inconclusive"]:
            n = listed(list(dict.fromkeys(number(c.n) for c in by["inconclusive"] if c.n is not None)))
            lines.append(f"{self._ids(by['inconclusive'])} inconclusive: the bounds straddle the threshold; "
                         f"a new plan with a larger n (now {n}) may decide.")  # fmt: skip
        for c in by["insufficient_n"]:
            if c.n is not None and c.n_min is not None and c.n < c.n_min:
                lines.append(
                    f"{self.ident(c)} n below minimum: {c.n_min - c.n:,} more are needed (unit: {c.unit}; now {c.n:,} of {c.n_min:,})."
                )
            else:
                lines.append(f"{self.ident(c)} n below minimum: more independent units or sampling runs are needed.")
        fixed = (
            ("unqualified", "a quantity that notices the failure mode on these images at this n, and guards that are met."),
            ("missing", "the evidence itself; what stopped it is in section 7."),
            ("invalid", "independent and intact data."),
            ("post_hoc", "a declaration in a new plan before new data are seen."),
        )
        lines += [f"{self._ids(by[s])} {STATUSES[s].lower()}: needed is {what}" for s, what in fixed if by[s]]
        broken = re.findall(r"^Rule (R\d+) .* is broken: ", "\n".join(self.verdict.rules if self.verdict else ()), flags=re.MULTILINE)
        if broken and self.word == "insufficient_evidence":
            met = "" if lines else "every criterion is met, but "
            are = "is" if len(broken) == 1 else "are"
            lines.append(f"{self.label}: {met}{listed(broken)} {are} broken, which no number of images mends; section 9 says by what.")
        if not lines and self.word == "insufficient_evidence":
            lines.append(f"{self.label}: the plan was changed after it was locked; a new plan before new data are seen may decide.")
        if not lines and self.word in ("adequate", "adequate_with_conditions"):
            lines.append(f"{self.label}: any validity trigger of section 12 ends the verdict.")
        return lines or [f"{self.label}: declare and run at least one critical criterion."]

    def _ids(self, rows: Sequence[CriterionRow]) -> str:
        return listed([self.ident(c) for c in rows])


def cases(spec: AuditSpec, criteria: Iterable[CriterionRow], verdicts: Iterable[VerdictRow]) -> list[Case]:
    """Join purposes, verdicts and criteria, all in the order of the plan."""
    rows, found = list(criteria), {v.purpose: v for v in verdicts}
    result = []
    for k, (name, purpose) in enumerate(spec.purposes.items(), 1):
        order = {c.id: i for i, c in enumerate(purpose.criteria)}
        mine = sorted(
            (r for r in rows if r.purpose == name),
            key=lambda r: (order.get(r.criterion.split("[")[0], len(order)), r.criterion),
        )
        result.append(Case(f"P{k}", name, purpose, found.get(name), tuple(mine)))
    return result


def whisker_span(row: CriterionRow) -> Span:
    """Return the stretch of the number line for one criterion: its bounds and its threshold."""
    return span([row.value, row.ci_low, row.ci_high, row.threshold_low, row.threshold_high], 0.35)


@dataclass(frozen=True)
class Conserved:
    """Planned cells of a stage and what became of them; planned = ok + not computable + failed + not run."""

    stage: str
    planned: int
    ok: int
    not_computable: int
    failed: int
    not_run: int


def conservation(planned: Iterable[PlannedCellRow], cells: Iterable[CellRow]) -> list[Conserved]:
    """Count cells by stage, in the order of the work, with a last row for all."""
    plan = {p.key: p.stage for p in planned}
    status: dict[str, str] = {c.key: c.status for c in cells}
    rows = []
    for stage in [*sorted(set(plan.values()), key=lambda s: (STAGES.index(s) if s in STAGES else len(STAGES), s)), "all"]:
        keys = [k for k, s in plan.items() if stage in (s, "all")]
        count = Counter(status.get(k, "not_run") for k in keys)
        rows.append(Conserved(stage, len(keys), count["ok"], count["not_computable"], count["failed"], count["not_run"]))
    return rows


@dataclass(frozen=True)
class Branch:
    """One line of a forest plot: a stratum, or all images. Bounds are one-sided 95 %."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    unit: str
    status: str
    reason: str


@dataclass(frozen=True)
class Forest:
    """Criteria of one quantity and threshold with its value in every stratum. each: every stratum must meet it."""

    idents: tuple[str, ...]
    row: CriterionRow
    each: bool
    branches: tuple[Branch, ...]

    @property
    def over(self) -> Span:
        """The stretch of the number line that all branches share, with the threshold."""
        ends = [end for b in self.branches for end in (b.value, b.low, b.high)]
        return span([*ends, self.row.threshold_low, self.row.threshold_high], 0.1)


def forests(purposes: Sequence[Case], scores: Sequence[ScoreRow], labels: Mapping[str, str]) -> list[Forest]:
    """Return the criteria that have values by stratum, those that would be drawn alike together; labels: what strata are called.

    Strata that must each meet the criterion come from its own rows; others from the scores of its quantity, and carry no status.
    """
    found: dict[tuple[object, ...], Forest] = {}
    for case in purposes:
        for whole in case.whole:
            declared = next((c for c in case.purpose.criteria if c.id == whole.criterion), None)
            mine = [s for s in scores if declared and _answers(s, declared, whole)]
            parts = [r for r in case.criteria if r.criterion.startswith(f"{whole.criterion}[")]
            branches = [_part(r, labels) for r in parts] or [_stratum(s, whole, labels) for s in mine if s.stratum]
            if branches:
                drawn = tuple([_stratum(s, whole, labels) for s in mine if not s.stratum][:1] + branches)
                key = (whole.quantity, whole.extractor, whole.threshold, drawn)
                idents = (*(found[key].idents if key in found else ()), case.ident(whole))
                found[key] = Forest(idents, whole, bool(parts), drawn)
    return list(found.values())


def _answers(score: ScoreRow, criterion: Criterion, row: CriterionRow) -> bool:
    """Return whether a score is of the quantity that a criterion judges, in any stratum."""
    quantity = criterion.quantity + ("_gain" if criterion.gain_at_least is not None else "")
    if f"{score.component}.{score.quantity}" != quantity or score.extractor != row.extractor or score.repeat is not None or score.region:
        return False
    if score.stage == "measure":
        return not score.perturbation
    shares = (score.real_share, score.synthetic_share)
    return score.stage == "evaluate" and score.tested_on == "real" and shares == mix_of(criterion)


def _part(row: CriterionRow, labels: Mapping[str, str]) -> Branch:
    name = row.criterion.partition("[")[2].rstrip("]")
    return Branch(labels.get(name, name), row.value, row.ci_low, row.ci_high, row.n, row.unit, row.status, row.reason)


def _stratum(score: ScoreRow, row: CriterionRow, labels: Mapping[str, str]) -> Branch:
    value = score.value if score.judged_value is None else score.judged_value
    images = score.n if score.judged_n is None else score.judged_n
    n = score.n_patients if row.unit == "patient" else images
    name = labels.get(score.stratum, score.stratum) or "all images"
    return Branch(name, value, score.bound_low, score.bound_high, n, row.unit, "", score.reason)


def claims(purposes: Sequence[Case]) -> list[tuple[str, str]]:
    """Return the failure modes that criteria claim something about, with the criterion."""
    return [(mode.value, case.ident(c)) for case in purposes for c in case.purpose.criteria for mode in c.failure_modes]


def alike(cells: Sequence[CellRow]) -> list[tuple[CellRow, int]]:
    """Group cells that ended alike for one reason."""
    groups: dict[tuple[str, str, str, str], list[CellRow]] = {}
    for c in cells:
        groups.setdefault((c.stage, c.component, c.status, c.reason), []).append(c)
    return [(found[0], len(found)) for found in groups.values()]


def overlaps(findings: Iterable[FindingRow], planned: Iterable[PlannedCellRow]) -> list[FindingRow]:
    """Return the findings of the cells that read and sampled images."""
    read = {p.key for p in planned if p.stage == "sample"}
    return [f for f in findings if f.cell in read]


def locked(ledger: Sequence[LedgerRow], plan_sha256: str) -> LedgerRow | None:
    """Return the link that locked this plan: the first that says so, otherwise the first that names it."""
    mine = [row for row in ledger if row.plan_sha256 == plan_sha256]
    return next((row for row in mine if "lock" in row.event), mine[0] if mine else None)


def limitations(
    sets: Sequence[ImageSetRow], scores: Sequence[ScoreRow], qualifications: Sequence[QualificationRow], spec: AuditSpec, cells: Conserved
) -> list[tuple[str, list[str]]]:  # fmt: skip
    """Say what the method, the data and the numbers cannot show, from stored facts."""
    harmless = FailureMode.HARMLESS
    modes = sorted({q.failure_mode for q in qualifications if q.failure_mode != harmless})
    unplanted = [m.value.replace("_", " ") for m in FailureMode if m.value not in (*modes, harmless)]
    structural = [
        "A qualification holds for the extractor, resolution, preprocessing and n used here; it lapses when any of them changes.",
        f"Defects of {counted(len(modes), 'kind')} were planted; a quantity that notices them may be blind to others."
        if modes else "No defect was planted, so no upstream metric is qualified and none supports a claim.",
        "Planted defects are simple and known; the defects of a generator may be neither.",
    ]  # fmt: skip
    if unplanted:
        structural.append(f"No planted defect stood for {listed(unplanted)}.")
    unknown = [s.role for s in sets if s.patients is None and s.role != "synthetic"]
    data = ["The real images are those of section 4; no statement is made for other sites, scanners, populations or periods."]
    if unknown:
        data.append(f"Patients are unknown in the {listed(unknown)} images: overlap of patients was not evaluated there, and images "
                    "stand in for patients wherever values are resampled, which can make intervals too narrow.")  # fmt: skip
    data += [
        f"The {s.role} images come from {counted(s.patients, 'patient')}: fewer than {LEAST_PATIENTS} patients give no interval."
        for s in sets if s.patients is not None and s.patients < LEAST_PATIENTS and s.role != "synthetic"
    ]  # fmt: skip
    data += [f"The {s.role} images carry no labels." for s in sets if not s.labels and s.role != "synthetic"]
    statistical = ["Intervals and bounds express sampling uncertainty only; bias from how cases were selected is not in them."]
    runs = sum(s.role == "synthetic" for s in sets)
    if runs == 1:
        statistical.append("All synthetic images come from one sampling run; variation from run to run is not covered.")
    elif runs:
        statistical.append(f"Values of metrics are means over {runs} sampling runs of one generator, and repeat k of a task learned from "
                           "run k; galleries, images that stand out and ratings are of the first run alone.")  # fmt: skip
    results = [s for s in scores if s.repeat is None and s.stage != "run"]
    blank = sum(s.status != "ok" for s in results)
    if blank:
        statistical.append(f"{number(blank)} of {counted(len(results), 'result')} could not be computed; the reasons are in section 7.")
    bare = sum(s.status == "ok" and s.stage == "measure" and s.ci_low is None and s.ci_high is None for s in results)
    if bare:
        statistical.append(
            f"{counted(bare, 'value')} of section 7 {'has' if bare == 1 else 'have'} no interval and can decide no criterion."
        )
    if spec.tasks:
        statistical.append(f"Each task was trained {spec.tasks.repeats} times per mix; other architectures or recipes may differ.")
    lost = cells.planned - cells.ok
    if lost:
        statistical.append(f"{number(lost)} of {counted(cells.planned, 'planned cell')} gave no result (appendix A).")
    return [("Method", structural), ("Data", data), ("Statistics", statistical)]


def triggers(spec: AuditSpec) -> list[str]:
    """Return the changes that end a verdict."""
    item = words(spec.generator.name).lower() if spec.generator else "item"
    return [
        f"another generator, version, checkpoint or set of options than the {item} of section 3",
        "another feature extractor, another size, spacing or intensity window of the images",
        f"another number of synthetic images than {number(spec.samples)}, or images selected after generation",
        "another population, scanner, site or protocol than that of section 4",
        "another use, user or mix than the purpose names",
        "a changed threshold, or guidance that sets one",
    ]


def user_texts(spec: AuditSpec) -> list[tuple[str, str]]:
    """Return every sentence that the user wrote into the plan, with where it stands."""
    texts = [("title", spec.title), ("audit", words(spec.audit)), *((f"about.{k}", str(v)) for k, v in spec.about.items())]
    for name, p in spec.purposes.items():
        where = f"purposes.{name}"
        texts.append((where, words(name)))
        texts += [(f"{where}.{f}", getattr(p, f)) for f in ("context_of_use", "question", "user", "target_population")]
        texts += [(f"{where}.not_for", text) for text in p.not_for]
        texts += [(f"{where}.criteria.{c.id}.{f}", getattr(c, f)) for c in p.criteria for f in ("claim", "because", "one_kind_because")]
    for scale in spec.ratings.scales if spec.ratings else ():
        texts += [(f"ratings.scales.{scale.name}", text) for text in (scale.question, scale.gates.because)]
    return texts
