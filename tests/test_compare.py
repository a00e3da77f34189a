"""Finished audits of one plan side by side: what may be compared, what differs, what ranks, and what contradicts a task."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
from fabricated_audit import START, criterion, plan_digest, qualification, spec_of

from harness import compare
from harness.content import collect
from harness.contrasts import Audited, Line
from harness.errors import InputError
from harness.images import Comparison, from_features
from harness.phantoms import phantoms, write_phantoms
from harness.quantities import Quantity, Record
from harness.records import (
    AuditRow,
    CaseScoreRow,
    CellRow,
    ComponentRow,
    ImageSetRow,
    LedgerRow,
    OutcomeRow,
    PlannedCellRow,
    ScoreRow,
    VerdictRow,
)
from harness.scoring import Arms, Halves, units_of
from harness.spec import AuditSpec
from harness.store import Store
from tiny_audit import Project

N, HALVES, CASES, REPEATS = 500, 30, 40, 2
PROMISES = {
    "frechet": [Quantity(name="fid", better="lower", low=0.0, family="distance")],
    "manifold": [
        Quantity(name="recall", better="higher", low=0.0, high=1.0, family="coverage"),
        Quantity(name="density", better="higher", low=0.0, family="coverage"),
        Quantity(name="precision", better="higher", low=0.0, high=1.0),
    ],
    "memorisation": [Quantity(name="copied_share", better="lower", low=0.0, high=1.0, proportion=True, family="memorisation")],
    "vendi": [Quantity(name="modes", better="higher", no_interval="not covered")],
}
# What the paper found: the GAN is closer to real images than the VAE, and worse for the task.
VAE = {"fid": 30.0, "recall": 0.50, "density": 0.6, "copied_share": 3, "dice": 0.86}
GAN = {"fid": 20.0, "recall": 0.30, "density": 0.6, "copied_share": 60, "dice": 0.67}
DDPM = {"fid": 19.9, "recall": 0.60, "density": 0.6, "copied_share": 4, "dice": 0.87}


GENERATORS = {"vae": VAE, "gan": GAN, "ddpm": DDPM}


def audit_id(generator: str) -> str:
    """The id of an audit of this generator."""
    return f"fabricated-phantoms-0a1b2c3d-{generator:0>8}"


def measured(component: str, quantity: str, value: float, halves: np.ndarray | None, **fields: Any) -> list[Record]:
    """A value with the rows of its half-samples."""
    promise = next(q for q in PROMISES[component] if q.name == quantity)
    common = {"cell": "k3", "component": component, "quantity": quantity, "better": promise.better, "extractor": "pixels"} | fields
    floor = {"floor": 10.0, "floor_low": 7.81, "floor_high": 12.19, "n_floor": 200} if quantity == "fid" else {}
    if halves is None:
        return [ScoreRow(**{"stage": "measure", "value": value, "n": N, "ci_method": "no interval: not covered"} | floor | common)]
    spread = 2 * float(halves.std())
    interval = {"ci_low": value - spread, "ci_high": value + spread, "ci_method": "t x delete-half SD, 30 half-samples of 40 units"}
    return [
        ScoreRow(**{"stage": "measure", "value": value, "n": N, "level": 0.95} | interval | floor | common),
        *(ScoreRow(**{"stage": "half", "value": v, "n": N // 2, "repeat": k, "method": "half-sample of 40 units"} | common)
          for k, v in enumerate(halves.tolist())),
    ]  # fmt: skip


def rows_of(generator: str, values: dict[str, float], seed: int, tasks: bool = True, **changes: Any) -> list[Record]:
    """All rows of an audit of a generator with these values."""
    rng, real = np.random.default_rng(seed), np.random.default_rng(0).normal(size=HALVES)
    spec = spec_of(1, 1, generator={"folder": {"path": f"images/{generator}"}})
    plan = AuditSpec.model_validate(spec)
    rows: list[Record] = [
        AuditRow.model_validate({
            "name": plan.audit, "started_at": START, "seed": 1, "spec": spec, "spec_sha256": "5" * 64, "plan_sha256": plan_digest(plan),
            "data_sha256": f"{4:064x}", "generator_sha256": f"{seed:064x}", "harness_version": "0.1.0", "environment": {},
        } | changes),
        ComponentRow(kind="generator", name="folder", options={}, distribution="d", version="1", identity_sha256=generator),
        *(ComponentRow(kind="metric", name=name, options={}, distribution="d", version="1", identity_sha256=name,
                       promises={"quantities": [q.model_dump(mode="json") for q in found]}) for name, found in PROMISES.items()),
        ComponentRow(kind="task", name="segmentation", options={}, distribution="d", version="1", identity_sha256="s",
                     promises={"quantities": [Quantity(name="dice", better="higher", low=0.0, high=1.0).model_dump(mode="json")]}),
        ImageSetRow(cell="k1", role="synthetic", n=N, channels=1, size_px=[8, 8], spacing_mm=[1, 1], patients=None, labels={},
                    has_masks=False, preprocessing={}, sha256="0" * 64),
        PlannedCellRow(run=1, key="k3", stage="measure", component="frechet", title="frechet"),
        PlannedCellRow(run=1, key="k1", stage="sample", component="data", title="data"),
        PlannedCellRow(run=1, key="k2", stage="qualify", component="battery", title="battery"),
        PlannedCellRow(run=1, key="k9", stage="judge", component="verdicts", title="verdicts"),
        *(CellRow(key=k, stage="measure", component="c", status="ok", seconds=1, peak_mb=1) for k in ("k1", "k2", "k3", "k9")),
        *measured("frechet", "fid", values["fid"], 8 * real + rng.normal(0, 0.4, HALVES) + values["fid"]),
        *measured("manifold", "recall", values["recall"], 0.2 * real + rng.normal(0, 0.01, HALVES) + values["recall"]),
        *measured("manifold", "density", values["density"], 0.1 * real + rng.normal(0, 0.05, HALVES) + values["density"]),
        *measured("manifold", "recall", values["recall"], None, stratum="label=0", ci_method="t x delete-half SD"),
        *measured("manifold", "precision", 0.0, np.zeros(HALVES)),
        *measured("vendi", "modes", 12.0 + seed, None, extractor=""),
        *(row for stratum in ("", "label=0") for row in measured(
            "memorisation", "copied_share", values["copied_share"] / N, None, extractor="", stratum=stratum,
            ci_method=f"exact binomial, {values['copied_share']} of {N}")),
        qualification("manifold", "recall", "pixels", "mode_collapse", "mode_collapse", 0),
        qualification("frechet", "fid", "pixels", "gaussian_noise", "noise", 0),
        qualification("manifold", "precision", "pixels", "gaussian_noise", "noise", 0),
        qualification("memorisation", "copied_share", "", "duplication", "memorisation", 0),
        criterion("augment-segmentation", 0, "met" if values["fid"] < 25 else "not_met"),
        VerdictRow(cell="k9", purpose="augment-segmentation", context_of_use="c", verdict="adequate", conditions=[], rules=[], reason="r"),
        OutcomeRow(attempt=1, finished_at=START + timedelta(hours=seed)),
    ]  # fmt: skip
    return rows + (task_rows(values["dice"], seed) if tasks else [])


def task_rows(dice: float, seed: int) -> list[Record]:
    """The results of a task on real images alone and with synthetic ones added."""
    cases, rng = np.random.default_rng(0).normal(0, 0.1, (CASES, 1)), np.random.default_rng(seed)
    rows: list[Record] = []
    for mix, level in (((1.0, 0.0), 0.75), ((1.0, 1.0), dice)):
        base = {"cell": "k3", "component": "segmentation", "tested_on": "real", "real_share": mix[0], "synthetic_share": mix[1]}
        found = level + cases + (rng.normal(0, 0.01, (CASES, REPEATS)) if mix[1] else np.zeros((CASES, REPEATS)))
        rows += [CaseScoreRow(**base, quantity="dice", repeat=r, case_id=f"c{i}", patient=f"p{i}", value=float(found[i, r]))
                 for i in range(CASES) for r in range(REPEATS)]  # fmt: skip
        summary = base | {"stage": "evaluate", "better": "higher", "n": CASES}
        rows.append(ScoreRow(**summary, quantity="dice", value=float(found.mean()), ci_low=level - 0.03, ci_high=level + 0.03))
        if mix[1]:
            gain = float(found.mean() - 0.75 - cases.mean())
            rows.append(ScoreRow(**summary, quantity="dice_gain", value=gain, ci_low=gain - 0.02, ci_high=gain + 0.02))
    return rows


class Shelf:
    """Hands out the rows of one audit as a store would."""

    def __init__(self, rows: Sequence[Record]) -> None:
        self.held = rows

    def rows(self, kind: type[Any], audit_id: str) -> list[Any]:
        """All rows of a kind."""
        return [row for row in self.held if isinstance(row, kind)]

    current = rows


def audited(letter: str, generator: str, rows: Sequence[Record]) -> Audited:
    """An audit whose one attempt was started, without a results file."""
    link = LedgerRow(attempt=1, event="started", at=START, plan_sha256="", previous_sha256="", sha256="")
    content = collect(Shelf([*rows, link]), audit_id(generator))
    return Audited(letter, content, tuple(row for row in rows if isinstance(row, CaseScoreRow)))


def together(**rows: Sequence[Record]) -> compare.SideBySide:
    """Audits of these generators side by side."""
    return compare.SideBySide(tuple(audited("ABC"[k], name, mine) for k, (name, mine) in enumerate(rows.items())))


def keep(path: Path, generator: str, rows: Sequence[Record]) -> None:
    """Write the rows of an audit, and that it was started."""
    store = Store(path)
    store.append(audit_id(generator), rows)
    store.begin_attempt(audit_id(generator), "0" * 64, START)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results file with finished audits of three generators."""
    path = tmp_path_factory.mktemp("results") / "results.duckdb"
    for seed, (name, values) in enumerate(GENERATORS.items(), 1):
        keep(path, name, rows_of(name, values, seed))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second results file: the audit of a fourth generator, and one by another harness that has not ended."""
    path = tmp_path_factory.mktemp("other") / "results.duckdb"
    keep(path, "flow", rows_of("flow", DDPM, 9))
    keep(path, "broken", [r for r in rows_of("broken", DDPM, 8, harness_version="0.2.0") if not isinstance(r, OutcomeRow)])
    return path


@pytest.fixture(scope="module")
def three() -> compare.SideBySide:
    """The three side by side: A the VAE, B the GAN, C the DDPM."""
    return together(**{name: rows_of(name, values, seed) for seed, (name, values) in enumerate(GENERATORS.items(), 1)})


def line_of(shown: compare.SideBySide, name: str, stratum: str = "") -> Line:
    """The line of a quantity."""
    return next(line for line in shown.lines if line.name == name and line.stratum == stratum)


def pairs_of(line: Line) -> list[str]:
    """Who is better in each pair, AB, AC, BC."""
    return [contrast.better for contrast in line.contrasts]


def test_half_samples_pair_and_show_what_single_intervals_hide(three: compare.SideBySide) -> None:
    """The distances' own intervals overlap by far; what they share is the real images, and the difference is certain."""
    line = line_of(three, "frechet.fid")
    vae, gan, ddpm = line.values
    first = line.contrasts[0].difference

    assert vae is not None
    assert gan is not None
    assert ddpm is not None
    assert gan.ci_high > vae.ci_low  # type: ignore[operator]
    assert first is not None
    assert first.low > 7
    assert first.level == pytest.approx(1 - 0.05 / 3)
    assert first.method == "t x delete-half SD, 30 half-samples of 40 units"
    assert pairs_of(line) == ["B", "C", ""]
    assert line.order == "C ~ B > A"
    assert line.ranks == ((3, 3), (1, 2), (1, 2))
    assert line.unranked == "a distance: its order is no ranking"


