"""`harness compare`: several finished audits of one plan side by side, as a table, as CSV or JSON, and as a PDF chapter."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import dossier
from .content import Attached, Content, collect, document_digest, sha256
from .contrasts import GAIN, Audited, Contrast, Downstream, Line, downstream, lines, statement
from .errors import InputError, Problem, raise_if
from .records import AuditRow, CaseScoreRow, ScoreRow
from .run import changes
from .statistics.paired import simultaneous_level
from .store import Store
from .table import Table
from .wording import STATUSES, VERDICTS, check, counted, estimate, listed, minus, number, words

LETTERS = "ABCDEFGH"
COLUMNS = 9
RULES = (
    "A > B: A is shown to be better than B. A ~ B: they are not told apart. Intervals of differences hold together within a quantity "
    "(Bonferroni); nothing is adjusted across quantities. Values are those of all images; a verdict may judge at fewer, as many as a "
    "floor has."
)


@dataclass(frozen=True)
class SideBySide:
    """Several audits of one plan with everything that is said of them together."""

    audits: tuple[Audited, ...]

    @cached_property
    def letters(self) -> list[str]:
        """What the audits are called."""
        return [audit.letter for audit in self.audits]

    @property
    def first(self) -> Content:
        """The first audit: plan and real images are the same in all."""
        return self.audits[0].content

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return len(self.audits) * (len(self.audits) - 1) // 2

    @cached_property
    def lines(self) -> list[Line]:
        """Every quantity in all audits."""
        return lines(self.audits)

    @cached_property
    def downstream(self) -> list[Downstream]:
        """What tasks tell apart, against what upstream quantities say."""
        return downstream(self.lines)

    @property
    def statement(self) -> str:
        """Where upstream and downstream disagree, in words."""
        return statement(self.lines, self.downstream)

    @property
    def multiplicity(self) -> str:
        """At which level an interval stands, and what that does and does not allow for."""
        level = f"{number(100 * simultaneous_level(self.pairs), 1 if self.pairs > 1 else 0)} %"
        return (
            f"{counted(len(self.audits), 'generator')} make {counted(self.pairs, 'pair')} of each quantity. Each interval of a difference "
            f"has the level {level} (Bonferroni): those of one quantity hold together with 95 %, and nothing is adjusted across quantities."
        )

    @property
    def best_of(self) -> str:
        """What a verdict does not allow for when the best of several generators is picked by it."""
        n = len(self.audits)
        return (
            f"Each verdict is about its own generator, every criterion at one-sided 5 %. Who picks one of the {n} because of its verdict "
            f"has {n} chances of an error: over the generators the bounds would have to hold at one-sided {number(5 / n, 2)} % (the first "
            "step of Holm), which was not evaluated here."
        )

    @cached_property
    def verdicts(self) -> list[tuple[str, list[str]]]:
        """The verdict of each purpose in each audit."""
        found = [{row.purpose: row.verdict for row in audit.content.verdicts} for audit in self.audits]
        return [(purpose, [mine.get(purpose, "not_assessed") for mine in found]) for purpose in self.first.spec.purposes]

    @cached_property
    def criteria(self) -> list[tuple[str, str, str, list[tuple[str, bool]]]]:
        """Purpose, id and threshold of each criterion, with its status in each audit and whether its value is adverse."""
        found = [{(row.purpose, row.criterion): row for row in audit.content.criteria} for audit in self.audits]
        keys = list(dict.fromkeys(key for mine in found for key in mine))
        keys.sort(key=lambda key: list(self.first.spec.purposes).index(key[0]))
        rows = []
        for key in keys:
            known = next(mine[key] for mine in found if key in mine)
            states: list[tuple[str, bool]] = [
                (mine[key].status, mine[key].adverse) if key in mine else ("missing", False) for mine in found
            ]
            rows.append((key[0], key[1], f"{known.quantity} {known.threshold}", states))
        return rows

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data: what compare.json and `--format json` hold."""
        plan = self.first.audit
        return {
            "plan_sha256": plan.plan_sha256,
            "data_sha256": plan.data_sha256,
            "level": simultaneous_level(self.pairs),
            "multiplicity": self.multiplicity,
            "best_of": self.best_of,
            "statement": self.statement,
            "audits": [_about(audit) for audit in self.audits],
            "verdicts": [{"purpose": name, "verdicts": dict(zip(self.letters, found, strict=True))} for name, found in self.verdicts],
            "criteria": [
                {"purpose": p, "criterion": c, "rule": rule, "statuses": {k: s for k, (s, _) in zip(self.letters, states, strict=True)},
                 "adverse": [k for k, (_, adverse) in zip(self.letters, states, strict=True) if adverse]}
                for p, c, rule, states in self.criteria
            ],
            "quantities": [self._fact(line) for line in self.lines],
            "downstream": [
                {"task": d.line.called, "better": d.contrast.better, "worse": d.worse, **_of(d.contrast),
                 "agree": [line.called for line in d.agree], "contradict": [line.called for line in d.contradict], "cannot_tell": d.silent}
                for d in self.downstream
            ],
        }  # fmt: skip

    def _fact(self, line: Line) -> dict[str, Any]:
        fixed = {k: getattr(line, k) for k in ("kind", "name", "extractor", "stratum", "region", "mix", "order", "unranked")}
        shown = ("value", "ci_low", "ci_high", "ci_method", "n", "floor", "floor_low", "floor_high", "value_at_floor_n", "status", "reason")
        each = zip(self.letters, line.values, line.ranks, strict=True)
        values = {k: {name: getattr(row, name) for name in shown} | {"ranks": ranks} for k, row, ranks in each if row is not None}
        effects = dict(zip(self.letters, line.effects, strict=False))
        return fixed | {
            "unit": line.row.unit, "better": line.row.better, "values": values, "from_real_against_real": effects,
            "differences": [_of(contrast) | {"better": contrast.better} for contrast in line.contrasts],
        }  # fmt: skip


