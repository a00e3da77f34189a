"""Rows of an audit that never took place: what the tests of the dossier draw. All values are fabricated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from harness import png, wording
from harness.content import Content, RatingCount
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
    ReliabilityRow,
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
DEFECTS = [("gaussian_noise", "noise"), ("duplication", "memorisation"), ("mode_collapse", "mode_collapse")]
EXTRACTORS = ["pixels", "random_conv"]


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
    body = spec or spec_of(purposes, criteria)
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
        for k, (c, q, x) in enumerate(pairs):
            for d, (defect, mode) in enumerate(DEFECTS):
                qualifications.append(qualification(c, q, x, defect, mode, k + d))
                if k < 4:
                    scores += [
                        score(
                            cell="k2",
                            stage="qualify",
                            component=c,
                            quantity=q,
                            extractor=x,
                            perturbation=defect,
                            severity=s,
                            repeat=r,
                            value=0.15 + s * (k + 1) / 9 + r / 200,
                            ci_low=None,
                            ci_high=None,
                            level=None,
                            sides=None,
                        )
                        for s in (0.0, 0.25, 0.5, 1.0)
                        for r in range(5)
                    ]
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
    reliability = (
        [
            ReliabilityRow(
                cell="k8",
                scale="realism",
                subset="experts",
                statistic="krippendorff_alpha",
                value=0.61,
                ci_low=0.55,
                ci_high=0.67,
                ci_method="bootstrap by item",
                level=0.95,
                n_items=240,
                n_raters=5,
            ),
            ReliabilityRow(
                cell="k8",
                scale="realism",
                subset="llm: judge-a",
                statistic="cohen_kappa",
                value=None,
                status="not_computable",
                reason="no variation",
                n_items=240,
                n_raters=2,
            ),
        ]
        if ratings
        else []
    )
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
    counts = [RatingCount("realism", "expert", 5, 240, 1200, 3), RatingCount("realism", "llm", 1, 240, 240, 12)] if ratings else []
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
        ),
        image_sets=tuple(sets),
        planned_cells=tuple(planned),
        cells=tuple(cells),
        scores=tuple(scores),
        reliability=tuple(reliability),
        ratings=tuple(counts),
        qualifications=tuple(qualifications),
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