def test_a_qualified_quantity_ranks(three: compare.SideBySide) -> None:
    """Three that are told apart have one rank each; the best is the one with the highest recall."""
    line = line_of(three, "manifold.recall")

    assert line.order == "C > A > B"
    assert compare.ranks(line, three.letters) == "A 2, B 3, C 1"
    assert line.unranked == ""


def test_what_was_not_qualified_does_not_rank(three: compare.SideBySide) -> None:
    """Its order is kept, its place in a ranking is a reason."""
    line = line_of(three, "manifold.density")

    assert line.unranked == "not qualified: no rank"
    assert pairs_of(line) == ["", "", ""]
    assert line.ranks == ((1, 3),) * 3


def test_a_saturated_quantity_cannot_rank(three: compare.SideBySide) -> None:
    """Precision is 0 for every generator, the worst that it can be; that half-samples agree does not make the difference certain."""
    line = line_of(three, "manifold.precision")
    difference = line.contrasts[0].difference

    assert line.unranked == "saturated: at its worst value for every generator"
    assert difference is not None
    assert difference.low < -0.05
    assert pairs_of(line) == ["", "", ""]


def test_a_quantity_that_takes_a_defect_for_better_does_not_rank() -> None:
    """Reversed for one failure mode, it may be that defect by which a generator wins."""
    wrong = qualification("manifold", "recall", "pixels", "gaussian_noise", "noise", 3)

    shown = together(vae=[*rows_of("vae", VAE, 1), wrong], gan=[*rows_of("gan", GAN, 2), wrong])

    assert line_of(shown, "manifold.recall").unranked == "takes gaussian noise for better: no rank"