def read(wanted: Sequence[str], stores: Sequence[Path]) -> SideBySide:
    """Return the audits of these ids or names, which lie in these results files; InputError where they cannot be held together.

    A name alone stands for all the audits that bear it.
    """
    missing = [Problem("there is no results file", str(path), "name it with --store") for path in stores if not path.is_file()]
    raise_if(missing, InputError)
    opened = [Store(path) for path in stores]
    known = [(audit_id, store) for store in opened for audit_id in store.audits()]
    named = [place for place in known if len(wanted) == 1 and place[0].rsplit("-", 2)[0] == wanted[0]]
    found = named if len(named) > 1 else [_find(name, known) for name in wanted]
    if not 2 <= len(found) <= len(LETTERS):
        raise InputError(Problem(f"{counted(len(found), 'audit')} to compare", fix=f"name 2 to {len(LETTERS)} audits of one plan"))
    twice = sorted({audit_id for audit_id, _ in found if [i for i, _ in found].count(audit_id) > 1})
    raise_if([Problem(f"{audit_id} is named twice", fix="name different audits") for audit_id in twice], InputError)
    audits = tuple(
        Audited(letter, collect(store, audit_id), tuple(store.current(CaseScoreRow, audit_id)))
        for letter, (audit_id, store) in zip(LETTERS, found, strict=False)
    )
    raise_if([*unfinished(audits), *different(audits)], InputError)
    return SideBySide(audits)


def unfinished(audits: Sequence[Audited]) -> list[Problem]:
    """Say which audits have not run to their end."""
    problems = []
    for content in (audit.content for audit in audits):
        last = max((row.attempt for row in content.ledger), default=0)
        ended = [row for row in content.outcomes if row.attempt == last]
        pending = {row.key for row in content.planned_cells} - {row.key for row in content.cells}
        why = "" if ended else f"attempt {last} has not ended" if last else "it was not started"
        why = why or next((f"attempt {last} ended with: {row.error}" for row in ended if row.error), "")
        why = why or (f"{counted(len(pending), 'cell')} of its plan did not run" if pending else "")
        if content.spec.generator is None:
            problems.append(Problem(f"{content.audit_id} has no generator", fix="compare audits of generators"))
        elif why:
            problems.append(Problem(f"{content.audit_id} is not finished: {why}", fix="run `harness audit` again, then compare"))
    return problems


def different(audits: Sequence[Audited]) -> list[Problem]:
    """Say what keeps audits from being compared: another plan, other real images, other components, another harness."""
    first, problems = audits[0].content, []
    for content in (audit.content for audit in audits[1:]):
        a, b = first.audit, content.audit
        places = []
        if a.plan_sha256 != b.plan_sha256:
            places += [f"`{place}` of model.yaml" for place in _places(a, b)]
            places += ["the files of the real images"] if a.data_sha256 != b.data_sha256 else []
            places = places or ["the plan"]
        ours, theirs = _identities(first), _identities(content)
        places += [
            f"version, options or files of {name}" for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)
        ]
        arms = [role for role in ("train", "test") if _digest(first, role) != _digest(content, role)]
        if arms and a.data_sha256 == b.data_sha256:
            places.append(f"the {listed(arms)} images: an audit that trains its generator first sets validation images aside, another "
                          "does not; name `data.validation`")  # fmt: skip
        if a.harness_version != b.harness_version:
            places.append(f"the harness ({a.harness_version}, {b.harness_version})")
        if places:
            what = f"{first.audit_id} and {content.audit_id} differ in {listed(places[:6])}"
            more = f" and {len(places) - 6} more places" if len(places) > 6 else ""
            problems.append(Problem(what + more, fix="only audits that differ in nothing but the generator can be compared"))
    return problems


