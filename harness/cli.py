"""The commands. Exit codes: 0 every purpose adequate, 1 one inadequate, 2 a mistake to mend, 3 evidence missing, 4 a bug, 130 Ctrl-C."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import __version__, specfile
from .checks import Parts, assemble
from .components import KINDS, Gives, Metric, Perturbation
from .errors import HarnessError, Problem, SpecError
from .host import Host, Offer
from .neighbours import MEMORY
from .plan import STAGES
from .progress import Live
from .quantities import Rating
from .records import CellRow, CriterionRow, ImageSetRow, VerdictRow
from .run import Audit, Settings, exit_code
from .store import Store
from .table import Table

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split("\n", maxsplit=1)[0])
plugins_app = typer.Typer(no_args_is_help=False, help="What is installed.")
app.add_typer(plugins_app, name="plugins", invoke_without_command=True)

StoreOption = Annotated[Path | None, typer.Option("--store", help="Results file; default: out/results.duckdb beside model.yaml.")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder of finished cells; default: cache beside the results file.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL.YAML", help="The audit to carry out.")]
MemoryOption = Annotated[
    int | None, typer.Option("--memory", min=16, help="MiB for distances between images, in each process; default: 256.")
]
INTERRUPTED = 130
WORDS = {"adequate": "Adequate for purpose", "adequate_with_conditions": "Adequate with conditions",
         "insufficient_evidence": "Insufficient evidence", "inadequate": "Inadequate for purpose",
         "not_assessed": "Not assessed"}  # fmt: skip


class Form(StrEnum):
    """How `harness sql` prints."""

    table = "table"
    csv = "csv"
    json = "json"


class Schema(StrEnum):
    """What `harness schema` describes."""

    audit = "audit"
    ratings = "ratings"


@app.command()
def audit(
    model: Model,
    store: StoreOption = None,
    cache: CacheOption = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Local worker processes of one thread each; 0: in this process.")] = 2,
    device: Annotated[str, typer.Option(help="Where components that use torch compute: cpu or cuda.")] = "cpu",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that failed in an earlier attempt.")] = False,
    memory: MemoryOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Carry out the audit, store every result, and render the dossier. The same command resumes what was interrupted."""
    with Live(quiet) as live:
        live.update("reading", str(model), 0, 1, None)
        attempt = _attempt(model, store, cache, workers=workers, device=device, retry_failed=retry_failed, memory=memory)
        attempt.progress = live
        audit_id = attempt.run()
        live.update("render", "dossier", 1, 1, None)
        fresh = attempt.dossier.exists()
        pdf = attempt.dossier if fresh else _render(attempt.store, audit_id, attempt.dossier)
    verdicts = attempt.store.current(VerdictRow, audit_id)
    criteria = attempt.store.current(CriterionRow, audit_id)
    width = max((len(row.criterion) for row in criteria), default=0)
    for verdict in verdicts:
        print(f"{verdict.purpose}: {WORDS[verdict.verdict]}. {verdict.reason}")
        for row in criteria:
            if row.purpose == verdict.purpose:
                print(f"  {row.criterion:<{width}}  {row.status.replace('_', ' '):<15}{'! ' if row.adverse else '  '}{row.reason}")
    failed = [cell for cell in attempt.store.current(CellRow, audit_id) if cell.status == "failed"]
    for cell in failed[:5]:
        print(f"failed   {cell.stage}, {cell.component}: {cell.reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} cells failed; appendix A lists them, --retry-failed tries them again", file=sys.stderr)
    if fresh:
        print("nothing was left to compute; the dossier stands, and `harness report` draws it again with this attempt in its list")
    print(f'dossier  {pdf}\nresults  {attempt.store.path}   (harness sql "from adequacy" --store {attempt.store.path})')
    raise typer.Exit(exit_code(v.verdict for v in verdicts))