def test_shares_of_independent_images_differ_by_newcombe(three: compare.SideBySide) -> None:
    """In all images and within strata; 60 of 500 is told from 3 and from 4, these two are not."""
    for stratum in ("", "label=0"):
        line = line_of(three, "memorisation.copied_share", stratum)
        assert line.contrasts[0].difference is not None
        assert line.contrasts[0].difference.method == "Newcombe, 3 of 500 less 60 of 500"
        assert pairs_of(line) == ["A", "", "C"]
    assert line_of(three, "memorisation.copied_share").order == "A ~ C > B"


def test_where_there_is_no_interval_there_is_a_reason(three: compare.SideBySide) -> None:
    """Within strata no half-samples are kept; a declared reason is repeated."""
    assert line_of(three, "manifold.recall", "label=0").contrasts[0].reason == "half-samples are kept over all images only"
    assert line_of(three, "vendi.modes").contrasts[0].reason == "no interval: not covered"
    assert pairs_of(line_of(three, "vendi.modes")) == ["", "", ""]


def test_a_quantity_without_a_value_says_whose() -> None:
    """The others are still held against each other; the one without a value has no rank."""
    kept = [row for row in rows_of("gan", GAN, 2) if not (isinstance(row, ScoreRow) and row.quantity == "recall")]
    kept.append(ScoreRow(cell="k3", stage="measure", component="manifold", quantity="recall", extractor="pixels", value=None,
                         better="higher", status="not_computable", reason="needs 50 images."))  # fmt: skip

    line = line_of(together(vae=rows_of("vae", VAE, 1), gan=kept, ddpm=rows_of("ddpm", DDPM, 3)), "manifold.recall")

    assert [c.reason for c in line.contrasts] == ["B: needs 50 images", "", "B: needs 50 images"]
    assert line.ranks == ((2, 2), None, (1, 1))
    assert line.order == "C > A"


