"""Rows of an audit that never took place: what the tests of the dossier draw. All values are fabricated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

import fabricated_raters
from harness import png, wording
from harness.content import Content
from harness.records import (
    AuditRow,
    CellRow,
    ComponentRow,
    CriterionRow,
    FindingRow,
    ImageSetRow,
    LedgerRow,
    OutcomeRow,
    PictureRow,
    PlannedCellRow,
    QualificationRow,
    ResponseRow,
    ScoreRow,
    VerdictRow,
)
from harness.spec import AuditSpec, digest

START = datetime(2026, 2, 3, 8, 14, 7, tzinfo=UTC)
STATUSES = list(wording.STATUSES)
QUANTITIES = [
    ("frechet", "fid"),
    ("kernel", "kid"),
    ("manifold", "precision"),
    ("manifold", "recall"),
    ("manifold", "density"),
    ("manifold", "coverage"),
    ("memorisation", "copied_share"),
    ("memorisation", "authpct"),
]
FAMILIES = {
    "fid": "distance",
    "kid": "distance",
    "recall": "coverage",
    "coverage": "coverage",
    "copied_share": "memorisation",
    "authpct": "memorisation",
}
LOWER = ("fid", "kid", "copied_share")
DEFECTS = [("gaussian_noise", "noise"), ("duplication", "memorisation"), ("mode_collapse", "mode_collapse")]
PLANTED = [*DEFECTS, ("boundary_blur", "local_morphology"), ("sub_pixel_shift", "harmless")]
EXTRACTORS = ["pixels", "random_conv"]
DOSES = (0.25, 0.5, 1.0)
CONCERN = 0.5
NULL_MEAN, NULL_SD = 0.2, 0.02
# Null standard deviations at severity 1, by failure mode and family.
STRENGTH = {
    ("noise", "distance"): 60.0,
    ("noise", "coverage"): 12.0,
    ("noise", "other"): 9.0,
    ("noise", "downstream"): 1.5,
    ("memorisation", "distance"): -8.0,
    ("memorisation", "memorisation"): 25.0,
    ("mode_collapse", "distance"): -3.0,
    ("mode_collapse", "coverage"): 14.0,
    ("local_morphology", "distance"): 0.6,
    ("local_morphology", "downstream"): 18.0,
    ("harmless", "distance"): 1.2,
    ("harmless", "other"): 6.0,
}


def plan_digest(plan: AuditSpec) -> str:
    """The digest that the runner locks."""
    return digest({"plan": plan.plan(), "data": f"{4:064x}"})


def spec_of(purposes: int = 3, criteria: int = 4, **changes: Any) -> dict[str, Any]:
    """A plan of this many purposes and criteria."""
    names = ["augment-segmentation", "train-classifier-on-synthetic-only", "test-data"] + [f"purpose-{k}" for k in range(4, 99)]
    body: dict[str, Any] = {
        "audit": "fabricated-phantoms",
        "title": "Fabricated ultrasound phantoms",
        "seed": 20260203,
        "data": {"train": "data/train", "test": "data/test"},
        "generator": {"command": {"command": ["python", "generate.py"]}},
        "samples": 500,
        "extractors": EXTRACTORS,
        "metrics": ["frechet"],
        "perturbations": [name for name, _ in DEFECTS],
        "tasks": {"components": ["classification"], "mixes": [[1, 0], [1, 1], [0, 1]]},
        "about": {"requester": "Fabricated Imaging Ltd", "licence": "made up"},
        "purposes": {
            names[p]: {
                "context_of_use": "Adds to, never replaces, real training images of phantoms from one scanner",
                "question": "Can the images be added without harm?",
                "not_for": ["diagnosis", "standalone training"],
                "user": "Model developer",
                "influence": "low",
                "consequence": "medium",
                "criteria": [
                    {
                        "id": f"C{k + 1}",
                        "claim": f"Fabricated claim {k + 1} about real held-out patients",
                        "quantity": "frechet.fid",
                        "extractor": "pixels",
                        "at_most": 0.3,
                        "because": "smallest difference that matters (memo M-4)",
                        "n_min": 120,
                        "failure_modes": ["noise"],
                        "qualified_by": ["gaussian_noise"],
                    }
                    for k in range(criteria)
                ],
            }
            for p in range(purposes)
        },
    }
    return body | changes


def picture(gallery: str, position: int) -> PictureRow:
    """A fabricated picture."""
    rng = np.random.default_rng(position)
    pixels = (np.add.outer(np.arange(32), np.arange(32)) * 3 + rng.integers(0, 40, (32, 32))).astype(np.uint8)
    more: dict[str, Any] = {
        "partner": f"train/{position}.png",
        "partner_png": png.encode(pixels.T.copy()),
        "value": 0.31 + position / 50,
    }
    return PictureRow.model_validate(
        {
            "cell": "k1",
            "gallery": gallery,
            "position": position,
            "item": f"{gallery}/{position}.png",
            "caption": "",
            "png": png.encode(pixels),
        }
        | (more if gallery == "nearest" else {})
    )


def score(**fields: Any) -> ScoreRow:
    """A fabricated score with an interval."""
    return ScoreRow.model_validate(
        {
            "cell": "k3",
            "stage": "measure",
            "component": "frechet",
            "quantity": "fid",
            "extractor": "pixels",
            "value": 0.21,
            "ci_low": 0.18,
            "ci_high": 0.25,
            "ci_method": "half-samples, t",
            "level": 0.95,
            "sides": "two",
            "n": 500,
            "n_patients": 40,
            "better": "lower",
        }
        | fields
    )


def qualification(component: str, quantity: str, extractor: str, defect: str, mode: str, k: int) -> QualificationRow:
    """A fabricated qualification; its outcome goes through all words."""
    outcomes = ["qualified", "conditional", "not_qualified", "reversed"]
    outcome = outcomes[k % 4]
    response = {"qualified": 4.2, "conditional": 2.6, "not_qualified": 0.3, "reversed": -2.1}[outcome] + k / 40
    return QualificationRow(
        cell="k2",
        component=component,
        quantity=quantity,
        extractor=extractor,
        perturbation=defect,
        failure_mode=mode,
        n=120,
        dose_of_concern=0.5,
        dose_reason="fabricated",
        replicates=20,
        null_splits=200,
        null_low=0.1,
        null_high=0.2,
        response=response,
        trend_p=0.001,
        power=1.0,
        power_low=0.86,
        false_alarm_high=0.05,
        detected_at=0.5,
        outcome=outcome,
        reason="fabricated",
    )


Planted = tuple[list[QualificationRow], list[ResponseRow]]


def planted(
    component: str, quantity: str, extractor: str, defect: str, mode: str, family: str, doses: tuple[float, ...] = DOSES
) -> Planted:
    """A fabricated quantity under a fabricated defect: the qualification, and a response at every severity.

    `copied_share` has null splits that do not vary, so its responses have no unit.
    """
    sign, unitless = (1.0 if quantity in LOWER else -1.0), quantity == "copied_share"
    strength = STRENGTH.get((mode, family), 0.3) * (1.0 if extractor != EXTRACTORS[1] else 0.7)
    rows = []
    for severity in (0.0, *doses):
        response = strength * severity
        mean = NULL_MEAN + sign * NULL_SD * response
        rows.append(
            ResponseRow(
                cell="k2",
                component=component,
                quantity=quantity,
                extractor=extractor,
                perturbation=defect,
                failure_mode=mode,
                severity=severity,
                tested_on="planted" if family == "downstream" else "",
                n=120,
                replicates=20,
                mean=mean,
                low=mean - NULL_SD,
                high=mean + NULL_SD,
                response=None if unitless else response,
                detected=1.0 if response > 3 else 0.1,
                better="lower" if sign > 0 else "higher",
            )
        )
    at = strength * CONCERN
    outcome = "reversed" if at < -1 else "not_qualified" if at < 2.6 else "conditional" if family == "other" else "qualified"
    row = qualification(component, quantity, extractor, defect, mode, 0)
    more = {
        "outcome": None if mode == "harmless" else outcome,
        "response": None if unitless else at,
        "null_low": NULL_MEAN - 2.6 * NULL_SD,
        "null_high": NULL_MEAN + 2.6 * NULL_SD,
        "fault_seeds": 2,
        "stability": 0.9,
        "harmless": "" if mode == "harmless" else "sub_pixel_shift",
        "harmless_response": None if mode == "harmless" or unitless else STRENGTH.get(("harmless", family), 0.3) * CONCERN,
        "reason": "negative control" if mode == "harmless" else "fabricated",
    }
    return [row.model_copy(update=more)], rows


def untestable(component: str, quantity: str, extractor: str, defect: str, mode: str) -> QualificationRow:
    """A pair that could not be tested, with its reason."""
    row = qualification(component, quantity, extractor, defect, mode, 0)
    blank = dict.fromkeys(
        ("n", "replicates", "null_splits", "null_low", "null_high", "response", "trend_p", "power", "power_low", "false_alarm_high")
    )
    return row.model_copy(update={**blank, "outcome": None, "reason": "not tested: needs masks, and these images have none"})


def nulls(component: str, quantity: str, extractor: str, splits: int = 200) -> list[ScoreRow]:
    """Fabricated null splits; two of those that do not set the band lie outside it."""
    outside = {splits - 2, splits - 1}
    return [
        score(
            cell="k2",
            stage="null",
            component=component,
            quantity=quantity,
            extractor=extractor,
            severity=0.0,
            n=120,
            repeat=k,
            value=NULL_MEAN + NULL_SD * (4.0 if k in outside else (k % 5 - 2) / 2),
            ci_low=None,
            ci_high=None,
            level=None,
            sides=None,
        )
        for k in range(splits)
    ]


def promising(kind: str, name: str, quantities: list[str], **promises: Any) -> ComponentRow:
    """A fabricated component with the quantities that it promises."""
    offers = [{"name": q, "family": FAMILIES.get(q, "other")} for q in quantities]
    return ComponentRow(
        kind=kind, name=name, options={}, distribution="audit-harness", version="1", promises={"quantities": offers} | promises
    )


def stratified(content: Content) -> Content:
    """The same audit with a criterion that every site must meet, and one whose quantity was measured by label."""
    first = content.criteria[0]
    parts = [
        first.model_copy(update={"criterion": f"C1[site={site}]", "value": v, "ci_low": v - w, "ci_high": v + w, "n": n, "status": status})
        for site, v, w, n, status in [
            ("a", 0.21, 0.05, 140, "met"),
            ("b", 0.34, 0.03, 130, "not_met"),
            ("c", 0.28, 0.09, 42, "inconclusive"),
        ]
    ]
    lost = {"criterion": "C1[site=d]", "value": None, "ci_low": None, "ci_high": None, "n": None, "status": "missing"}
    parts.append(first.model_copy(update=lost | {"reason": "needs 50 images, got 12"}))
    bounds = {"judged_value": 0.21, "bound_low": 0.19, "bound_high": 0.24, "judged_n": 200}
    scores = [
        s.model_copy(update=bounds)
        if (s.component, s.extractor, s.stage, s.repeat) == ("frechet", "pixels", "measure", None) else s for s in content.scores
    ]  # fmt: skip
    scores += [score(stratum=f"label={k}", n=100 + k, **{**bounds, "judged_value": 0.2 + k / 50}) for k in range(2)]
    return replace(content, criteria=(*content.criteria, *parts), scores=tuple(scores))


def criterion(purpose: str, k: int, status: str, **fields: Any) -> CriterionRow:
    """A fabricated criterion."""
    low, high = {"met": (0.18, 0.25), "not_met": (0.41, 0.55)}.get(status, (0.24, 0.36))
    known = status != "missing"
    return CriterionRow.model_validate(
        {
            "cell": "k9",
            "purpose": purpose,
            "criterion": f"C{k + 1}",
            "claim": f"Fabricated claim {k + 1} about real held-out patients",
            "role": "supportive" if k % 4 == 3 else "critical",
            "kind": f"E{k % 4 + 1}",
            "quantity": "frechet.fid",
            "extractor": "pixels",
            "rule": "frechet.fid is at most 0.3",
            "value": (low + high) / 2 if known else None,
            "ci_low": low if known else None,
            "ci_high": high if known else None,
            "threshold": "at most 0.3",
            "threshold_high": 0.3,
            "because": "memo M-4",
            "n": 60 if status == "insufficient_n" else 312,
            "n_min": 120,
            "unit": "patient",
            "status": status,
            "adverse": status == "unqualified",
            "reason": "needs 50 images, got 12" if not known else "the upper bound is 0.25",
        }
        | fields
    )


def content_of(
    purposes: int = 3, criteria: int = 4, metrics: bool = True, ratings: bool = True, spec: dict[str, Any] | None = None
) -> Content:
    """Fabricated rows of one audit."""
    body = dict(spec or spec_of(purposes, criteria))
    if ratings:
        body.setdefault("ratings", {"scales": fabricated_raters.SCALES})
    plan = AuditSpec.model_validate(body)
    names = list(plan.purposes)
    sha = {k: f"{k:064x}" for k in range(8)}
    rows = [criterion(name, k, STATUSES[(k + 2 * p) % 8]) for p, name in enumerate(names) for k in range(criteria)]
    words = ["adequate_with_conditions", "inadequate", "insufficient_evidence", "adequate", "not_assessed"]
    verdicts = [
        VerdictRow.model_validate(
            {
                "cell": "k9",
                "purpose": name,
                "context_of_use": plan.purposes[name].context_of_use,
                "verdict": words[p % 5],
                "conditions": ["Run-to-run variation not covered: one sampling run."] if p % 5 == 0 else [],
                "rules": ["Critical claim of C1: adequate (C1 met).", "Rule R1 holds.", "Rule R8 holds."],
                "reason": "4 critical claims are supported, under 1 condition.",
            }
        )
        for p, name in enumerate(names)
    ]
    scores: list[ScoreRow] = []
    qualifications: list[QualificationRow] = []
    responses: list[ResponseRow] = []
    if metrics:
        pairs = [(c, q, x) for x in EXTRACTORS for c, q in QUANTITIES]
        scores += [
            score(component=c, quantity=q, extractor=x, floor=0.15, floor_low=0.12, floor_high=0.18, n_floor=200, value_at_floor_n=0.22)
            for c, q, x in pairs
        ]
        scores.append(
            score(
                component="vendi",
                quantity="effective_modes",
                value=None,
                ci_low=None,
                ci_high=None,
                n=None,
                level=None,
                sides=None,
                status="not_computable",
                reason="SSL certificate problem, 5 < 10",
            )
        )
        for defect, mode in PLANTED:
            tasks = [("classification", "accuracy", "", "downstream")] if mode in ("noise", "local_morphology", "harmless") else []
            for c, q, x, family in [*((c, q, x, FAMILIES.get(q, "other")) for c, q, x in pairs), *tasks]:
                found = planted(c, q, x, defect, mode, family)
                qualifications += found[0]
                responses += found[1]
            qualifications.append(untestable("mask_alignment", "alignment", "", defect, mode))
        scores += nulls("frechet", "fid", "pixels")
        scores += [
            score(cell="k2", stage="qualify", perturbation=defect, severity=s, repeat=r, value=0.15 + s / 9 + r / 200, ci_low=None,
                  ci_high=None, level=None, sides=None)
            for defect, _ in DEFECTS for s in (0.0, *DOSES) for r in range(5)
        ]  # fmt: skip
        for mix in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0)):
            where = {
                "stage": "evaluate",
                "component": "classification",
                "extractor": "",
                "tested_on": "real",
                "better": "higher",
                "real_share": mix[0],
                "synthetic_share": mix[1],
            }
            scores.append(score(quantity="accuracy", value=0.8 + mix[0] / 20, ci_low=0.75, ci_high=0.9, **where))
            if mix != (1.0, 0.0):
                scores.append(score(quantity="accuracy_gain", value=0.02 - mix[1] / 9 * (1 - mix[0]), ci_low=-0.13, ci_high=0.06, **where))
    sets = [
        ImageSetRow(
            cell="k1",
            role=role,
            n=n,
            channels=1,
            size_px=[64, 64],
            spacing_mm=[0.5, 0.5],
            patients=patients,
            labels={"benign": n // 2, "malignant": n - n // 2},
            has_masks=True,
            preprocessing={"window": [0, 255], "resize": "refuse"},
            sha256=sha[k],
        )
        for k, (role, n, patients) in enumerate([("train", 400, 40), ("test", 312, 2), ("synthetic", 500, None)])
    ]
    stages = ["sample", "extract", "qualify", "measure", "evaluate", "judge"]
    planned = [PlannedCellRow(run=1, key=f"k{k}", stage=stages[k % 6], component=f"part{k}", title=f"cell {k}") for k in range(1, 19)]
    cells = [
        CellRow(
            key=p.key,
            stage=p.stage,
            component=p.component,
            status="failed" if k == 7 else "ok",
            seconds=1.0 + k,
            peak_mb=90,
            reason="ValueError: certificate of the server is not trusted" if k == 7 else "",
        )
        for k, p in enumerate(planned[:-1])
    ]
    galleries = [("real", 24), ("synthetic", 24), ("nearest", 8)] if metrics else []
    return Content(
        audit_id="fabricated-phantoms-0a1b2c3d-4e5f6071",
        audit=AuditRow(
            name="fabricated-phantoms",
            started_at=START,
            seed=20260203,
            spec=body,
            spec_sha256=sha[5],
            plan_sha256=plan_digest(plan),
            data_sha256=sha[4],
            generator_sha256=sha[6],
            harness_version="0.1.0",
            environment={"python": "3.11.7", "packages": {"numpy": "2.4.6"}},
        ),
        outcomes=(OutcomeRow(attempt=1, finished_at=START + timedelta(hours=1)),),
        components=(
            ComponentRow(
                kind="generator",
                name="command",
                options={"command": ["python", "generate.py"]},
                distribution="audit-harness",
                version="1",
                description="Runs a command that leaves images in a folder.",
            ),
            *(
                ComponentRow(
                    kind="perturbation",
                    name=d,
                    options={"doses": [0.25, 0.5, 1.0], "dose_of_concern": 0.5, "because": "memo M-5"},
                    distribution="audit-harness",
                    version="1",
                    promises={"failure_mode": m},
                )
                for d, m in DEFECTS
            ),
            *(promising("metric", c, [q for other, q in QUANTITIES if other == c]) for c in dict.fromkeys(c for c, _ in QUANTITIES)),
            promising("metric", "mask_alignment", ["alignment"], needs=["masks"]),
            promising("task", "classification", ["accuracy"]),
        ),
        image_sets=tuple(sets),
        planned_cells=tuple(planned),
        cells=tuple(cells),
        scores=tuple(scores),
        reliability=tuple(fabricated_raters.reliability()) if ratings else (),
        consensus=tuple(fabricated_raters.consensus()) if ratings else (),
        disputes=tuple(fabricated_raters.disputes()) if ratings else (),
        judge_calls=tuple(fabricated_raters.calls()) if ratings else (),
        ratings=tuple(fabricated_raters.counts()) if ratings else (),
        qualifications=tuple(qualifications),
        responses=tuple(responses),
        criteria=tuple(rows),
        verdicts=tuple(verdicts),
        findings=(
            FindingRow(
                cell="k6",
                severity="adverse",
                kind="identical_to_training",
                text="3 of 500 synthetic images are identical to a training image.",
            ),
            FindingRow(
                cell="k6", severity="note", kind="outside_window", text="Train images: 12 pixels lay outside the window.", evidence="12"
            ),
            FindingRow(cell="k9", severity="note", kind="deviation", text="Minor deviation: n_min was tightened.", evidence=names[0]),
        ),
        ledger=tuple(
            LedgerRow(
                attempt=1,
                event=e,
                at=START + timedelta(minutes=k),
                plan_sha256=plan_digest(plan),
                previous_sha256=sha[k] if k else "",
                sha256=sha[k + 1],
            )
            for k, e in enumerate(["plan_locked", "started"])
        ),
        pictures=tuple(picture(g, k) for g, n in galleries for k in range(n)),
    )
