"""Facts about finding lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.api import NotComputable
from harness_plugins.perturbations.lesions import (
    box_round,
    components,
    first_share,
    in_pixels,
    lesion_of,
    rows_with_lesion,
    signed_distance,
    steps,
    with_pixels,
)
from lesion_pictures import ball, lesion_set


def test_steps_are_pixels_or_the_spacing() -> None:
    """A pixel is 1 px, or its spacing in mm, along each axis."""
    images = replace(lesion_set(2, (14, 20, 20)), spacing_mm=(3.0, 0.5, 0.5))
    assert steps(images, "px") == (1.0, 1.0, 1.0)
    assert steps(images, "mm") == (3.0, 0.5, 0.5)
    assert in_pixels(2.0, (3.0, 0.5, 0.5)) == (2, 5, 5)


def test_rows_with_a_lesion_are_found() -> None:
    """Images with an empty mask are left out, and with `edged` those whose lesion fills the picture."""
    images = lesion_set(5, empty=(1,))
    masks = np.array(images.masks)
    masks[3] = 2
    images = replace(images, masks=masks)
    assert rows_with_lesion(images).tolist() == [0, 2, 4]
    assert rows_with_lesion(images, edged=False).tolist() == [0, 2, 3, 4]
    assert rows_with_lesion(images, 2, edged=False).tolist() == [3]
    assert lesion_of(images, 3, 2).all()
    assert not lesion_of(images, 3, 1).any()


def test_where_no_lesion_has_an_edge_there_is_no_answer() -> None:
    """Masks that fill their pictures are refused where an edge is needed."""
    images = lesion_set(2)
    full = replace(images, masks=np.ones_like(images.masks))
    with pytest.raises(NotComputable, match="fills its whole picture"):
        rows_with_lesion(full)


def test_box_is_tight_and_stays_within_the_picture() -> None:
    """The box holds the lesion and its margin, and nothing beyond the border; each axis has a margin of its own."""
    lesion = np.zeros((10, 12, 8), dtype=bool)
    lesion[4:6, 1, 7] = True
    assert box_round(lesion, (0, 0, 0)) == (slice(4, 6), slice(1, 2), slice(7, 8))
    assert box_round(lesion, (1, 3, 2)) == (slice(3, 7), slice(0, 5), slice(5, 8))


@pytest.mark.parametrize("step", [(1.0, 1.0), (2.0, 0.5)])
def test_signed_distance_against_every_pair_of_pixels(step: tuple[float, ...]) -> None:
    """The distance is that of the nearest pixel on the other side less half the smallest step, negative outside."""
    lesion = ball((14, 15), (6, 7), 4.0)
    places = np.stack(np.nonzero(np.ones_like(lesion)), axis=1) * np.array(step)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    flat = lesion.ravel()
    nearest = np.where(flat[:, None] != flat[None], apart, np.inf).min(axis=1) - min(step) / 2
    np.testing.assert_allclose(signed_distance(lesion, step).ravel(), np.where(flat, nearest, -nearest), atol=1e-12)


def test_distance_is_linear_across_a_straight_edge() -> None:
    """Across a straight edge the distance falls by one step per pixel, through 0 halfway between two pixels."""
    lesion = np.zeros((5, 8), dtype=bool)
    lesion[:, :4] = True
    np.testing.assert_allclose(signed_distance(lesion, (1.0, 1.0))[2], [3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5])


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    """A diagonal is one component, in 2D and in 3D; a gap makes two."""
    assert components(np.eye(4, dtype=bool))[1] == 1
    corners = np.zeros((2, 2, 2), dtype=bool)
    corners[0, 0, 0] = corners[1, 1, 1] = True
    assert components(corners)[1] == 1
    numbered, count = components(np.array([[True, False, True]]))
    assert (numbered.tolist(), count) == ([[1, 0, 2]], 2)


def test_first_share_is_at_least_one_and_nested() -> None:
    """A share of an order is its beginning, rounded, never empty."""
    order = np.array([4, 1, 3, 0, 2])
    assert [first_share(order, s).tolist() for s in (0.01, 0.4, 1.0)] == [[4], [4, 1], [4, 1, 3, 0, 2]]


def test_new_pixels_drop_the_features_and_keep_the_masks() -> None:
    """Masks stay unless new ones are given; features of the old pixels go."""
    images = lesion_set(2).with_features(np.zeros((2, 3)))
    darker = with_pixels(images, images.images / 2)
    assert darker.features is None
    assert darker.masks is images.masks
    empty = np.zeros_like(images.masks)
    assert with_pixels(images, images.images, empty).masks is empty