def test_tasks_are_paired_by_case_and_repeat(three: compare.SideBySide) -> None:
    """Values and gains; what the cases share cancels; real images alone depend on no generator and are left out."""
    dice, gain = line_of(three, "segmentation.dice"), line_of(three, "segmentation.dice_gain")

    assert dice.mix == (1.0, 1.0)
    assert dice.order == "C > A > B"
    assert dice.unranked == ""
    for line in (dice, gain):
        assert line.contrasts[0].difference is not None
        assert line.contrasts[0].difference.value == pytest.approx(0.19, abs=0.01)
        assert line.contrasts[0].difference.high - line.contrasts[0].difference.low < 0.02
    assert len([line for line in three.lines if line.kind == "task"]) == 2


def test_upstream_that_contradicts_a_task_is_named(three: compare.SideBySide) -> None:
    """The paper's point: the GAN is better on the distance and worse for the task; recall agrees, the rest cannot tell."""
    found = next(d for d in three.downstream if (d.contrast.first, d.contrast.second) == ("A", "B"))

    assert found.contrast.better == "A"
    assert found.worse == "B"
    assert [line.called for line in found.contradict] == ["frechet.fid (pixels)"]
    assert [line.called for line in found.agree] == ["manifold.recall (pixels)", "memorisation.copied_share"]
    assert found.silent == 3
    assert three.statement.startswith("1 of the 3 times that a task tells two generators apart")
    assert "frechet.fid (pixels)" in three.statement


