"""Patients are never split, and every draw is decided by its seed."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import NotComputable
from harness.resampling import by_patient, draw, draw_named, halves

UNITS = np.repeat(np.arange(12), [1, 2, 3] * 4)


def test_halves_are_of_patients() -> None:
    """Every row is in one half, no patient in both, and the seed decides."""
    anchor, probe = halves(UNITS, 3)
    assert sorted([*anchor, *probe]) == list(range(len(UNITS)))
    assert not set(UNITS[anchor]) & set(UNITS[probe])
    assert len(set(UNITS[anchor])) == 6
    assert np.array_equal(halves(UNITS, 3)[0], anchor)
    assert not np.array_equal(halves(UNITS, 4)[0], anchor)


def test_too_few_patients_to_split() -> None:
    """Fewer than eight are refused with their number."""
    with pytest.raises(NotComputable, match="needs at least 8 patients to split, got 7"):
        halves(np.arange(7), 0)


def test_draws_take_whole_patients_but_the_last() -> None:
    """Of n drawn rows, at most one patient is cut short."""
    rng = np.random.default_rng(0)
    for n in range(1, len(UNITS)):
        rows = draw(UNITS, n, rng)
        assert len(rows) == n
        cut = [unit for unit in set(UNITS[rows]) if (UNITS[rows] == unit).sum() < (unit == UNITS).sum()]
        assert len(cut) <= 1


def test_images_in_another_order_are_drawn_as_they_were() -> None:
    """The same images come out of a shuffled set, whose patients are numbered otherwise."""
    ids = [f"image-{k:02}" for k in range(len(UNITS))]
    drawn = {ids[row] for row in draw_named(ids, UNITS, 9, np.random.default_rng(1))}
    order = np.random.default_rng(7).permutation(len(UNITS))
    renumbered = (11 - UNITS)[order]
    mixed = [ids[row] for row in order]
    assert {mixed[row] for row in draw_named(mixed, renumbered, 9, np.random.default_rng(1))} == drawn
    assert len(drawn) == 9


def test_rows_of_a_patient_stay_together() -> None:
    """The order is of patients, each with all its rows."""
    order = UNITS[by_patient(UNITS, np.random.default_rng(1))]
    assert (np.diff(order) != 0).sum() == 11
