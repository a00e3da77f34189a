"""Rows about raters who never rated anything: every analysis on five scales. All values are fabricated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from harness.content import Disputed, RatingCount
from harness.records import ConsensusRow, JudgeCallRow, ReliabilityRow

READERS = ("R1", "R2", "R3", "R4")
MODEL_NAME = "judge-a"
LABELS = ("benign", "malignant")
CLASSES = ("normal", *LABELS)
STEPS = ("1", "2", "3", "4", "5")
CONCEPTS = ("mass", "irregular margin", "posterior shadowing", "calcification")
SIZES = {"all": 41, "real": 10, "synthetic": 31, "label=benign": 20, "label=malignant": 21}
APART = "synthetic - real"
CHIEF = ("percent_agreement", "fleiss_kappa", "mean_cohen_kappa", "krippendorff_alpha", "gwet_ac1")
FEW = "4 readers and 41 cases: with fewer than 5 readers or 100 cases such a comparison says little"
SPREAD = "SD over items 0.211; 2 items with nothing to find, 1 with nothing found"
WORDS = {"percent_agreement": "", "krippendorff_alpha": "Discard (Krippendorff 2004)", "gwet_ac1": ""}
SCALES: list[dict[str, Any]] = [
    {
        "name": "class",
        "level": "nominal",
        "categories": list(CLASSES),
        "question": "What does this image show?",
        "truth": "label",
        "positive": "malignant",
        "alarm": ["malignant"],
        "gates": {
            "experts": {"krippendorff_alpha": 0.4},
            "attention": 0.7,
            "models": {"cohen_kappa": 0.2},
            "because": "below this the majority of three readers errs too often (memo M-7)",
        },
    },
    {
        "name": "confidence",
        "level": "ordinal",
        "categories": list(STEPS),
        "question": "How confident are you in the outline of the mask?",
        "truth": "label",
        "positive": "malignant",
        "shows": "mask",
    },
    {"name": "grid", "level": "nominal", "categories": ["real", "synthetic"], "truth": "origin", "shows": "grid"},
    {"name": "findings", "level": "set", "categories": list(CONCEPTS), "truth": "concepts", "question": "Which findings are there?"},
    {"name": "size", "level": "interval", "question": "How long is the lesion (mm)?"},
]  # fmt: skip


def made(*key: object) -> float:
    """A number from 0 to 1 that depends on the key alone."""
    return int(sha256("|".join(map(str, key)).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def row(scale: str, analysis: str, raters: str, items: str, statistic: str, value: float | None = None, **more: Any) -> ReliabilityRow:
    """One fabricated row with an interval; its value is made of its name where none is given."""
    n = SIZES.get(items, 41)
    value = 0.35 + 0.5 * made(scale, analysis, raters, items, statistic, more.get("category", "")) if value is None else value
    half = 1.0 / n**0.5
    given: dict[str, Any] = {
        "cell": "k8", "scale": scale, "analysis": analysis, "raters": raters, "items": items, "statistic": statistic, "value": value,
        "ci_low": value - half, "ci_high": min(value + half, 1.0), "bound_low": value - 0.8 * half, "bound_high": value + 0.8 * half,
        "ci_method": "BCa bootstrap over items, 2000 replicates", "level": 0.95, "n_items": n, "n_raters": 4, "seed": 7,
    }  # fmt: skip
    return ReliabilityRow.model_validate(given | more)


def lost(scale: str, analysis: str, raters: str, items: str, statistic: str, reason: str, **more: Any) -> ReliabilityRow:
    """One fabricated row without a value."""
    blank = dict.fromkeys(("ci_low", "ci_high", "bound_low", "bound_high", "level", "seed"))
    found = row(scale, analysis, raters, items, statistic, 0.0, **more)
    return found.model_copy(update={**blank, "value": None, "ci_method": "", "status": "undefined_no_variation", "reason": reason})


def bare(found: ReliabilityRow, why: str, note: str = "") -> ReliabilityRow:
    """The same row without an interval."""
    ends = dict.fromkeys(("ci_low", "ci_high", "bound_low", "bound_high", "level"))
    return found.model_copy(update={**ends, "ci_method": f"no interval: {why}", "note": note})


def agreement(scale: str) -> Iterator[ReliabilityRow]:
    """Agreement of experts on all items and parts, the differences, the pairs."""
    for part, n in SIZES.items():
        note = "fewer than 20 items: the interval is optimistic" if n < 20 else ""
        if part.startswith("label="):
            note = "within one class of the truth kappa and alpha lose the variation that they need: read AC1 beside them"
        for name in CHIEF:
            yield row(scale, "agreement", "experts", part, name, note=note, scale_words=WORDS.get(name, "Weak (McHugh 2012)"))
    yield lost(scale, "agreement", "experts", "size=large", "fleiss_kappa", "no variation", n_items=9)
    yield bare(row(scale, "agreement", "experts", "size=large", "percent_agreement", 1.0, n_items=9), "no disagreement was observed")
    for name in ("unanimity", "conger_kappa", "brennan_prediger"):
        yield row(scale, "agreement", "experts", "all", name)
    for name in CHIEF:
        yield row(scale, "difference", "experts", APART, name, made(name, scale) / 5 - 0.1)
    for k, first in enumerate(READERS):
        for second in READERS[k + 1 :]:
            for name in ("percent_agreement", "cohen_kappa"):
                yield row(scale, "agreement", f"{first} & {second}", "all", name, n_raters=2)


def answers(scale: str, categories: Sequence[str]) -> Iterator[ReliabilityRow]:
    """Shares of each answer by rater and part of the items, and how they differ."""
    for part in ("all", "real", "synthetic", "real, label=benign", "synthetic, label=benign"):
        for raters in ("experts", *READERS, f"llm {MODEL_NAME}"):
            for category in categories:
                share = 0.1 + 0.8 * made(scale, part, raters, category) / len(categories)
                yield row(scale, "share", raters, part, "share", share, category=category, trials=40)
    for category in categories:
        yield row(scale, "difference", "experts", APART, "share", made(scale, category) / 5, category=category)


def right(scale: str, categories: Sequence[str]) -> Iterator[ReliabilityRow]:
    """Correctness of readers, majority, consensus and model."""
    for raters in (*READERS, "majority", "consensus", f"llm {MODEL_NAME}"):
        for part in ("all", "real", "synthetic", "label=benign"):
            for name in ("accuracy", "precision", "recall", "f1", "macro_f1"):
                yield row(scale, "correctness", raters, part, name, n_raters=1, trials=41)
        for category in categories:
            for name in ("recall", "precision"):
                yield row(scale, "correctness", raters, "all", name, category=category, n_raters=1, trials=12)


def classes() -> Iterator[ReliabilityRow]:
    """Everything on a nominal scale with a truth."""
    yield from agreement("class")
    for category in CLASSES:
        yield row("class", "agreement", "experts", "all", "fleiss_kappa", category=category)
    for reader in READERS:
        yield row("class", "intra_rater", reader, "all", "percent_agreement", n_items=8, n_raters=2)
        yield row("class", "intra_rater", reader, "all", "cohen_kappa", n_items=8, n_raters=2)
    for raters in ("experts", *READERS):
        yield row("class", "attention", raters, "planted", "sensitivity", trials=6, n_items=6)
        yield row("class", "attention", raters, "real", "false_alarm_rate", trials=10, n_items=10)
    yield from right("class", CLASSES)
    yield from answers("class", CLASSES)
    test = f"U-statistics, random readers and cases; {FEW}"
    yield row("class", "mrmc", "experts", APART, "accuracy_difference", -0.108, p=0.21, note=test)


def models() -> Iterator[ReliabilityRow]:
    """A model beside experts."""
    for part in ("all", "real", "synthetic"):
        for name in ("percent_agreement", "cohen_kappa", "gwet_ac1"):
            said = "against the majority of the experts; 2 of 41 items were not answered, which counts as disagreement"
            yield row("class", "model", f"llm {MODEL_NAME}", part, name, n_raters=2, note=said, scale_words="None (McHugh 2012)")
            note = "each expert against the majority of the others: from 0.512 to 0.781 over 4 experts"
            ceiling = row("class", "model", "experts", part, f"expert_ceiling_{name}", 0.66)
            yield bare(ceiling, "a band over the experts, not an interval", note)
        yield row("class", "model", "experts", part, "base_rate", 0.5, note="what always answering benign would reach", trials=41)
    yield row(
        "class",
        "model",
        f"llm {MODEL_NAME}",
        "all",
        "self_consistency",
        n_raters=1,
        note="3 repeats of one model are no independent raters",
    )
    yield row("class", "model", f"llm {MODEL_NAME}", "all", "self_fleiss_kappa", n_raters=1)


def confidence() -> Iterator[ReliabilityRow]:
    """Everything on an ordinal scale."""
    yield from agreement("confidence")
    for name in ("mean_cohen_kappa_quadratic", "gwet_ac2_quadratic", "kendall_w"):
        yield row("confidence", "agreement", "experts", "all", name)
    yield from answers("confidence", STEPS)
    for part in ("all", "real", "synthetic"):
        for raters in ("experts", *READERS, f"llm {MODEL_NAME}"):
            value = 2 + made("mean", part, raters)
            yield row(
                "confidence", "mean", raters, part, "mean", value, ci_high=value + 0.3, note="mean of ranks, 1 for the first category"
            )
    for reader in READERS:
        for part in ("real", "synthetic"):
            yield bare(row("confidence", "mrmc", reader, part, "auc", n_raters=1), "", "empirical, ties count half")
    design = f"nested cases, unbiased covariances; {FEW}"
    for name, what in (("auc_difference", "random readers and cases"), ("auc_difference_frrc", "these readers, random cases")):
        note = f"{what}; F(1, 15.26) = 4.4563, p = 0.0517; {design}"
        yield row("confidence", "mrmc", "experts", APART, name, -0.044, p=0.0517, note=note)
    for name in ("var_reader", "var_modality_reader", "var_error", "cov2"):
        yield bare(row("confidence", "mrmc", "experts", "all", name, 0.001 * (1 + made(name))), "")


def grids() -> Iterator[ReliabilityRow]:
    """Who found the real image."""
    for raters in READERS:
        note = f"6 of 12; chance 0.250; a rate of 0.{made(raters) * 100 + 600:.0f} or more is ruled out; p: exact, of more hits than chance"
        yield row("grid", "identification", raters, "all", "hit_rate", 0.5, trials=12, n_items=12, p=0.054, note=note)
        yield lost("grid", "identification", raters, "all", "d_prime", "every trial was a hit", n_items=12)


def sets_and_numbers() -> Iterator[ReliabilityRow]:
    """A set and an interval scale."""
    for raters in ("R1", "R2", "majority", f"llm {MODEL_NAME}"):
        for part in ("all", "perturbation=insertion", "perturbation=deletion"):
            for name in ("jaccard", "hamming", "u_fp", "u_fn"):
                yield row(
                    "findings",
                    "concepts",
                    raters,
                    part,
                    name,
                    note=SPREAD,
                )
        for concept in CONCEPTS:
            for name in ("jaccard", "hamming", "u_fp", "u_fn"):
                yield row("findings", "concepts", raters, "all", name, category=concept, n_items=14)
    yield row("findings", "agreement", "experts", "all", "mean_jaccard")
    for concept in CONCEPTS:
        for name in ("percent_agreement", "fleiss_kappa", "gwet_ac1"):
            yield row("findings", "agreement", "experts", "all", name, category=concept)
    for name in ("krippendorff_alpha", "icc_1_1", "icc_a_1", "icc_c_1", "icc_a_k"):
        yield row("size", "agreement", "experts", "all", name, scale_words="Moderate (Koo & Li 2016)" if name.startswith("icc") else "")
    for raters in READERS[:2]:
        yield row("size", "mean", raters, "all", "mean", 17.2, ci_high=19.0)


def consensus() -> list[ConsensusRow]:
    """The majority and the Dawid-Skene consensus of twenty items, which differ on three."""
    found = []
    for k in range(20):
        tie = k in (3, 9)
        given: dict[str, Any] = {"cell": "k8", "scale": "class", "item": f"synthetic/{k}.png", "n_raters": 4}
        status = "tie" if tie else "plurality" if k == 5 else "majority"
        found.append(
            ConsensusRow(**given, method="majority", category=None if tie else CLASSES[k % 3], status=status, share=None if tie else 0.75)
        )
        other = CLASSES[(k + (k == 5)) % 3]
        found.append(ConsensusRow(**given, method="dawid_skene", category=other, status="ok", share=0.87))
    return found


def disputes() -> list[Disputed]:
    """The answers to the items of the consensus, of which every fourth is not the truth."""
    found = []
    for k in range(20):
        answers = tuple((reader, CLASSES[(k + j // 3) % 3]) for j, reader in enumerate(READERS))
        found.append(Disputed("class", f"synthetic/{k}.png", CLASSES[(k + (k % 4 == 0)) % 3], answers))
    return found


def calls() -> list[JudgeCallRow]:
    """Questions put to two models; one refused, one gave a reply that cannot be used."""
    return [
        JudgeCallRow(
            cell="k8", item=f"synthetic/{k % 20}.png", scale="class,findings", repeat=1, model=model, prompt="fabricated",
            prompt_sha256=f"{k % 20:064x}", reply="benign", reply_sha256=f"{k % 3:064x}", tokens=None if model != MODEL_NAME else 812,
            seconds=1.0, status={4: "refused", 7: "unusable"}.get(k, "ok"), reason="fabricated" if k in (4, 7) else "",
        )
        for model in (MODEL_NAME, "judge-b") for k in range(20)
    ]  # fmt: skip


def reliability() -> list[ReliabilityRow]:
    """Every row of the five scales."""
    return [*classes(), *models(), *confidence(), *grids(), *sets_and_numbers()]


def counts() -> list[RatingCount]:
    """How many ratings there are of each scale."""
    why = (("unusable: 'bening' is not among the declared categories", 2), ("missing: no answer was given", 1))
    return [
        RatingCount("class", "expert", 4, 41, 164, 3, why, ("R4",)),
        RatingCount("class", "llm", 1, 41, 41, 2, (("refused: the model declined", 2),)),
        RatingCount("confidence", "expert", 4, 41, 164, 0),
        RatingCount("grid", "expert", 4, 12, 48, 0),
        RatingCount("findings", "expert", 2, 41, 82, 0),
        RatingCount("size", "expert", 2, 41, 82, 0),
    ]