def test_without_a_task_the_statement_says_so() -> None:
    """And where no task tells two apart, it says that."""
    bare = together(vae=rows_of("vae", VAE, 1, tasks=False), gan=rows_of("gan", GAN, 2, tasks=False))
    same = together(vae=rows_of("vae", VAE, 1), gan=rows_of("gan", GAN | {"dice": VAE["dice"]}, 2))

    assert bare.statement == "There is no task in this plan: upstream cannot be held against downstream."
    assert same.statement == "No task tells any two of the generators apart: upstream cannot be held against downstream."
    assert "no task" in compare.html(bare)


def test_a_task_with_few_patients_or_one_number_a_run_has_a_reason() -> None:
    """Neither says how results vary over cases."""
    few, single = (
        {name: [row for row in rows_of(name, VAE, seed) if not isinstance(row, CaseScoreRow) or int(row.case_id[1:]) < cases]
         for seed, name in enumerate(("vae", "gan"), 1)}
        for cases in (9, 0)
    )  # fmt: skip

    assert line_of(together(**few), "segmentation.dice").contrasts[0].reason == "9 test patients, at least 10 are needed"
    assert "one number a run" in line_of(together(**single), "segmentation.dice").contrasts[0].reason


def test_effects_are_in_standard_deviations_of_real_against_real(three: compare.SideBySide) -> None:
    """The floor's half-range over its t and its split factor is one standard deviation; what has no floor says so."""
    fid, recall = line_of(three, "frechet.fid"), line_of(three, "manifold.recall")

    assert fid.effects[0] == pytest.approx(2 * fid.effects[1], rel=1e-9)  # type: ignore[operator]
    assert fid.effects[1] == pytest.approx(10 / 1.0211, rel=1e-3)
    assert recall.effects == ("no floor",) * 3


def test_table_csv_and_json_say_the_same(three: compare.SideBySide) -> None:
    """Values side by side, one row a pair, and everything."""
    text, pairs, facts = (compare.as_text(three, form) for form in ("table", "csv", "json"))
    read = list(csv.DictReader(io.StringIO(pairs)))
    body = json.loads(facts)
    fid = next(q for q in body["quantities"] if q["name"] == "frechet.fid")

    assert f"A  {audit_id('vae')}  folder(path: images/vae)" in text
    assert "C ~ B > A" in text
    assert three.multiplicity in text
    assert three.best_of in text
    assert three.statement in text
    assert len(read) == 3 * len(three.lines)
    assert float(read[0]["difference"]) == fid["differences"][0]["difference"]["value"]
    assert read[0]["better"] == audit_id("gan")
    assert [row["statuses"] for row in body["criteria"]] == [{"A": "not_met", "B": "met", "C": "met"}]
    assert body["verdicts"][0]["verdicts"]["A"] == "adequate"
    assert body["level"] == pytest.approx(1 - 0.05 / 3)