@app.command()
def plan(
    model: Model,
    store: StoreOption = None,
    cache: CacheOption = None,
    lock: Annotated[bool, typer.Option("--lock", help="Write the plan's digest to the ledger now.")] = False,
) -> None:
    """Print the cells of the audit, what they will cost roughly, and what cannot be computed; run nothing."""
    attempt = _attempt(model, store, cache)
    drawn = attempt.draw()
    done = attempt.store.done(attempt.id)
    print(f"audit      {attempt.id}\nplan       {attempt.plan_sha256}")
    print(f"generator  {attempt.parts.generator.name}, {attempt.file.spec.samples} images\n")
    print(f"{'stage':<10}{'cells':>6}{'done':>6}{'to do, about':>15}")
    for stage in STAGES:
        cells = drawn.of_stage(stage)
        left = sum(cell.seconds for cell in cells if cell.key not in done)
        print(f"{stage:<10}{len(cells):>6}{sum(c.key in done for c in cells):>6}{left:>13.0f} s")
    total = sum(cell.seconds for cell in drawn.cells.values() if cell.key not in done)
    print(f"{'':<10}{len(drawn.cells):>6}{len(done & set(drawn.cells)):>6}{total:>13.0f} s of one core\n")
    for text in _will_be_missing(attempt):
        print(text)
    if lock:
        attempt.lock()
        print("the plan is locked")


@app.command()
def report(
    audit_id: Annotated[str, typer.Argument(metavar="AUDIT", help="Audit id, or the audit's name where that is unambiguous.")],
    store: Annotated[Path, typer.Option("--store", help="Results file.")] = Path("results.duckdb"),
    out: Annotated[Path | None, typer.Option("--out", help="PDF to write; default: beside the results file.")] = None,
) -> None:
    """Render the dossier of an audit again from the results file alone; nothing is computed."""
    opened = _existing(store)
    print(_render(opened, _audit_id(opened, audit_id), out))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help='One reading statement, such as "from adequacy".')],
    store: Annotated[Path, typer.Option("--store", help="Results file.")] = Path("results.duckdb"),
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
) -> None:
    """Query the results, read-only; also while an audit runs."""
    _print(_existing(store).query(query), form)


def _print(table: Table, form: Form) -> None:
    if form is Form.table:
        sys.stdout.write(table.to_text(shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 0))
    else:
        sys.stdout.write(table.to_csv() if form is Form.csv else table.to_json())


