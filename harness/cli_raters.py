"""The commands about raters: reader studies, reports on files of ratings, and the prompt sets that language models are asked with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import start
from .components import LLMCheck
from .errors import InputError, Problem
from .host import Host

study_app = typer.Typer(no_args_is_help=True, help="Reader studies: build one, take in what readers answered, plan its size.")


def _option(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InputError(Problem(f"{text!r} is no option of an importer", "--option", "write --option NAME=VALUE"))
    return name, value


def ratings(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, Excel, REDCap, Label Studio, iMRMC, or a study's answers.")],
    scale: Annotated[str | None, typer.Option(help="Column of the scale, or the name of the only scale.")] = None,
    level: Annotated[str | None, typer.Option(help="nominal, ordinal, interval, set or text.")] = None,
    categories: Annotated[str | None, typer.Option(help="Admissible answers in their order, with commas between them.")] = None,
    truth: Annotated[str | None, typer.Option(help="Column with the right answer.")] = None,
    positive: Annotated[str | None, typer.Option(help="The truth that high answers speak for.")] = None,
    item: Annotated[str | None, typer.Option(help="Column (or columns) that name the item.")] = None,
    rater: Annotated[str | None, typer.Option(help="Column that names the rater.")] = None,
    value: Annotated[str | None, typer.Option(help="Column of the answer.")] = None,
    by: Annotated[str | None, typer.Option(help="Columns by which items are told apart, such as a modality.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE of the importer; may be given again.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    title: Annotated[str, typer.Option(help="Title of the report.")] = "",
    form: Annotated[str, typer.Option("--format", help="How to print: table, csv (a row a number) or json (everything).")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="PDF to write.")] = None,
) -> None:
    """Report on files of ratings, without an audit: agreement with intervals, correctness, and what is wrong in the files."""
    from .ratingfiles import report as reports
    from .ratingfiles.look import Asked, look

    if form not in ("table", "csv", "json"):
        raise InputError(Problem(f"there is no format {form!r}", "--format", "known: table, csv, json"))
    given = {"scale": scale, "truth": truth, "item": item, "rater": rater, "value": value, "by": by}
    overrides = {name: text for name, text in given.items() if text is not None} | dict(map(_option, option or ()))
    named = tuple(word.strip() for word in categories.split(",")) if categories else ()
    asked = Asked(tuple(files), level, named, positive, overrides, seed, title)
    report = look(asked, Host.discover())
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 0
    sys.stdout.write(reports.as_text(report, form, width))
    if out is not None:
        print(f"report  {reports.render(report, out)}", file=sys.stderr)


@study_app.command("power")
def power(
    readers: Annotated[int | None, typer.Option(min=1, help="Readers.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Images that each reader sees; cases, with --auc-difference.")] = None,
    categories: Annotated[int, typer.Option(min=2, help="Categories of the scale.")] = 3,
    kappa: Annotated[float, typer.Option(help="Agreement that is expected.")] = 0.42,
    skewed: Annotated[bool, typer.Option("--skewed", help="One of two categories holds nine in ten of the images.")] = False,
    grids: Annotated[int | None, typer.Option(min=1, help="Grids in which the real image is to be found.")] = None,
    of: Annotated[int, typer.Option("--of", min=2, help="Images in a grid.")] = 4,
    auc_difference: Annotated[float | None, typer.Option(help="Difference of AUCs that is to be found.")] = None,
    components: Annotated[str, typer.Option(help="CSV of a pilot study, or default (published variance components).")] = "default",
) -> None:
    """Say what a reader study of a size can show, and what size it would need."""
    from .studies import power as planning

    asked = planning.Asked(readers, items, categories, kappa, skewed, grids, of, auc_difference, components)
    print("\n".join(planning.lines(asked)))


@study_app.command("build")
def build(
    model: Annotated[Path, typer.Argument(metavar="MODEL.YAML", help="The audit whose ratings.study is to be built.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study; default: study beside model.yaml.")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Results file; default: out/results.duckdb beside model.yaml.")] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder of finished cells; default: cache beside the results file.")] = None,
) -> None:
    """Draw images by the declared rule and write one page per reader, which works offline in any browser."""
    from .studies.build import build as build_study

    attempt = start.study(model, store, cache)
    built = build_study(attempt, out or attempt.file.base / "study", Host.discover())
    for use, counts in built.counts.items():
        print(f"{use}: {', '.join(f'{n} {name}' for name, n in counts.items())}")
    for note in built.notes:
        print(f"note: {note}")
    for reader, page in built.pages.items():
        print(f"{reader}  {page}")
    print(f"key      {built.folder / 'key.json'}   (keep it: it says what readers saw, and no reader may have it)")


@study_app.command("import")
def take_in(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")],
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS.JSON...", help="Files that readers exported.")],
) -> None:
    """Check the files that readers exported and keep them with the study, for the importer `study: {path: STUDY}` of model.yaml."""
    from .studies import intake

    print("\n".join(intake.lines(intake.take_in(study, answers, Host.discover()))))


def prompts(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A prompt set; without any, they are listed.")] = None,
) -> None:
    """Print a prompt set that comes with an LLM check: its questions, and the scales to put into model.yaml."""
    checks = [offer.component for offer in Host.discover().of_kind("llm_check")]
    found = {name: path for check in checks if issubclass(check, LLMCheck) for name, path in check.prompt_sets().items()}
    if name is None:
        print("\n".join(sorted(found)))
        return
    if name not in found:
        raise InputError(Problem(f"there is no prompt set {name!r}", "harness prompts", f"known: {', '.join(sorted(found))}"))
    sys.stdout.write(found[name].read_text(encoding="utf-8"))