def test_a_results_file_gives_the_same_bytes_as_its_rows(results: Path, three: compare.SideBySide, tmp_path: Path) -> None:
    """What was read from a file is drawn as what was written to it; compare.json travels in the PDF."""
    read = compare.read([audit_id(name) for name in GENERATORS], [results])
    first, second = (compare.render(shown, tmp_path / name) for shown, name in ((read, "a.pdf"), (three, "b.pdf")))

    assert first.read_bytes() == second.read_bytes()
    with pikepdf.open(first) as pdf:
        assert json.loads(pdf.attachments["compare.json"].get_file().read_bytes()) == json.loads(compare.as_text(three, "json"))


def test_the_page_says_what_may_rank_and_what_cannot(three: compare.SideBySide) -> None:
    """Each reason stands in the place of the rank; the level and what it allows for are said."""
    page = compare.html(three)

    for said in ("not qualified: no rank", "saturated: at its worst value for every generator", "A 2, B 3, C 1", "Bonferroni", "Holm"):
        assert said in page


def test_two_generators_have_one_pair_at_95_percent() -> None:
    """Nothing is divided where there is nothing to choose from."""
    shown = together(vae=rows_of("vae", VAE, 1), gan=rows_of("gan", GAN, 2))

    assert "2 generators make 1 pair of each quantity. Each interval of a difference has the level 95 %" in shown.multiplicity
    assert compare.html(shown)


def test_audits_may_lie_in_several_files(results: Path, other: Path) -> None:
    """By id or by its end; a name stands for one audit only."""
    assert compare.read(["00000gan", "0000flow"], [results, other]).letters == ["A", "B"]
    with pytest.raises(InputError, match="'fabricated-phantoms' names several audits"):
        compare.read(["fabricated-phantoms", "0000flow"], [results, other])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plan_sha256": "9" * 64, "data_sha256": "9" * 64}, "differ in the files of the real images"),
        ({"plan_sha256": "9" * 64, "spec": spec_of(1, 1, samples=400)}, "differ in `samples` of model.yaml"),
        ({"plan_sha256": "9" * 64, "spec": spec_of(1, 2)}, "differ in `purposes` of model.yaml"),
        ({"plan_sha256": "9" * 64}, "differ in the plan"),
        ({"harness_version": "0.2.0"}, "differ in the harness (0.1.0, 0.2.0)"),
    ],
)
def test_what_differs_between_plans_is_named(changes: dict[str, Any], said: str) -> None:
    """Only audits that differ in nothing but the generator can be compared."""
    shown = together(vae=rows_of("vae", VAE, 1), flow=rows_of("flow", DDPM, 9, **changes))

    assert [problem.what.endswith(said) for problem in compare.different(shown.audits)] == [True]


def test_another_version_of_a_component_is_named() -> None:
    """The plan's digest does not hold the versions of metrics: they are compared by themselves."""
    rows = [r.model_copy(update={"identity_sha256": "new"}) if isinstance(r, ComponentRow) and r.name == "frechet" else r
            for r in rows_of("flow", DDPM, 9)]  # fmt: skip

    problems = compare.different(together(vae=rows_of("vae", VAE, 1), flow=rows).audits)

    assert [problem.what.endswith("differ in version, options or files of metric frechet") for problem in problems] == [True]


def test_unfinished_audits_are_named() -> None:
    """No end, an error at the end, cells that did not run, and no generator at all are told apart."""
    rows = rows_of("flow", DDPM, 9)
    ended = [row for row in rows if not isinstance(row, OutcomeRow)]
    for said, changed in (
        ("attempt 1 has not ended", ended),
        ("attempt 1 ended with: disk full", [*ended, OutcomeRow(attempt=1, finished_at=START, error="disk full")]),
        ("1 cell of its plan did not run", [*rows, PlannedCellRow(run=1, key="k7", stage="measure", component="c", title="c")]),
    ):
        assert [p.what for p in compare.unfinished([audited("A", "flow", changed)])] == [f"{audit_id('flow')} is not finished: {said}"]
    assert compare.unfinished([audited("A", "flow", rows)]) == []