def side_by_side(shown: SideBySide) -> Table:
    """Return one row a quantity: its value in each audit, the order, and the ranks that it allows."""
    columns = ["quantity", "about", *shown.letters, "order", "rank", "why no rank"]
    rows = []
    for line in shown.lines:
        cells = [_cell(row) for row in line.values]
        why = line.unranked or next((c.reason for c in line.contrasts if not line.order and c.reason), "")
        rows.append((line.name, line.where, *cells, line.order, "" if why else ranks(line, shown.letters), why))
    return Table(columns, rows)


def by_pair(shown: SideBySide) -> Table:
    """Return one row a quantity and pair: both values, their difference with its interval, and why there is none."""
    columns = ["quantity", "extractor", "stratum", "region", "real_share", "synthetic_share", "first", "second", "first_value",
               "second_value", "difference", "low", "high", "level", "method", "better", "reason", "unranked"]  # fmt: skip
    rows = []
    ids = {audit.letter: audit.content.audit_id for audit in shown.audits}
    for line in shown.lines:
        values = {k: None if row is None else row.value for k, row in zip(shown.letters, line.values, strict=True)}
        for c in line.contrasts:
            found = [getattr(c.difference, name, None) for name in ("value", "low", "high", "level", "method")]
            better = ids.get(c.better, "")
            rows.append((line.name, line.extractor, line.stratum, line.region, *(line.mix or (None, None)), ids[c.first], ids[c.second],
                         values[c.first], values[c.second], *found, better, c.reason, line.unranked))  # fmt: skip
    return Table(columns, rows)


def ranks(line: Line, letters: Sequence[str]) -> str:
    """Print the ranks that each audit may have, as in A 1, B 2-3, C 2-3; none where no interval separates."""
    known = [(k, found) for k, found in zip(letters, line.ranks, strict=True) if found]
    if known and not any(contrast.better for contrast in line.contrasts):
        return "no two are told apart"
    return ", ".join(f"{k} {low}" if low == high else f"{k} {low}-{high}" for k, (low, high) in known)


