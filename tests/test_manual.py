"""The pages of the built-in metrics, extractors and perturbations are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host import Host
from harness.manual import INTRODUCTIONS, manual

HOST = Host.discover()


@pytest.mark.parametrize(("kind", "folder"), [("metric", "metrics"), ("extractor", "extractors"), ("perturbation", "perturbations")])
def test_the_pages_are_fresh(kind: str, folder: str, root: Path) -> None:
    """`make schemas` was run after the last change of a component."""
    assert (root / "plugins" / folder / "README.md").read_text(encoding="utf-8") == manual(kind, HOST)


@pytest.mark.parametrize("kind", INTRODUCTIONS)
def test_every_component_has_a_section(kind: str) -> None:
    """Each is in the table and has a section with its options."""
    page = manual(kind, HOST)
    for offer in HOST.of_kind(kind):
        if offer.distribution == "audit-harness":
            assert f"[{offer.name}](#{offer.name})" in page
            section = page.split(f"\n## {offer.name}\n")[1].split("\n## ")[0]
            assert all(f"- `{option}`, " in section for option in offer.component.model_fields)