def test_unfinished_and_different_audits_are_refused(results: Path, other: Path) -> None:
    """Everything that is wrong is said at once."""
    with pytest.raises(InputError, match=r"(?s)is not finished.*differ in the harness"):
        compare.read([audit_id("vae"), audit_id("broken")], [results, other])


def test_what_cannot_be_found_or_is_named_twice_is_refused(results: Path, tmp_path: Path) -> None:
    """One audit is no comparison, nor are nine; a missing file, an unknown name and the same audit twice are named."""
    vae, copy = audit_id("vae"), tmp_path / "copy.duckdb"
    shutil.copyfile(results, copy)
    for wanted, stores, said in (
        ([vae], [results], "1 audit to compare"),
        ([vae] * 9, [results], "9 audits to compare"),
        ([vae, "nothing"], [results], "no audit 'nothing'"),
        ([vae, vae], [results], "is named twice"),
        ([vae, audit_id("gan")], [tmp_path / "none.duckdb"], "there is no results file"),
        ([vae, audit_id("gan")], [results, copy], "names several audits"),
    ):
        with pytest.raises(InputError, match=said):
            compare.read(wanted, stores)


def test_half_samples_draw_the_same_real_images_for_every_generator() -> None:
    """Whatever the number of synthetic images: half-sample k of two audits of one plan shares its real side, so the two pair by k."""
    rng = np.random.default_rng(0)
    train, test = (from_features(rng.normal(size=(n, 2)), role) for n, role in ((40, "train"), (20, "test")))
    arms = [
        Arms(Comparison(train=train, test=test, synthetic=from_features(rng.normal(size=(n, 2)), "synthetic")), 6, 4, seed=3)
        for n in (60, 51)
    ]

    for first, second in zip(*(arm.halves(held=False) for arm in arms), strict=True):
        assert np.array_equal(first.features("train"), second.features("train"))
        assert np.array_equal(first.features("test"), second.features("test"))
    assert units_of(Halves(np.zeros(6), (30,) * 6, 20).method) == 20


@pytest.mark.slow
def test_two_audits_that_ran_are_compared(project: Project) -> None:
    """Half-samples are stored with what was measured, and two audits that differ in the folder of images pair by them."""
    write_phantoms(project.folder / "other", phantoms(60, seed=9, size=32, patients=60, first_patient=301))
    ids = []
    for folder in ("synthetic", "other"):
        project.write(generator={"folder": {"path": folder}}, metrics=["frechet", "memorisation"], perturbations=[], strata=["label"])
        ids.append(project.audit().run())
    path = project.folder / "results.duckdb"

    shown = compare.read(ids, [path])
    line = line_of(shown, "frechet.fid")
    found = line.contrasts[0].difference

    assert found is not None
    assert found.method.startswith("t x delete-half SD, 10 half-samples of ")
    assert found.low <= found.value <= found.high
    assert line.unranked == "not qualified: no rank"
    assert isinstance(line.effects[0], float)
    assert len(Store(path).current(ScoreRow, ids[0], stage="half", quantity="fid")) == 10
    assert line_of(shown, "frechet.fid", "label=0").contrasts[0].difference is None
    assert [word for _, words in shown.verdicts for word in words] == ["insufficient_evidence"] * 2


def test_what_tasks_did_on_synthetic_images_and_within_strata_is_not_their_result() -> None:
    """The result of a task is what it did on all real test images, whatever other rows there are of the same quantity."""
    rows = rows_of("vae", VAE, 1)
    score = next(row for row in rows if isinstance(row, ScoreRow) and row.synthetic_share == 1.0 and row.quantity == "dice")
    others = [
        score.model_copy(update={"tested_on": "synthetic", "value": 0.1}),
        score.model_copy(update={"stratum": "site=a", "value": 0.2}),
    ]
    plain, crowded = (audited("A", "vae", [*rows, *more]) for more in ([], others))
    assert {key: row.value for key, row in crowded.values.items()} == {key: row.value for key, row in plain.values.items()}
