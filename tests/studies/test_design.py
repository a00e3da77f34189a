"""Which images a study shows: evenly over strata, of as many patients as there are, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from harness.images import ImageSet
from harness.quantities import Scale
from harness.readerspec import StudySpec
from harness.studies.design import APART, Design, asked, draw, evenly, strata_of, with_strata

NAMES = ("benign", "malignant")
SCALES = (Scale(name="class", level="nominal", categories=NAMES),)


def images(n: int, origin: Any = "real", *, patients: int | None = None, classes: int = 2) -> ImageSet:
    """Return n tiny images of so many patients, whose labels take turns."""
    return ImageSet(
        np.linspace(0, 1, n * 4, dtype=np.float32).reshape(n, 1, 2, 2), tuple(f"{origin}-{i}" for i in range(n)), (1.0, 1.0),
        labels=np.arange(n, dtype=np.int64) % classes, patients=tuple(f"p{i % (patients or n)}" for i in range(n)), origin=origin,
        groups={"probe": np.array(["linear", "convex", "convex"] * n)[:n]},
    )  # fmt: skip


def drawn(real: ImageSet, synthetic: ImageSet, /, seed: int = 1, secret: bytes = b"s", **rule: Any) -> Design:
    """Return the design that this rule draws."""
    study = StudySpec(**{"readers": ("R1", "R2"), "because": "a test"} | rule)
    return draw(study, SCALES, with_strata(real, study, NAMES), with_strata(synthetic, study, NAMES), NAMES, seed, secret)


def alone(design: Design, origin: str) -> list[int]:
    """Return the rows of the images of an origin that are shown alone and without a planted fault."""
    found = [item for item in design.items.values() if not item.is_grid and not item.planted]
    return [item.places[0].row for item in found if item.places[0].origin == origin]


def test_the_same_seed_draws_the_same_study() -> None:
    """Items, orders and slots depend on the seed and the secret alone; another seed draws others, another secret names slots otherwise."""
    sides = images(40), images(40, "synthetic")
    rule = {"real": 10, "synthetic": 10, "grids": 4, "repeats": 0.2, "planted": {"blur": 2}}
    one, same, other = (drawn(*sides, seed=seed, **rule) for seed in (1, 1, 2))
    assert one == same
    assert set(one.items) != set(other.items)
    renamed = drawn(*sides, secret=b"t", **rule)
    assert [slot.item for slot in renamed.readers["R1"]] == [slot.item for slot in one.readers["R1"]]
    assert not {slot.id for slot in renamed.readers["R1"]} & {slot.id for slot in one.readers["R1"]}


def test_images_are_drawn_evenly_over_strata_and_patients() -> None:
    """Of two classes as many each, and of as many patients as there are before one comes twice, whatever they are used for."""
    design = drawn(images(60, patients=15), images(30, "synthetic"), real=10, synthetic=7, planted={"blur": 3}, grids=2)
    assert design.counts["real"] == {"benign": 5, "malignant": 5}
    assert sorted(design.counts["synthetic"].values()) == [3, 4]
    real = [place.row for item in design.items.values() for place in item.places if place.origin == "real"]
    assert len({row % 15 for row in real}) == len(real) == 15
    assert not design.notes
    crowded = drawn(images(60, patients=5), images(30, "synthetic"), real=10)
    assert sorted(Counter(row % 5 for row in alone(crowded, "real")).values()) == [2] * 5


def test_a_stratum_that_runs_out_is_filled_up_from_others_and_said() -> None:
    """Where one stratum has too few images the others give more, and a note says so."""
    real = images(20)
    lopsided = ImageSet(real.images, real.ids, real.spacing_mm, labels=np.array([1] * 2 + [0] * 18))
    design = drawn(lopsided, images(20, "synthetic"), real=10)
    assert design.counts["real"] == {"benign": 8, "malignant": 2}
    assert design.notes == ("real: the strata are not even, because one has too few images (benign 8, malignant 2)",)


def test_strata_join_labels_and_groups() -> None:
    """Several strata are crossed; none at all is one stratum of all images."""
    real = images(6)
    assert strata_of(real, ("label", "probe"), NAMES)[:3] == ("benign, linear", "malignant, convex", "benign, convex")
    assert set(strata_of(real, (), NAMES)) == {"all"}
    assert strata_of(real, ("label",), ())[:2] == ("0", "1")


@pytest.mark.parametrize(
    ("n", "room", "wanted"), [(6, [9, 9, 9], [2, 2, 2]), (7, [1, 9, 9], [1, 3, 3]), (0, [3], [0]), (4, [0, 4], [0, 4])]
)
def test_shares_are_equal_as_long_as_there_is_room(n: int, room: list[int], wanted: list[int]) -> None:
    """Strata get equal numbers, and what one cannot take goes to the others."""
    assert evenly(n, room, np.random.default_rng(0)) == wanted


def test_odd_ones_go_by_lot() -> None:
    """What cannot be shared out goes to any stratum, not to the first."""
    assert {tuple(evenly(4, [9, 9, 9], np.random.default_rng(seed))) for seed in range(20)} == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}


def test_second_showings_come_late() -> None:
    """Each reader sees other images again, each once and more than five places later; planted faults and grids are not repeated."""
    design = drawn(images(40), images(40, "synthetic"), real=10, synthetic=10, repeats=0.5, planted={"blur": 3}, grids=3)
    repeated = {}
    for reader, slots in design.readers.items():
        places: dict[str, list[int]] = {}
        for place, slot in enumerate(slots):
            places.setdefault(slot.item, []).append(place)
            assert slot.occasion == str(len(places[slot.item]))
        repeated[reader] = {item for item, where in places.items() if len(where) == 2}
        assert len(repeated[reader]) == 10
        assert len(slots) == 20 + 10 + 3 + 3
        assert all(where[1] - where[0] > APART for where in places.values() if len(where) == 2)
        assert all(not design.items[item].planted and not design.items[item].is_grid for item in repeated[reader])
    assert repeated["R1"] != repeated["R2"]


def test_all_images_can_be_repeated_far_apart() -> None:
    """Even a study that shows every image twice keeps the two apart."""
    design = drawn(images(40), images(40, "synthetic"), real=20, synthetic=20, repeats=1.0)
    for slots in design.readers.values():
        first = {slot.item: place for place, slot in enumerate(slots) if slot.occasion == "1"}
        assert min(place - first[slot.item] for place, slot in enumerate(slots) if slot.occasion == "2") > APART
    assert not design.notes


def test_a_study_too_short_to_keep_repeats_apart_says_so() -> None:
    """Three images seen twice cannot be six places apart: they come as far apart as they can, and a note says so."""
    design = drawn(images(10), images(10, "synthetic"), real=3, repeats=1.0)
    assert len(design.notes) == 2
    assert design.notes[0].startswith("R1 sees an image again ")


def test_readers_see_the_same_items_in_their_own_order() -> None:
    """Both readers judge the same items, shuffled, with ids of their own that are unique in the whole study."""
    design = drawn(images(40), images(40, "synthetic"), real=10, synthetic=10, grids=4)
    one, other = design.readers["R1"], design.readers["R2"]
    assert {slot.item for slot in one} == {slot.item for slot in other} == set(design.items)
    assert [slot.item for slot in one] != [slot.item for slot in other]
    assert len({slot.id for slot in (*one, *other)}) == 48
    origins = [design.items[slot.item].facts.get("origin") for slot in one[:20]]
    assert sum(a != b for a, b in pairwise(origins)) > 4


def test_planted_faults_are_in_images_that_are_shown_nowhere_else() -> None:
    """Real images with a fault are neither shown alone without it nor in a grid, however few there are."""
    design = drawn(images(12), images(12, "synthetic"), real=4, planted={"blur": 3, "noise": 2}, grids=6, grid_of=2)
    faulty = {item.places[0].row: item for item in design.items.values() if item.planted}
    assert Counter(item.planted for item in faulty.values()) == {"blur": 3, "noise": 2}
    assert all(item.facts["origin"] == "real" and item.facts["planted"] == item.planted for item in faulty.values())
    others = {p.row for item in design.items.values() if not item.planted for p in item.places if p.origin == "real"}
    assert not others & set(faulty)


def test_a_grid_has_one_real_image_at_a_shuffled_position() -> None:
    """One image of four is real, all are of one stratum, none comes twice while there are others, and positions differ by reader."""
    design = drawn(images(40), images(40, "synthetic"), grids=12, readers=("R1", "R2", "R3"))
    grids = [item for item in design.items.values() if item.is_grid]
    assert [grid.name for grid in grids] == [f"grid-{i:03d}" for i in range(1, 13)]
    for grid in grids:
        assert [place.origin for place in grid.places] == ["real", "synthetic", "synthetic", "synthetic"]
        assert len({place.row % 2 for place in grid.places}) == 1
    for origin in ("real", "synthetic"):
        rows = [place.row for grid in grids for place in grid.places if place.origin == origin]
        assert len(set(rows)) == len(rows)
    positions = {reader: [slot.order.index(0) for slot in slots] for reader, slots in design.readers.items()}
    assert len({tuple(places) for places in positions.values()}) == 3
    assert set(positions["R1"] + positions["R2"] + positions["R3"]) == {0, 1, 2, 3}


def test_images_come_again_in_grids_only_when_they_run_out() -> None:
    """With too few synthetic images some come again, as rarely as possible and never twice in one grid."""
    design = drawn(images(40), images(5, "synthetic"), grids=5)
    grids = [item for item in design.items.values() if item.is_grid]
    rows = [place.row for grid in grids for place in grid.places if place.origin == "synthetic"]
    assert sorted(Counter(rows).values()) == [3] * 5
    assert all(len({place.row for place in grid.places[1:]}) == 3 for grid in grids)


def test_grids_spare_images_that_are_shown_alone() -> None:
    """An image that is shown alone comes into a grid only where no other is left."""
    design = drawn(images(16), images(40, "synthetic"), real=8, grids=8)
    in_grids = {item.places[0].row for item in design.items.values() if item.is_grid}
    assert not in_grids & set(alone(design, "real"))


def test_questions_are_asked_of_what_is_shown() -> None:
    """Scales about grids are asked where there are grids, others where there are single images, in the order of `questions`."""
    scales = (*SCALES, Scale(name="mask", level="text", shows="mask"), Scale(name="find", level="nominal", shows="grid"))
    base = {"readers": ("R1",), "because": "a test"}
    assert [s.name for s in asked(StudySpec(**base, real=1), scales)] == ["class", "mask"]
    assert [s.name for s in asked(StudySpec(**base, grids=1), scales)] == ["find"]
    assert [s.name for s in asked(StudySpec(**base, real=1, grids=1, questions=("find", "class")), scales)] == ["find", "class"]
