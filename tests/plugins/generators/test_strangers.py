"""Code of others is called label by label, and its files are taken in the order of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.api import InputError, NotComputable, Request
from harness_plugins.generators.strangers import calls, require_apart


def test_calls_are_of_one_label_and_have_their_own_seeds() -> None:
    """Rows are dealt out by label in their order; every call has another seed; more rows leave the first calls as they are."""
    labels = np.array([1, 0, 1, 1])
    made = calls(Request(4, labels=labels), 2, 2, seed=5)
    assert [(call.label, call.rows) for call in made] == [(1, (0, 2)), (1, (3,)), (0, (1,))]
    assert len({call.seed for call in made}) == 3
    assert calls(Request(3), 0, 1, seed=5) == calls(Request(5), 0, 1, seed=5)[:3]


def test_labels_must_be_described(tmp_path: Path) -> None:
    """A label without an entry, data without labels, and names that do not fit are refused with what to do."""
    with pytest.raises(NotComputable, match="by_label needs labels"):
        calls(Request(4), 2, 2, 1)
    with pytest.raises(InputError, match="images of label 5 are wanted, and by_label has 2 entries"):
        calls(Request(2, labels=np.array([0, 5])), 2, 2, 1)


def test_folders_must_not_lie_in_each_other(tmp_path: Path) -> None:
    """Emptying the working folder would else empty the user's."""
    inside = tmp_path / "package" / "work"
    inside.mkdir(parents=True)
    with pytest.raises(InputError):
        require_apart(tmp_path / "package", inside)
    require_apart(tmp_path / "package", tmp_path / "other")
