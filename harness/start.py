"""What every command begins with: an attempt at an audit from its file, a results file that is there, the audit that a name means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from . import specfile
from .checks import assemble
from .device import AUTO, usable
from .errors import HarnessError, Problem
from .host import Host
from .neighbours import MEMORY
from .run import Audit, Settings
from .store import Store


def attempt(model: Path, store: Path | None, cache: Path | None, **settings: Any) -> Audit:
    """Return an attempt at the audit of a model.yaml; store, cache: None lie beside it. settings: as `begun` takes them."""
    file = specfile.read(model)
    return begun(file, store or file.base / "out" / "results.duckdb", cache, **settings)


def study(model: Path, store: Path | None, cache: Path | None) -> Audit:
    """Return an attempt that a reader study is built from: the answers that it is to bring need not be there yet."""
    file = specfile.read(model)
    ratings = file.spec.ratings
    if ratings is not None:
        described = any(scale.shows == "description" for scale in ratings.scales)
        asked = ratings.model_copy(update={"importers": (), "llm_checks": ratings.llm_checks if described else ()})
        file = replace(file, spec=file.spec.model_copy(update={"ratings": asked}))
    return begun(file, store or file.base / "out" / "results.duckdb", cache, device=AUTO)


def begun(file: specfile.SpecFile, results: Path, cache: Path | None, *, device: str, memory: int | None = None, **more: Any) -> Audit:
    """Return an attempt at an audit. memory: in MiB. more: further settings of a run."""
    parts = assemble(file, Host.discover())
    results.parent.mkdir(parents=True, exist_ok=True)
    settings = Settings(results, cache or results.parent / "cache", device=usable(device), memory=megabytes(memory), **more)
    made = Audit(file, parts, settings)
    begun_on = made.begun_on() or settings.device
    # What was begun on one device goes on there; another that is asked for by name is refused when the audit starts.
    return made if device != AUTO or begun_on == settings.device else Audit(file, parts, replace(settings, device=usable(begun_on)))


def megabytes(memory: int | None) -> int:
    """Return the bytes of so many MiB; the default where none are given."""
    return MEMORY if memory is None else memory << 20


def render(store: Store, audit_id: str, out: Path | None = None) -> Path:
    """Draw the dossier of an audit, beside its results file where no place is named."""
    from .dossier import render_audit

    return render_audit(store, audit_id, out or store.path.parent / f"{audit_id}.pdf")


def existing(path: Path) -> Store:
    """Return the results file at a path; one that is not there is refused."""
    if not path.is_file():
        raise HarnessError(Problem("there is no results file", str(path), "name it with --store; an audit writes out/results.duckdb"))
    return Store(path)


def audit_id(store: Store, wanted: str) -> str:
    """Return the id of the audit that an id or a name means."""
    known = store.audits()
    named = [wanted] if wanted in known else [i for i in known if i.rsplit("-", 2)[0] == wanted]
    if len(named) == 1:
        return named[0]
    hint = f"which of: {', '.join(named)}" if named else f"known: {', '.join(known) or 'none'}"
    raise HarnessError(Problem(f"no audit {wanted!r}" if not named else f"{wanted!r} names several audits", str(store.path), hint))
