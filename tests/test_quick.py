"""The quick look: folders or feature files in, one row per quantity out, and bad input said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import quick, specfile
from harness.errors import HarnessError
from harness.host import Host
from harness.testing import measure
from tiny_audit import Project

HOST = Host.discover()
SMALL = {"half_samples": 10, "floor_splits": 4}


def refs(*texts: str) -> Any:
    """Return references as the command line makes them."""
    return quick.references(texts, specfile.flow, "--metric")


def rows(asked: quick.Look) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of a look by quantity and extractor."""
    table = quick.look(asked, HOST)
    return {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with feature files of 80 train, 60 test and 70 synthetic images."""
    folder, rng = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    for name, n in (("train", 80), ("real", 60), ("synthetic", 70)):
        np.save(folder / f"{name}.npy", rng.normal(size=(n, 5)).astype(np.float32))
    return folder


def look(folder: Path, **changes: Any) -> quick.Look:
    """Return a small look at the feature files."""
    given = {"real": folder / "real.npy", "synthetic": folder / "synthetic.npy", "train": folder / "train.npy", "metrics": refs("frechet")}
    return quick.Look(**(given | SMALL | changes))


def test_feature_files(features: Path) -> None:
    """The value is the metric's own, with interval, floor and number of images."""
    row = rows(look(features))["frechet.fid", "file"]
    train, test, synthetic = (np.load(features / f"{name}.npy") for name in ("train", "real", "synthetic"))
    assert row["value"] == measure("frechet", train=train, test=test, synthetic=synthetic)["fid"]
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert row["floor_low"] <= row["floor"] <= row["floor_high"]
    assert (row["n"], row["better"], row["reason"]) == (70, "lower", "")


def test_without_train_the_real_images_stand_for_it(features: Path) -> None:
    """Distances are to the real images; what needs images that the generator did not see says that there are none."""
    found = rows(look(features, train=None, metrics=refs("frechet", "memorisation")))
    against = rows(look(features, train=features / "real.npy"))["frechet.fid", "file"]
    assert found["frechet.fid", "file"]["value"] == against["value"]
    copied = found["memorisation.copied_share", "file"]
    assert copied["value"] is None
    assert "test" in copied["reason"]


def test_patients_of_a_feature_file_are_resampled_whole(features: Path, tmp_path: Path) -> None:
    """An .npz may say whose image each row is; the interval then counts patients."""
    values = np.load(features / "train.npy")
    np.savez(tmp_path / "train.npz", features=values, patients=np.repeat([f"p{i}" for i in range(20)], 4))
    table = quick.look(look(features, train=tmp_path / "train.npz"), HOST)
    assert table.rows
    with_images = rows(look(features))["frechet.fid", "file"]
    assert rows(look(features, train=tmp_path / "train.npz"))["frechet.fid", "file"]["ci_low"] != with_images["ci_low"]


def test_folders_of_images(project: Project) -> None:
    """Folders are read as an audit reads them; metrics on images are measured once, those on features once per extractor."""
    asked = quick.Look(
        real=project.folder / "test", synthetic=project.folder / "synthetic", train=project.folder / "train",
        metrics=refs("frechet", "artefacts"), extractors=refs("pixels", "{random_conv: {side: 16, as: small}}"),
        data={"labels": "folder", "patients": {"pattern": r"P\d+"}, "masks": {"suffix": "_mask"}}, **SMALL,
    )  # fmt: skip
    found = rows(asked)
    assert {key for key in found if key[0] == "frechet.fid"} == {("frechet.fid", "pixels"), ("frechet.fid", "small")}
    assert found["artefacts.checkerboard", ""]["value"] is not None
    assert all(row["value"] is not None or row["reason"] for row in found.values())


def test_the_suite_is_what_the_input_allows(features: Path) -> None:
    """On features alone, metrics that look at images are left out."""
    found = rows(look(features, metrics=refs("default")))
    assert {"frechet.fid", "kernel.kid", "manifold.coverage"} <= {quantity for quantity, _ in found}
    assert not any(quantity.startswith("artefacts") for quantity, _ in found)


def test_bad_input_is_said_in_words(features: Path, tmp_path: Path) -> None:
    """What is wrong, where, and what to do."""
    np.save(tmp_path / "wide.npy", np.zeros((30, 6), np.float32))
    np.save(tmp_path / "flat.npy", np.zeros(30, np.float32))
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    bad = np.load(features / "synthetic.npy")
    bad[41, 2] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    np.savez(tmp_path / "other.npz", values=bad)
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY\x01")
    cases = {
        "nowhere.npy": "there is no such folder or file",
        "wide.npy": "the numbers of features differ: 5 in .*train.npy and 6 in .*wide.npy",
        "flat.npy": r"must hold numbers of shape \(N, F\), got float32 \(30,\)",
        "words.npy": "must hold numbers of shape",
        "nan.npy": "nan.npy, row 41: holds values that are not finite",
        "other.npz": "holds no array `features`; it holds values",
        "torn.npy": "cannot be read as an array",
        ".": "folders of images and files with features cannot be compared",
    }
    for name, said in cases.items():
        with pytest.raises(HarnessError, match=said):
            quick.look(look(features, synthetic=tmp_path / name), HOST)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["artefacts"], "artefacts looks at images, and only features were given"),
        (["mask_plausibility"], "needs masks, which these images do not have"),
        (["fid"], "did you mean frechet"),
        (["{frechet: {kk: 3}}"], "frechet has no option 'kk'"),
    ],
)
def test_metrics_that_cannot_be_measured_are_refused(features: Path, texts: list[str], said: str) -> None:
    """A metric that was named is never left out silently."""
    with pytest.raises(HarnessError, match=said):
        quick.look(look(features, metrics=refs(*texts)), HOST)


def test_options_of_the_command_line() -> None:
    """A component is a name or a mapping of one line; data is what model.yaml has under `data`."""
    assert refs("{vendi: {order: 2}}")[0].options == {"order": 2}
    assert quick.data_options("{labels: folder}", specfile.flow, "--data") == {"labels": "folder"}
    for text in ("[1, 2]", "{a: 1, b: 2}", "{unclosed", "{x: &a 1}"):
        with pytest.raises(HarnessError, match="--metric"):
            refs(text)
    for text in ("{train: here}", "{windw: [0, 1]}", "text"):
        with pytest.raises(HarnessError, match="--data"):
            quick.data_options(text, specfile.flow, "--data")
