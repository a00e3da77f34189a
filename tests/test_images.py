"""Image sets are checked once, on construction, and keep what is known of an image with it."""

import re

import numpy as np
import pytest

from harness.errors import InputError, NotComputable
from harness.images import Comparison, ImageSet, from_features


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


def with_features(**features: np.ndarray) -> Comparison:
    """Return the comparison of these features."""
    rng = np.random.default_rng(6)
    given = {"train": rng.normal(size=(9, 4)), "test": rng.normal(size=(7, 4)), "synthetic": rng.normal(size=(8, 4))} | features
    return Comparison(**{role: from_features(x, role) for role, x in given.items()})


def test_balls_are_neighbours_and_who_is_inside() -> None:
    """Balls reach to the k-th neighbour of their centre, and reach is 1 or more exactly for the images within one, or on it."""
    comparison = compared()
    balls = comparison.balls("synthetic", "train", 3, inclusive=True)

    np.testing.assert_array_equal(balls.radii, comparison.neighbours("train", "train", 3)[0][:, -1])
    np.testing.assert_array_equal(balls.inside, comparison.within("synthetic", "train", balls.radii, inclusive=True))
    np.testing.assert_array_equal(balls.inside > 0, comparison.reach("synthetic", "train", balls.radii) >= 1.0)


def test_memory_does_not_change_an_answer() -> None:
    """Whether distances are kept or not, a comparison and its parts answer the same to the last bit."""
    whole = compared()
    sides = {"train": whole.train, "test": whole.test, "synthetic": whole.synthetic}
    small = Comparison(**sides, memory=1)
    rows = np.array([0, 2, 3, 7, 8, 9])
    for a, b in ((whole, small), (whole.take(train=rows, test=rows), small.take(train=rows, test=rows)), (whole.replaced("test"),
                 small.replaced("test"))):  # fmt: skip
        for found, expected in zip(a.neighbours("synthetic", "train", 4), b.neighbours("synthetic", "train", 4), strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(a.balls("synthetic", "train", 2).inside, b.balls("synthetic", "train", 2).inside)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    """NaN, infinity and what overflows when squared are an error that names the side and counts its rows."""
    features = np.zeros((8, 4))
    features[2, 1] = features[5] = value

    with pytest.raises(InputError, match="features of synthetic are not finite, or too large to be squared, in 2 of 8 rows"):
        with_features(synthetic=features).neighbours("test", "train", 1)


def test_every_side_with_bad_features_is_named() -> None:
    """Two sides with bad rows are two problems of one error."""
    bad = np.full((3, 4), np.nan, np.float32)

    with pytest.raises(InputError) as caught:
        with_features(train=bad, test=bad).balls("synthetic", "train", 1)

    assert [problem.what.split(" are")[0] for problem in caught.value.problems] == ["features of train", "features of test"]


def test_features_of_different_widths_are_refused() -> None:
    """Sides whose features differ in width are an error that gives the widths."""
    with pytest.raises(InputError, match="features differ in width: train 4, test 4, synthetic 5"):
        with_features(synthetic=np.zeros((8, 5))).neighbours("synthetic", "train", 1)


def test_features_that_are_no_matrix_are_refused() -> None:
    """One number per image without a second axis is an error that gives the shape."""
    with pytest.raises(InputError, match=re.escape("features of test must be (N, F), got shape (7,)")):
        with_features(test=np.zeros(7)).centred("test")


def test_an_empty_side_has_no_neighbours() -> None:
    """No test images: nothing is near them, they are near nothing, and asking for neighbours among them is not computable."""
    comparison = with_features(test=np.empty((0, 4), np.float32))

    assert comparison.neighbours("test", "train", 2)[1].shape == (0, 2)
    assert comparison.balls("test", "train", 2).inside.shape == (0,)
    with pytest.raises(NotComputable, match="needs 1 test images for 1 neighbours, got 0"):
        comparison.neighbours("train", "test", 1)
    with pytest.raises(NotComputable, match="needs 2 test images for 1 neighbours, got 0"):
        comparison.balls("train", "test", 1)


def test_no_train_images_are_not_computable() -> None:
    """A part without training images has no neighbours among them."""
    with pytest.raises(NotComputable, match="needs 1 train images for 1 neighbours, got 0"):
        compared().take(train=np.array([], dtype=np.int64)).neighbours("synthetic", "train", 1)
