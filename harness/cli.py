"""The commands. Exit codes: 0 every purpose adequate, 1 one inadequate, 2 a mistake to mend, 3 evidence missing, 4 a bug, 130 Ctrl-C."""

from __future__ import annotations

import json
import shutil
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import __version__, cli_raters, specfile, start
from .checks import assemble
from .components import KINDS, Gives, Modality
from .device import AUTO, usable
from .errors import HarnessError, Problem, SpecError
from .host import Host
from .progress import Live
from .quantities import Rating
from .records import CellRow, CriterionRow, FindingRow, QualificationRow, VerdictRow
from .run import exit_code
from .table import Table
from .wording import at_mix

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split("\n", maxsplit=1)[0])
plugins_app = typer.Typer(no_args_is_help=False, help="What is installed.")
app.add_typer(plugins_app, name="plugins", invoke_without_command=True)
app.add_typer(cli_raters.study_app, name="study")
app.command()(cli_raters.ratings)
app.command()(cli_raters.prompts)

StoreOption = Annotated[Path | None, typer.Option("--store", help="Results file; default: out/results.duckdb beside model.yaml.")]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder of finished cells; default: cache beside the results file.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL.YAML", help="The audit to carry out.")]
MemoryOption = Annotated[
    int | None, typer.Option("--memory", min=16, help="MiB for distances between images, in each process; default: 256.")
]
DeviceOption = Annotated[str, typer.Option(help="Where components that use torch compute: auto, cpu, cuda, or cuda:N.")]
INTERRUPTED = 130
WORDS = {"adequate": "Adequate for purpose", "adequate_with_conditions": "Adequate with conditions",
         "insufficient_evidence": "Insufficient evidence", "inadequate": "Inadequate for purpose",
         "not_assessed": "Not assessed"}  # fmt: skip


