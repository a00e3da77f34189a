"""Facts about rules on masks and images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from harness.api import Comparison, Context, ImageSet, InputError, NotComputable
from harness.testing import check, phantoms
from harness_plugins.metrics.constraint import Constraint, Rule

CONTEXT = Context(seed=0, workdir=Path())
RING = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 2, 0, 0],
        [0, 2, 1, 1, 2, 0, 0],
        [0, 2, 1, 1, 2, 0, 0],
        [0, 2, 2, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 3],
    ],
    np.uint8,
)


def pictures(masks: np.ndarray, spacing_mm: tuple[float, ...] | None = None, **fields: Any) -> ImageSet:
    """Return images that are as bright as a tenth of their mask, with a second channel of half."""
    grey = np.float32(0.1) * masks.astype(np.float32)
    images = np.stack([grey, np.full_like(grey, 0.5)], axis=1)
    ids = tuple(f"i{k}" for k in range(len(masks)))
    return ImageSet(images, ids, spacing_mm or (1.0,) * (masks.ndim - 1), masks=masks.astype(np.uint8), **fields)


def judged(rule: dict[str, Any], mask: np.ndarray, spacing_mm: tuple[float, ...] | None = None) -> float:
    """Return 0, 1 or -1: what one rule says of one image."""
    metric = Constraint(rules={"it": Rule(**rule)})
    return float(metric.describe(pictures(mask[None], spacing_mm), CONTEXT)[0, 0])


def compared(metric: Constraint, synthetic: ImageSet, test: ImageSet) -> Comparison:
    """Return the comparison as the host makes it."""
    real, made = (side.with_features(metric.describe(side, CONTEXT)) for side in (test, synthetic))
    return Comparison(real, real, made)


@pytest.mark.parametrize("size", [(20, 24), (12, 9, 11)])
def test_conforms(size: tuple[int, ...]) -> None:
    """It keeps the promises of a metric with its default rule and with several, in 2D and 3D."""
    check(Constraint, size_px=size)
    several = {
        "size": Rule(kind="area_share", at_most=0.5),
        "grey": Rule(kind="intensity", region="image", at_least=0.4),
        "bright": Rule(kind="contrast", other=0, at_least=0.2),
    }
    check(Constraint(rules=several), size_px=size)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"kind": "area_share"}, 18 / 49),
        ({"kind": "area_share", "region": 2}, 12 / 49),
        ({"kind": "area_mm2", "region": 1}, 5 * 0.5 * 2.0),
        ({"kind": "components", "region": 1}, 2),
        ({"kind": "components", "region": 2}, 1),
        ({"kind": "components"}, 1),
        ({"kind": "ratio", "region": 1, "other": 2}, 5 / 12),
        ({"kind": "contact", "region": 1, "other": 2}, 4 / 5),
        ({"kind": "contact", "region": 3, "other": 1}, 0),
        ({"kind": "contact", "region": 2, "other": 1}, 8 / 12),
        ({"kind": "inside", "region": 1, "other": 2}, 4 / 5),
        ({"kind": "intensity", "region": 2}, 0.2),
        ({"kind": "intensity", "region": "image", "channel": 1}, 0.5),
        ({"kind": "intensity", "region": "image"}, 0.1 * (5 + 24 + 3) / 49),
        ({"kind": "contrast", "region": 2, "other": 1}, 0.1),
        ({"kind": "contrast", "region": "foreground", "other": 0}, 0.1 * 32 / 18),
    ],
)
def test_values_counted_by_hand(rule: dict[str, Any], value: float) -> None:
    """Each kind is the number that one counts on a drawn mask: it meets a range that holds the number, and breaks one beside it."""
    near = 1e-6
    assert judged(rule | {"at_least": value - near, "at_most": value + near}, RING, (0.5, 2.0)) == 0.0
    assert judged(rule | {"at_least": value + near}, RING, (0.5, 2.0)) == 1.0
    assert judged(rule | {"at_most": value - near}, RING, (0.5, 2.0)) == 1.0


def test_volumes_by_spacing() -> None:
    """A box of 2 x 3 x 4 voxels of 3 x 1 x 0.5 mm has 36 mm3 and 24 of 1000 voxels; ends of a range are in it."""
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[2:4, 2:5, 2:6] = 1
    assert judged({"kind": "volume_mm3", "at_least": 36.0, "at_most": 36.0}, mask, (3.0, 1.0, 0.5)) == 0.0
    assert judged({"kind": "area_share", "at_most": 0.0239}, mask) == 1.0
    shell = np.pad(np.zeros((2, 2, 2), np.uint8), 1, constant_values=2)
    shell[1:3, 1:3, 1:3] = 1
    assert judged({"kind": "inside", "region": 1, "other": 2, "at_least": 1.0}, shell) == 0.0


@pytest.mark.parametrize("size", [(24, 30), (10, 11, 12)])
def test_components_are_those_of_scipy(size: tuple[int, ...]) -> None:
    """Parts are counted as scipy labels them where corners touch."""
    masks = (np.random.default_rng(1).random((20, *size)) > 0.93).astype(np.uint8)
    counts = [ndimage.label(mask, ndimage.generate_binary_structure(len(size), len(size)))[1] for mask in masks]
    assert len(set(counts)) > 3
    for mask, count in zip(masks, counts, strict=True):
        assert judged({"kind": "components", "at_least": count, "at_most": count}, mask) == 0.0


def test_an_absent_region_is_not_judged_unless_the_rule_says_so() -> None:
    """No region, or no other region: -1, or 1 with `absent: broken`; the whole image is never absent."""
    empty = np.zeros((6, 6), np.uint8)
    for rule in ({"kind": "area_share", "at_most": 0.5}, {"kind": "ratio", "region": "image", "other": 2, "at_most": 9.0}):
        assert judged(rule, empty) == -1.0
        assert judged(rule | {"absent": "broken"}, empty) == 1.0
    assert judged({"kind": "intensity", "region": "image", "at_most": 0.1}, empty) == 0.0


def test_violations_excess_and_their_words() -> None:
    """Shares count every image; rates of rules count the judged ones, and the note says how many those are."""
    masks = np.zeros((20, 8, 8), np.uint8)
    masks[:, 1:4, 1:4] = 1
    masks[:4, 6, 6] = 1
    masks[16:] = 0
    test = masks.copy()
    test[1:4, 6, 6] = 0
    metric = Constraint(rules={"one lesion": Rule(kind="components", at_most=1), "ring": Rule(kind="area_share", region=2, at_least=0.1)})
    context = Context(seed=0, workdir=Path())
    comparison = compared(metric, pictures(masks, origin="synthetic"), pictures(test))
    found = metric.measure(comparison, context)
    assert found == {"violations": pytest.approx(0.2), "excess": pytest.approx(0.15)}
    assert context.notes["violations"] == context.notes["excess"]
    assert context.notes["excess"] == (
        "one lesion: broken by 4 of 16 synthetic images (4 more could not be judged), "
        "broken by 1 of 16 real test images (4 more could not be judged); "
        "ring: no synthetic image could be judged, no real test image could be judged"
    )
    np.testing.assert_array_equal(metric.per_image(comparison, CONTEXT)["violations"], np.arange(20) < 4)
    twice = Constraint(rules={"parts": Rule(kind="components", at_most=1), "size": Rule(kind="area_mm2", at_most=9.0)})
    blamed = twice.per_image(compared(twice, pictures(masks), pictures(test)), CONTEXT)["violations"]
    np.testing.assert_array_equal(blamed, 2 * (np.arange(20) < 4))


def test_moves_with_the_defect() -> None:
    """Specks break the rule of one lesion, the more images have some the more often; other phantoms seldom do, as real ones."""
    real, other = phantoms(40, seed=1), phantoms(40, seed=2)
    assert other.masks is not None
    shares = []
    for hit in (0, 10, 20, 40):
        masks = other.masks.copy()
        masks[:hit, 0, 0] = 1
        shares.append(Constraint().measure(compared(Constraint(), replace(other, masks=masks), real), CONTEXT)["excess"])
    assert shares == sorted(shares)  # type: ignore[type-var]
    assert shares[0] == pytest.approx(0.0, abs=0.1)
    assert shares[-1] == pytest.approx(1.0, abs=0.1)


def test_deterministic_and_indifferent_to_order() -> None:
    """Repeats agree exactly, another order of the images gives the same numbers."""
    real, other = phantoms(20, seed=3), phantoms(20, seed=4)
    metric = Constraint(rules={"size": Rule(kind="area_mm2", at_least=20.0, at_most=100.0)})
    first = metric.measure(compared(metric, other, real), CONTEXT)
    assert 0.0 < first["violations"] < 1.0  # type: ignore[operator]
    assert metric.measure(compared(metric, other, real), CONTEXT) == first
    assert metric.measure(compared(metric, other.take(np.arange(20)[::-1]), real.take(np.arange(20)[::-1])), CONTEXT) == first


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "components"}, "say at_least, at_most or both"),
        ({"kind": "components", "at_least": 2, "at_most": 1}, "at_least 2 is above at_most 1, so that nothing meets the rule"),
        ({"kind": "ratio", "at_most": 1}, "ratio needs other"),
        ({"kind": "area_share", "other": 1, "at_most": 1}, "area_share takes no other"),
        ({"kind": "contact", "region": 1, "other": 1, "at_most": 1}, "region and other are both 1"),
        ({"kind": "area_share", "channel": 0, "at_most": 1}, "area_share takes no channel"),
        ({"kind": "area_share", "at_most": float("nan")}, "finite number"),
        ({"kind": "area", "at_most": 1}, "Input should be 'area_share'"),
        ({"kind": "area_share", "region": -1, "at_most": 1}, "greater than or equal to 0"),
        ({"kind": "area_share", "most": 1}, "Extra inputs are not permitted"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: dict[str, Any], words: str) -> None:
    """The sentence names what is wrong with the rule."""
    with pytest.raises(ValidationError, match=words):
        Constraint.model_validate({"rules": {"it": rule}})


def test_options_as_in_a_file() -> None:
    """Rules are plain mappings in model.yaml, at least one; their schema holds no reference to another place."""
    metric = Constraint.model_validate({"rules": {"small": {"kind": "area_share", "at_most": 0.2}}})
    assert metric.rules["small"] == Rule(kind="area_share", at_most=0.2)
    assert repr(metric.rules["small"]) == "Rule(kind='area_share', at_most=0.2)"
    with pytest.raises(ValidationError, match="at least 1 item"):
        Constraint(rules={})
    schema = json.dumps(Constraint.model_json_schema())
    assert "$ref" not in schema
    assert '"area_mm2"' in schema


def test_bad_input() -> None:
    """No masks, a kind for other axes, a channel that is not there, no image, no region anywhere: each is said."""
    flat, volume = pictures(np.ones((4, 5, 5))), pictures(np.ones((4, 5, 5, 5)))
    with pytest.raises(NotComputable, match="the real images have no masks"):
        Constraint().describe(replace(flat, masks=None), CONTEXT)
    with pytest.raises(InputError, match="rule 'it': area_mm2 is not for images of 3 axes"):
        Constraint(rules={"it": Rule(kind="area_mm2", at_most=1)}).describe(volume, CONTEXT)
    with pytest.raises(InputError, match="rule 'it': volume_mm3 is not for images of 2 axes"):
        Constraint(rules={"it": Rule(kind="volume_mm3", at_most=1)}).describe(flat, CONTEXT)
    with pytest.raises(InputError, match="rule 'it': there is no channel 2 in images of 2"):
        Constraint(rules={"it": Rule(kind="intensity", channel=2, at_most=1)}).describe(flat, CONTEXT)
    metric, empty = Constraint(), pictures(np.zeros((4, 5, 5)))
    with pytest.raises(NotComputable, match="there are no synthetic images"):
        metric.measure(compared(metric, flat.take([]), flat), CONTEXT)
    with pytest.raises(NotComputable, match="none of the 4 synthetic images has the regions that the rules are about"):
        metric.measure(compared(metric, empty, flat), CONTEXT)
    for test, words in ((flat.take([]), "there are no test images"), (empty, "none of the 4 test images has the regions")):
        found = metric.measure(compared(metric, flat, test), CONTEXT)
        assert found["violations"] == 0.0
        assert words in str(found["excess"])
