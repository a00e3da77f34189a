"""Image sets are checked once, on construction, and keep what is known of an image with it."""

import numpy as np
import pytest

from harness.errors import InputError, NotComputable
from harness.images import Comparison, ImageSet


def images(n: int = 6, name: str = "a", **known: object) -> ImageSet:
    """Return n small random images."""
    pixels = np.random.default_rng(n).random((n, 1, 8, 8), dtype=np.float32)
    return ImageSet(pixels, tuple(f"{name}{i}" for i in range(n)), (1.0, 1.0), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((6, 8, 8), np.float32)}, "must be \\(N, C, H, W\\)"),
        ({"images": np.zeros((6, 1, 8, 8), np.float64)}, "must be float32"),
        ({"images": np.full((6, 1, 8, 8), np.nan, np.float32)}, "finite and in \\[0, 1\\]"),
        ({"images": np.full((6, 1, 8, 8), 1.5, np.float32)}, "from 1.5 to 1.5"),
        ({"spacing_mm": (1.0,)}, "must hold 2 positive numbers"),
        ({"spacing_mm": (1.0, 0.0)}, "must hold 2 positive numbers"),
        ({"ids": ("a",) * 6}, "'a' occurs twice"),
        ({"ids": ("a",)}, "ids must have one entry per image, got 1 for 6"),
        ({"masks": np.zeros((6, 4, 4), np.uint8)}, "masks must be uint8 of shape"),
        ({"labels": np.zeros(6, np.int32)}, "labels must be int64"),
        ({"patients": ("p",)}, "patients must have one entry per image"),
        ({"cut_from": ("a",)}, "cut_from must have one entry per image"),
        ({"groups": {"site": np.zeros(2)}}, "groups\\['site'\\] must have one entry"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    """Each fault of an image set is an `InputError` that says what was expected and what came."""
    fine = images()
    arguments = {"images": fine.images, "ids": fine.ids, "spacing_mm": fine.spacing_mm} | change

    with pytest.raises(InputError, match=words):
        ImageSet(**arguments)  # type: ignore[arg-type]


def test_every_fault_is_reported_at_once() -> None:
    """Three faults are three problems of one error."""
    with pytest.raises(InputError) as caught:
        ImageSet(np.zeros((2, 1, 4, 4), np.float32), ("a", "a"), (1.0,), labels=np.zeros(3, np.int64))

    assert len(caught.value.problems) == 3


def test_rows_carry_everything_that_is_known() -> None:
    """`take` keeps masks, labels, patients, groups and features with their images."""
    full = images(
        masks=np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((6, 8, 8), np.uint8), labels=np.arange(6), patients=tuple("xxyyzz"),
        groups={"site": np.array(list("abcabc"))}, features=np.arange(12.0).reshape(6, 2),
    )  # fmt: skip

    part = full.take([4, 1])

    assert part.ids == ("a4", "a1")
    assert part.patients == ("z", "x")
    assert part.labels is not None
    assert part.labels.tolist() == [4, 1]
    assert part.masks is not None
    assert part.masks[:, 0, 0].tolist() == [4, 1]
    assert part.groups is not None
    assert part.groups["site"].tolist() == ["b", "b"]
    assert part.features is not None
    assert part.features[:, 0].tolist() == [8.0, 2.0]


def test_patients_are_counted_in_order_of_first_appearance() -> None:
    """Units do not depend on how patients are named, so neither does anything that is resampled."""
    assert images(patients=tuple("zzaabb")).units.tolist() == images(patients=tuple("aabbcc")).units.tolist()


def test_patches_of_one_image_are_one_unit() -> None:
    """Where patients are unknown, the patches cut from one image belong together; patients, where known, come first."""
    patches = images(cut_from=tuple("yyyxxz"))

    assert patches.units.tolist() == [0, 0, 0, 1, 1, 2]
    assert patches.n_patients is None
    assert patches.take([5, 0, 4, 1]).units.tolist() == [0, 1, 2, 1]
    assert patches.with_features(np.ones((6, 2))).cut_from == patches.cut_from
    assert patches.sha256 not in (images().sha256, images(cut_from=tuple("yyxxxz")).sha256)
    assert images(cut_from=tuple("yyyxxz"), patients=tuple("aaaaab")).units.tolist() == [0, 0, 0, 0, 0, 1]


def test_the_digest_sees_pixels_and_names() -> None:
    """One pixel, one id or one label more changes the digest; features do not."""
    base = images()
    other = base.images.copy()
    other[0, 0, 0, 0] += 0.001

    assert ImageSet(other, base.ids, base.spacing_mm).sha256 != base.sha256
    assert images(name="b").sha256 != base.sha256
    assert images(labels=np.zeros(6, np.int64)).sha256 != base.sha256
    assert images(features=np.ones((6, 2))).sha256 == base.sha256


def test_resampled_rows_are_lent_read_only() -> None:
    """A plugin cannot change the images of a resample."""
    with pytest.raises(ValueError, match="read-only"):
        images().take([0, 1]).images[0] = 0


def compared() -> Comparison:
    """Return a comparison with random features."""
    rng = np.random.default_rng(5)
    sides = {role: images(n, role, features=rng.normal(size=(n, 4)).astype(np.float32)) for role, n in
             (("train", 20), ("test", 10), ("synthetic", 12))}  # fmt: skip
    return Comparison(**sides)


def test_a_part_of_a_comparison_is_the_comparison_of_the_parts() -> None:
    """Distances that are reused give the neighbours of a comparison made afresh."""
    whole = compared()
    rows = np.array([1, 3, 5, 7, 9])
    part = whole.take(train=rows, synthetic=np.arange(4))
    fresh = Comparison(whole.train.take(rows), whole.test, whole.synthetic.take(np.arange(4)))

    np.testing.assert_allclose(part.neighbours("synthetic", "train", 2)[0], fresh.neighbours("synthetic", "train", 2)[0], rtol=1e-10)
    assert part.n("train") == len(part.train) == 5
    assert part.train.ids == fresh.train.ids
    np.testing.assert_array_equal(part.features("train"), fresh.features("train"))


def test_too_few_images_for_neighbours_is_not_computable() -> None:
    """Five neighbours among four images is a reason, not a number."""
    with pytest.raises(NotComputable, match="needs 6 train images for 5 neighbours, got 4"):
        compared().take(train=np.arange(4)).neighbours("train", "train", 5)
