"""Phantoms: seeded, balanced, alike within a patient, with something to learn in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.phantoms import CLASSES, arm, main, phantoms, write_phantoms


def test_the_seed_decides() -> None:
    """The same seed gives the same images, another seed others."""
    assert phantoms(6, seed=1).sha256 == phantoms(6, seed=1).sha256
    assert not np.array_equal(phantoms(6, seed=1).images, phantoms(6, seed=2).images)


def test_what_is_known_of_each_image() -> None:
    """Masks, labels, patients and probes are there; classes and probes are balanced, and a patient has one of each."""
    images = phantoms(48, seed=3, size=32, patients=12)
    assert images.offers() == {"masks", "labels", "patients", "groups"}
    assert images.size_px == (32, 32)
    assert images.n_patients == 12
    assert images.labels is not None
    assert images.groups is not None
    assert np.bincount(images.labels).tolist() == [24, 24]
    assert sorted(np.unique(images.groups["probe"], return_counts=True)[1]) == [24, 24]
    assert len(set(zip(images.patients or (), images.labels, images.groups["probe"], strict=True))) == 12


def test_one_probe_can_be_left_out() -> None:
    """A generator that drops a mode is made by naming the probes that stay."""
    images = phantoms(12, seed=3, probes=("linear",))
    assert images.groups is not None
    assert set(images.groups["probe"]) == {"linear"}
    assert set(images.labels if images.labels is not None else ()) == {0, 1}


@pytest.mark.parametrize("patients", [0, 7])
def test_patients_without_images_are_refused(patients: int) -> None:
    """There is at least one patient, and each has at least one image."""
    with pytest.raises(ValueError, match="between 1 and the 6 images"):
        phantoms(6, seed=1, patients=patients)


def test_lesions_are_darker_than_what_is_beside_them() -> None:
    """Every mask has a lesion in it, and lesions are hypoechoic."""
    images = phantoms(60, seed=4)
    assert images.masks is not None
    inside = images.masks > 0
    assert inside.any(axis=(1, 2)).all()
    beside = inside.any(axis=2, keepdims=True) & ~inside
    pairs = [(image[0][m].mean(), image[0][b].mean()) for image, m, b in zip(images.images, inside, beside, strict=True)]
    assert np.mean([lesion < tissue for lesion, tissue in pairs]) > 0.95


def test_the_convex_probe_sees_a_sector() -> None:
    """The upper corners of a convex image are black, those of a linear one are not."""
    images = phantoms(24, seed=5)
    assert images.groups is not None
    corner = images.images[:, 0, :6, :6].max(axis=(1, 2))
    convex = images.groups["probe"] == "convex"
    assert (corner[convex] == 0.0).all()
    assert (corner[~convex] > 0.0).all()


def test_images_of_one_patient_are_alike_and_not_the_same() -> None:
    """Smoothed over the speckle, two images of a patient are nearer to each other than images of two patients are."""
    images = phantoms(120, seed=6, patients=40, probes=("linear",))
    coarse = images.images.reshape(120, 8, 6, 8, 6).mean(axis=(2, 4)).reshape(120, -1)
    distance = np.linalg.norm(coarse[:, None] - coarse[None], axis=2)
    same = images.units[:, None] == images.units[None]
    own = distance[same & ~np.eye(120, dtype=bool)]
    assert np.median(own) < 0.7 * np.median(distance[~same])
    assert own.min() > 0.0


def test_the_classes_differ_and_overlap() -> None:
    """A single hand-made feature, brightness behind the lesion, tells the classes apart better than chance, not always."""
    images = phantoms(300, seed=7)
    assert images.masks is not None
    contrast = []
    for image, mask in zip(images.images[:, 0], images.masks, strict=True):
        behind = np.maximum.accumulate(mask, axis=0) > mask
        beside = behind.any(axis=1, keepdims=True) & ~mask.any(axis=0) & (image > 0.0)
        contrast.append(image[beside].mean() - image[behind].mean())
    score, label = np.array(contrast), images.labels
    area = np.mean(score[label == 1][:, None] > score[label == 0][None])
    assert 0.75 < area < 0.995


def test_files_hold_the_images(tmp_path: Path) -> None:
    """An image is written to its class as 8-bit grey PNG, its mask beside it, and another program reads the same pixels."""
    images = phantoms(8, seed=8, prefix="T", first_patient=41)
    written = write_phantoms(tmp_path, images)
    assert written[0].relative_to(tmp_path).as_posix() == "benign/T041_linear_1.png"
    assert len(list(tmp_path.rglob("*.png"))) == 16
    for row, path in enumerate(written):
        assert path.parent.name == CLASSES[int(images.labels[row])]  # type: ignore[index]
        with Image.open(path) as file:
            assert file.mode == "L"
            assert np.abs(np.asarray(file) / 255.0 - images.images[row, 0]).max() <= 0.5 / 255.0 + 1e-6
        with Image.open(path.with_name(f"{path.stem}_mask.png")) as file:
            assert np.array_equal(np.asarray(file) > 0, images.masks[row] > 0)  # type: ignore[index]


def test_the_arms_of_the_quickstart_share_no_patient() -> None:
    """300 training images of 150 patients, 300 test images of 300 others."""
    train, test = arm("train"), arm("test")
    assert (len(train), train.n_patients, len(test), test.n_patients) == (300, 150, 300, 300)
    assert not set(train.patients or ()) & set(test.patients or ())
    with pytest.raises(ValueError, match="train or test"):
        arm("validation")


def test_the_command_writes_both_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m harness.phantoms FOLDER` writes train and test below the folder; without one it says how it is used."""
    assert main([str(tmp_path)]) == 0
    assert [len(list((tmp_path / arm).rglob("*.png"))) for arm in ("train", "test")] == [600, 600]
    assert "300 images" in capsys.readouterr().out
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert main([str(tmp_path), "--size", "4"]) == 2
    assert "--size at least 16" in capsys.readouterr().err


def test_size_and_number_of_an_example_are_chosen(tmp_path: Path) -> None:
    """The patients of a smaller set of another size are still those of the quickstart."""
    assert main([str(tmp_path), "--n", "6", "--size", "64"]) == 0
    written = sorted(path.name for path in (tmp_path / "train").rglob("*.png") if not path.stem.endswith("_mask"))
    assert len(written) == 6
    assert set(written) <= {f"{name}.png" for name in arm("train").ids}
    assert arm("train", 6, 64).size_px == (64, 64)
    assert not set(arm("train", 320, 16).patients or ()) & set(arm("test", 320, 16).patients or ())


def test_patients_do_not_depend_on_how_many_there_are() -> None:
    """The first patients of a larger set are those of a smaller one with as many images each."""
    few, many = phantoms(6, seed=9, patients=2), phantoms(12, seed=9, patients=4)
    assert np.array_equal(few.images, many.images[:6])
    assert all(a != b for a, b in pairwise(many.ids))