class Form(StrEnum):
    """How `harness sql` prints."""

    table = "table"
    csv = "csv"
    json = "json"
    jsonl = "jsonl"


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
    device: DeviceOption = AUTO,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try cells again that failed in an earlier attempt.")] = False,
    memory: MemoryOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Carry out the audit, store every result, and render the dossier. The same command resumes what was interrupted."""
    with Live(quiet) as live:
        live.update("reading", str(model), 0, 1, None)
        attempt = start.attempt(model, store, cache, workers=workers, device=device, retry_failed=retry_failed, memory=memory)
        attempt.progress = live
        audit_id = attempt.run()
        live.update("render", "dossier", 1, 1, None)
        fresh = attempt.dossier.exists()
        pdf = attempt.dossier if fresh else start.render(attempt.store, audit_id, attempt.dossier)
    verdicts = attempt.store.current(VerdictRow, audit_id)
    criteria = attempt.store.current(CriterionRow, audit_id)
    width = max((len(row.criterion) for row in criteria), default=0)
    for verdict in verdicts:
        print(f"{verdict.purpose}: {WORDS[verdict.verdict]}. {verdict.reason}")
        for row in (row for row in criteria if row.purpose == verdict.purpose):
            mark, mix = "! " if row.adverse else "  ", at_mix(row.real_share, row.synthetic_share, ", ")
            print(f"  {row.criterion:<{width}}  {row.status.replace('_', ' '):<15}{mark}{row.reason}{mix}")
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
    device: DeviceOption = AUTO,
    lock: Annotated[bool, typer.Option("--lock", help="Write the plan's digest to the ledger now.")] = False,
) -> None:
    """Print the cells of the audit and their rough cost, the battery, how many images it needs, what cannot work; run nothing."""
    attempt = start.attempt(model, store, cache, device=device)
    from .planning import lines

    print("\n".join(lines(attempt)))
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
    opened = start.existing(store)
    print(start.render(opened, start.audit_id(opened, audit_id), out))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help='One reading statement, such as "from adequacy".')],
    store: Annotated[Path, typer.Option("--store", help="Results file.")] = Path("results.duckdb"),
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
) -> None:
    """Query the results, read-only; also while an audit runs."""
    _print(start.existing(store).query(query), form)


def _print(table: Table, form: Form) -> None:
    if form is Form.table:
        sys.stdout.write(table.to_text(shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 0))
        return
    sys.stdout.write({Form.csv: table.to_csv, Form.json: table.to_json, Form.jsonl: table.to_jsonl}[form]())


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
    device: DeviceOption = AUTO,
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
        half_samples=half_samples, floor_splits=floor_splits, seed=seed, device=usable(device), memory=start.megabytes(memory),
    )  # fmt: skip
    if train is None and not quiet:
        print("without --train the real images stand for the training images: read memorisation accordingly", file=sys.stderr)
    with Live(quiet) as live:
        table = quick.look(asked, Host.discover(), lambda title, done, total: live.update("measure", title, done, total, None))
    _print(table, form)


@app.command()
def qualify(
    where: Annotated[Path, typer.Argument(metavar="MODEL_OR_DATA", help="A model.yaml, whose generator is left out, or real images.")],
    preset: Annotated[Modality | None, typer.Option("--preset", help="Plant what belongs to this modality.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Time of one core: 90s, 10m, 2h.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="As for `harness metrics`; default: the suite.")] = None,
    extractor: Annotated[list[str] | None, typer.Option("--extractor", help="Likewise; default: pixels and random_conv.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="A downstream task, likewise; default: none.")] = None,
    perturbation: Annotated[list[str] | None, typer.Option("--perturbation", help="A perturbation, likewise, beside the preset's.")] = None,
    data: Annotated[str, typer.Option("--data", help="How files become images, as for `harness metrics`.")] = "{}",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    store: StoreOption = None,
    cache: CacheOption = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Local worker processes of one thread each.")] = 2,
    device: DeviceOption = AUTO,
    memory: MemoryOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Find out which metrics notice which defects on your real images, before there is a generator; no verdict."""
    from . import qualifying, quick

    parsed = {
        name: quick.references(texts or (), specfile.flow, f"--{name.removesuffix('s')}")
        for name, texts in (("metrics", metric), ("extractors", extractor), ("tasks", task), ("perturbations", perturbation))
    }
    size = {name: value for name, value in (("preset", preset), ("budget", budget)) if value is not None}
    options = quick.data_options(data, specfile.flow, "--data")
    file = qualifying.file_of(where, qualifying.Asked(**parsed, data=options, battery=size, seed=seed))
    out = file.base / "out" if where.is_file() else Path("out")
    with Live(quiet) as live:
        live.update("reading", str(where), 0, 1, None)
        attempt = start.begun(file, store or out / "results.duckdb", cache, workers=workers, device=device, memory=memory)
        attempt.progress = live
        pdf = start.render(attempt.store, attempt.run(), attempt.dossier)
    for finding in attempt.store.current(FindingRow, attempt.id, kind="budget"):
        print(finding.text, file=sys.stderr)
    rows = attempt.store.current(QualificationRow, attempt.id)
    _print(qualifying.summary(rows), Form.table)
    print(f"dossier  {pdf}\nresults  {attempt.store.path}")
    raise typer.Exit(0 if any(row.outcome for row in rows) else 3)


@app.command()
def compare(
    audits: Annotated[
        list[str], typer.Argument(metavar="AUDIT AUDIT...", help="Ids, ends of ids, or one name for all audits that bear it.")
    ],
    store: Annotated[list[Path] | None, typer.Option("--store", help="Results file; may be given again.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="PDF to write.")] = None,
    form: Annotated[Form, typer.Option("--format", help="How to print; csv: a row a pair, json: everything.")] = Form.table,
) -> None:
    """Put finished audits of one plan side by side: paired differences, ranks where intervals separate."""
    from . import compare as beside

    shown = beside.read(audits, store or [Path("results.duckdb")])
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 0
    sys.stdout.write(beside.as_text(shown, form.value, width))
    if out is not None:
        print(beside.render(shown, out), file=sys.stderr)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Entries of the manifest; without any, it is listed.")
    ] = None,
    into: Annotated[Path, typer.Option("--into", help="Folder to write to.")] = Path("weights"),
) -> None:
    """Download public weights files and check their digests. Besides it only an LLM check or a generator that you list uses a network."""
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
    from .listing import installed

    host = Host.discover()
    print("\n".join(installed(host)))
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
    from .listing import explained

    print("\n".join(explained(Host.discover().find(kind, name))))


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


if __name__ == "__main__":
    main()