def as_text(shown: SideBySide, form: str, width: int = 0) -> str:
    """Return the comparison as it is printed: a table of `width` characters (0: any), csv (one row a pair), or json (everything)."""
    if form == "json":
        return json.dumps(shown.facts(), indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        return by_pair(shown).to_csv()
    heads = [f"{audit.letter}  {audit.content.audit_id}  {_generator(audit.content)}" for audit in shown.audits]
    verdicts = Table(["purpose", *shown.letters], [(name, *(VERDICTS[word] for word in found)) for name, found in shown.verdicts])
    criteria = Table(
        ["purpose", "criterion", "rule", *shown.letters],
        [(p, c, rule, *(STATUSES[s] + (" (adverse)" if bad else "") for s, bad in states)) for p, c, rule, states in shown.criteria],
    )
    parts = ["\n".join(heads) + "\n", verdicts.to_text(width), criteria.to_text(width) if shown.criteria else ""]
    parts += [side_by_side(shown).to_text(width), f"{RULES}\n{shown.multiplicity}\n{shown.best_of}\n{shown.statement}\n"]
    return "\n".join(part for part in parts if part)


def html(shown: SideBySide) -> str:
    """Return the page that becomes the PDF chapter."""
    return dossier.draw("compare.html.j2", _context(shown, _attached(shown)), shown.first.spec, _quoted(shown))


def render(shown: SideBySide, out: Path) -> Path:
    """Write the PDF chapter with compare.json inside; the same audits give the same bytes."""
    moment = max(audit.content.issued for audit in shown.audits)
    return dossier.write_pdf(html(shown), _attached(shown), moment, out)


def _find(wanted: str, known: Sequence[tuple[str, Store]]) -> tuple[str, Store]:
    """Return the one audit that this id, end of an id, or name stands for."""
    places = [(i, s) for i, s in known if i == wanted] or [
        (i, s) for i, s in known if wanted in (i.rsplit("-", 2)[0], i.rsplit("-", 1)[-1])
    ]
    if len(places) == 1:
        return places[0]
    if not places:
        raise InputError(Problem(f"no audit {wanted!r}", fix=f"known: {', '.join(i for i, _ in known) or 'none'}"))
    several = ", ".join(f"{i} in {s.path}" for i, s in places)
    raise InputError(Problem(f"{wanted!r} names several audits", fix=f"which of: {several}"))


def _places(a: AuditRow, b: AuditRow) -> list[str]:
    ours, theirs = ({k: v for k, v in row.spec.items() if k not in ("title", "about", "generator")} for row in (a, b))
    return changes(ours, theirs) + (["purposes"] if ours.get("purposes") != theirs.get("purposes") else [])


def _digest(content: Content, role: str) -> str:
    return next((row.sha256 for row in content.image_sets if row.role == role), "")


def _identities(content: Content) -> dict[str, str]:
    """Return the digest of each component but the generator, by kind and name; the latest where one was written again."""
    return {f"{row.kind} {row.name}": row.identity_sha256 for row in content.components if row.kind != "generator"}


def _about(audit: Audited) -> dict[str, Any]:
    row, images = audit.content.audit, [s for s in audit.content.image_sets if s.role == "synthetic"]
    return {
        "letter": audit.letter,
        "audit_id": audit.content.audit_id,
        "generator": _generator(audit.content),
        "generator_sha256": row.generator_sha256,
        "synthetic_images": sum(s.n for s in images),
        "finished_at": audit.content.issued.isoformat(),
        "harness_version": row.harness_version,
    }


def _generator(content: Content) -> str:
    """Return the generator with the options that tell it from others, as in folder(path: images/vae)."""
    chosen = content.spec.generator
    if chosen is None:
        return "no generator"
    given = ", ".join(f"{k}: {v}" for k, v in sorted(chosen.options.items()))
    return f"{chosen.name}({given})" if given else chosen.name


def _of(contrast: Contrast) -> dict[str, Any]:
    found: dict[str, Any] = {"first": contrast.first, "second": contrast.second, "reason": contrast.reason}
    return found | {"difference": None if contrast.difference is None else asdict(contrast.difference)}


def _cell(row: ScoreRow | None) -> str:
    if row is None or row.value is None:
        return "no value"
    return estimate(row.value, row.ci_low, row.ci_high, row.unit)


def _attached(shown: SideBySide) -> dict[str, Attached]:
    body = json.dumps(shown.facts(), sort_keys=True, indent=1, ensure_ascii=False).encode()
    return {"compare.json": Attached(body, "Data", "All values, differences, orders and ranks of this comparison")}


def _context(shown: SideBySide, attached: dict[str, Attached]) -> dict[str, Any]:
    upstream = [line for line in shown.lines if line.kind == "upstream"]
    whole = [line for line in upstream if not line.stratum]
    return {
        "s": shown,
        "spec": shown.first.spec,
        "issued": max(audit.content.issued for audit in shown.audits),
        "about": {audit.letter: _about(audit) for audit in shown.audits},
        "whole": whole,
        "strata": [line for line in upstream if line.stratum],
        "tasks": [line for line in shown.lines if line.kind == "task"],
        "gain": GAIN,
        "maps": heat_maps(whole, len(shown.audits)),
        "methods": methods(shown.lines),
        "ranks": lambda line: ranks(line, shown.letters),
        "document": document_digest(attached),
        "digest": sha256(attached["compare.json"].body),
    }


def methods(found: Sequence[Line]) -> list[tuple[str, int]]:
    """Count how the intervals of differences came about, counts of images left out; the most frequent first."""
    used = (contrast.difference.method for line in found for contrast in line.contrasts if contrast.difference)
    count = Counter(re.sub(r"^Newcombe, .*", "Newcombe's hybrid score interval of two independent shares", method) for method in used)
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))


def heat_maps(whole: Sequence[Line], generators: int) -> list[tuple[list[str], list[tuple[str, list[Line | None]]]]]:
    """Arrange upstream quantities for the heat map: as many extractors beside one another as fit, one row a quantity."""
    extractors, per = list(dict.fromkeys(line.extractor for line in whole)), max(1, COLUMNS // generators)
    found = {(line.name, line.extractor): line for line in whole}
    maps = []
    named = [x for x in extractors if x]
    for part in [*([""] if "" in extractors else []), *range(0, len(named), per)]:
        chosen = [""] if isinstance(part, str) else named[part : part + per]
        names = dict.fromkeys(line.name for line in whole if line.extractor in chosen)
        maps.append((chosen, [(name, [found.get((name, x)) for x in chosen]) for name in names]))
    return maps


def _quoted(shown: SideBySide) -> set[str]:
    """Return what components said and how things are called: a message or a name may hold any word."""
    rows = [row for line in shown.lines for row in line.values if row is not None]
    said = {row.reason for row in rows} | {row.ci_method for row in rows} | {c.reason for line in shown.lines for c in line.contrasts}
    called = {name for line in shown.lines for name in (line.called, line.name, line.where, line.extractor, line.stratum)}
    called |= {_generator(audit.content) for audit in shown.audits} | {words(name) for name in shown.first.spec.purposes}
    return {minus(text) for text in said} | {name for name in called if check(name)}