@app.command()
def metrics(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="Real images that the generator did not see, or features of them.")],
    synthetic: Annotated[Path, typer.Argument(metavar="SYNTHETIC", help="Its images: a folder, or features (.npy, .npz).")],
    train: Annotated[Path | None, typer.Option("--train", help="The images that it learned from; without it REAL stands for them.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="A metric, or '{name: {option: value}}'; may be given again; default: the suite.")
    ] = None,
    extractor: Annotated[
        list[str] | None, typer.Option("--extractor", help="An extractor, likewise; default: pixels and random_conv.")
    ] = None,
    data: Annotated[
        str, typer.Option("--data", help="How files become images, as under `data` of model.yaml: '{patients: {pattern: P_(.+)_}}'.")
    ] = "{}",
    gives: Annotated[Gives | None, typer.Option("--gives", help="What feature files hold; default: embedding.")] = None,
    half_samples: Annotated[int, typer.Option("--half-samples", min=10, help="Resamples behind each interval.")] = 50,
    floor_splits: Annotated[int, typer.Option("--floor-splits", min=0, help="Splits behind each floor; 0: no floors.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    device: Annotated[str, typer.Option(help="Where components that use torch compute: cpu or cuda.")] = "cpu",
    memory: MemoryOption = None,
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Measure metrics on folders of images, or on feature files, without a model.yaml: values, intervals, floors; no verdict."""
    from . import quick

    asked = quick.Look(
        real=real, synthetic=synthetic, train=train, data=quick.data_options(data, specfile.flow, "--data"),
        metrics=quick.references(metric or ["default"], specfile.flow, "--metric"),
        extractors=quick.references(extractor or (), specfile.flow, "--extractor"), gives=gives,
        half_samples=half_samples, floor_splits=floor_splits, seed=seed, device=device, memory=megabytes(memory),
    )  # fmt: skip
    if train is None and not quiet:
        print("without --train the real images stand for the training images: read memorisation accordingly", file=sys.stderr)
    with Live(quiet) as live:
        table = quick.look(asked, Host.discover(), lambda title, done, total: live.update("measure", title, done, total, None))
    _print(table, form)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Entries of the manifest; without any, it is listed.")
    ] = None,
    into: Annotated[Path, typer.Option("--into", help="Folder to write to.")] = Path("weights"),
) -> None:
    """Download public weights files and check their digests; the only command that uses a network."""
    from . import fetch as weights

    if not names:
        columns = ["name", "files", "used by", "licence"]
        rows = [(e.name, ", ".join(f.file for f in e.files), e.used_by, e.licence) for e in weights.manifest()]
        _print(Table(columns, rows), Form.table)
        return
    with Live() as live:
        for entry in weights.find(names):
            for found in weights.fetch(entry, into, lambda file, done, total: live.update("fetch", file, done, total or 0, None)):
                pin = "" if found.checked else "   (nobody publishes its whole digest: compare before you pin it)"
                print(f"{found.path}{' (was there)' if found.was_there else ''}\n  sha256: {found.sha256}{pin}")


@plugins_app.callback()
def plugins(context: typer.Context) -> None:
    """List the installed components: kind, name, version, distribution, needs, options."""
    if context.invoked_subcommand is not None:
        return
    host = Host.discover()
    rows = [
        ("kind", "name", "version", "distribution", "needs", "options"),
        *(_listed(o) for kind in KINDS for o in host.of_kind(kind)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip())
    if host.refused:
        print("\nnot usable:", file=sys.stderr)
        for refusal in host.refused:
            print("\n".join(refusal.problem().lines()), file=sys.stderr)


@plugins_app.command("show")
def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS))],
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> None:
    """Explain one component: what it computes, what it promises, its options."""
    if kind not in KINDS:
        raise SpecError(Problem(f"there is no kind {kind!r}", "", f"kinds: {', '.join(KINDS)}"))
    offer = Host.discover().find(kind, name)
    component = offer.component
    print(f"{kind} {name} {offer.version}, from {offer.distribution}\n\n{_text(component.__doc__)}\n")
    print(f"needs     {', '.join(sorted(component.needs)) or 'nothing but the images'}")
    for quantity in offer.promises:
        limits = f"{'' if quantity.low is None else quantity.low:g}..{'' if quantity.high is None else quantity.high:g}" if (
            quantity.low is not None and quantity.high is not None) else ""  # fmt: skip
        print(f"promises  {name}.{quantity.name}, unit {quantity.unit}, {quantity.better} is better {limits}".rstrip())
    if issubclass(component, Metric):
        print(f"sees      {', '.join(sorted(component.sees)) or 'nothing declared'}")
        print(f"blind to  {', '.join(sorted(component.blind_to)) or 'nothing declared'}")
    if issubclass(component, Perturbation):
        print(f"plants    {component.failure_mode}; severity 1 is: {component.full_severity}")
    for option, info in component.model_fields.items():
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        print(f"option    {option}: {_type(info.annotation)}, {default}" + (f": {info.description}" if info.description else ""))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with your real and synthetic images.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a model.yaml that is there.")] = False,
) -> None:
    """Look at your folders and write a commented model.yaml that runs."""
    from .inspection import describe, write_model_yaml

    target = folder / "model.yaml"
    if target.exists() and not force:
        raise HarnessError(Problem("there is a model.yaml already", str(target), "use --force to replace it"))
    target.write_text(write_model_yaml(describe(folder)), encoding="utf-8")
    assemble(specfile.read(target), Host.discover())
    print(f"{target}\nread it, change the purpose, criteria and reasons to yours, then: harness plan {target}")


@app.command()
def schema(
    of: Annotated[
        Schema, typer.Argument(metavar="WHAT", help="audit: model.yaml with the installed components; ratings: a rating.")
    ] = Schema.audit,
) -> None:
    """Print a JSON Schema, for editors and for programs that write ratings."""
    if of is Schema.ratings:
        print(json.dumps(Rating.model_json_schema(), indent=1, sort_keys=True))
        return
    host = Host.discover()
    options = {kind: {o.name: o.component.model_json_schema() for o in host.of_kind(kind)} for kind in KINDS}
    print(json.dumps(specfile.schema(options), indent=1, sort_keys=True))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line; the one place where a `HarnessError` is caught."""
    try:
        code = app(standalone_mode=False)
    except HarnessError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(2)
        traceback.print_exc()
        sys.exit(4)
    if code == INTERRUPTED:
        print("interrupted; finished cells are kept, the same command goes on", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _attempt(model: Path, store: Path | None, cache: Path | None, *, workers: int = 0, device: str = "cpu",
             retry_failed: bool = False, memory: int | None = None) -> Audit:  # fmt: skip
    file = specfile.read(model)
    parts: Parts = assemble(file, Host.discover())
    results = store or file.base / "out" / "results.duckdb"
    results.parent.mkdir(parents=True, exist_ok=True)
    return Audit(file, parts, Settings(results, cache or results.parent / "cache", workers, device, retry_failed, megabytes(memory)))


def megabytes(memory: int | None) -> int:
    """Return the bytes of so many MiB; the default where none are given."""
    return MEMORY if memory is None else memory << 20


def _render(store: Store, audit_id: str, out: Path | None = None) -> Path:
    from .dossier import render_audit

    return render_audit(store, audit_id, out or store.path.parent / f"{audit_id}.pdf")


def _existing(path: Path) -> Store:
    if not path.is_file():
        raise HarnessError(Problem("there is no results file", str(path), "name it with --store; an audit writes out/results.duckdb"))
    return Store(path)


def _audit_id(store: Store, wanted: str) -> str:
    known = store.audits()
    if wanted in known:
        return wanted
    named = [i for i in known if i.rsplit("-", 2)[0] == wanted]
    if len(named) == 1:
        return named[0]
    hint = f"which of: {', '.join(named)}" if named else f"known: {', '.join(known) or 'none'}"
    raise HarnessError(Problem(f"no audit {wanted!r}" if not named else f"{wanted!r} names several audits", str(store.path), hint))


def _will_be_missing(attempt: Audit) -> list[str]:
    """Say what the plan already shows to be impossible."""
    spec, out = attempt.file.spec, []
    n = next((row.n for row in attempt.store.rows(ImageSetRow, attempt.id) if row.role == "train"), None)
    for real, synthetic in spec.tasks.mixes if spec.tasks else ():
        if real > 1:
            out.append(f"mix ({real:g}, {synthetic:g}): a real share above 1 needs more real images than there are")
        elif n is not None and spec.data.validation is not None and round(synthetic * n) > spec.samples:
            out.append(f"mix ({real:g}, {synthetic:g}): needs {round(synthetic * n)} synthetic images, {spec.samples} are asked for")
    tested = {p.component.failure_mode for p in attempt.parts.perturbations if isinstance(p.component, Perturbation)}
    for purpose, declared in spec.purposes.items():
        for criterion in declared.criteria:
            untested = sorted(set(criterion.failure_modes) - tested)
            is_metric = any(p.name == criterion.quantity.split(".")[0] for p in attempt.parts.metrics)
            if is_metric and untested:
                out.append(f"{purpose} {criterion.id}: no perturbation plants {', '.join(untested)}; the criterion cannot be met")
            if is_metric and not criterion.failure_modes and not criterion.qualified_by:
                out.append(f"{purpose} {criterion.id}: names no failure mode, so nothing can qualify its metric")
    return out


def _listed(offer: Offer) -> tuple[str, ...]:
    options = ", ".join(offer.component.model_fields)
    return offer.kind, offer.name, offer.version, offer.distribution, ", ".join(sorted(offer.component.needs)), options


def _text(doc: str | None) -> str:
    return inspect.cleandoc(doc or "no description")


def _type(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "").replace("pathlib.", "")


if __name__ == "__main__":
    main()
