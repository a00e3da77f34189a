"""The quick look: folders or feature files in, one row per quantity out, and bad input said in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness import datasets, quick, specfile
from harness.api import Comparison, Context, Extractor, ImageSet, InputError, Metric, NotComputable, Quantity
from harness.errors import HarnessError, SpecError
from harness.host import Host, Offer
from harness.phantoms import CLASSES
from harness.testing import measure
from tiny_audit import Project

HOST = Host.discover()
SMALL = {"half_samples": 10, "floor_splits": 4}
MASKS = {"masks": {"suffix": "_mask"}}


def refs(*texts: str) -> Any:
    """Return references as the command line makes them."""
    return quick.references(texts, specfile.flow, "--metric")


def rows(asked: quick.Look, host: Host = HOST) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows of a look by quantity and extractor."""
    table = quick.look(asked, host)
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


def images(project: Project, **changes: Any) -> quick.Look:
    """Return a small look at the folders of the project."""
    folder, given = project.folder, {"metrics": refs("frechet"), "extractors": refs("pixels"), "data": MASKS}
    given |= {"real": folder / "test", "synthetic": folder / "synthetic", "train": folder / "train"}
    return quick.Look(**(given | SMALL | changes))


def offering(*components: type[Extractor] | type[Metric]) -> Host:
    """Return the host with these components besides those installed."""
    added = {(c.kind, c.name): Offer(c.kind, c.name, c.version, "test", c) for c in components}
    return Host(HOST.offers | added)


class Means(Extractor):
    """Mean of every image, in double precision."""

    name = "means"
    version = "1"

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the means and their squares."""
        means = images.images.mean(axis=(1, 2, 3), dtype=np.float64)
        return np.stack([means, means**2], axis=1)


class Gap(Metric):
    """Difference of the mean features, of which the first side is described as each test says."""

    name = "gap"
    version = "1"
    quantities = (Quantity(name="gap", better="lower"),)
    answer: ClassVar[Callable[[ImageSet], np.ndarray]]

    def describe(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the mean of every image, or what the test says."""
        return type(self).answer(images)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        """Return the difference of the means."""
        return {"gap": float(comparison.features("synthetic").mean() - comparison.features("train").mean())}


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
        "nan.npy": "nan.npy: holds values that are not finite in 1 of 70 rows, the first is row 41",
        "other.npz": "holds no array `features`; it holds values",
        "torn.npy": "torn.npy: is not an array file",
        ".": "folders of images and files with features cannot be compared",
    }
    for name, said in cases.items():
        with pytest.raises(HarnessError, match=said):
            quick.look(look(features, synthetic=tmp_path / name), HOST)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["artefacts"], "artefacts looks at images, and only features were given"),
        (["inception_score"], r"inception_score works on logits, which nothing here gives \(file: embedding\)"),
        (["frechet", "frechet"], "frechet is listed twice\n  list it once, or give one of them another name with the option `as`"),
        (["{vendi: {as: one}}", "{frechet: {as: one}}"], "one is listed twice"),
        (["default", "default"], "default is listed twice"),
        (["{default: {x: 1}}"], "`default` stands for many metrics and takes no options"),
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
    with pytest.raises(HarnessError, match="as: 'No Name' is no name"):
        refs("{frechet: {as: No Name}}")
    for text in ("{train: here}", "{validation_share: 0.3}", "{windw: [0, 1]}", "text"):
        with pytest.raises(HarnessError, match="--data"):
            quick.data_options(text, specfile.flow, "--data")


@pytest.mark.parametrize("splits", [-1, 1, 2, 3])
def test_too_few_splits_for_a_floor_are_refused(features: Path, splits: int) -> None:
    """A floor needs splits to scatter over; none at all are none."""
    with pytest.raises(SpecError, match=f"--floor-splits: {splits} splits .*\n  give 0, for no floors, or at least 4"):
        quick.look(look(features, floor_splits=splits), HOST)
    row = rows(look(features, floor_splits=0))["frechet.fid", "file"]
    assert row["value"] is not None
    assert row["floor"] is None


def test_files_without_an_array_are_refused(features: Path, tmp_path: Path) -> None:
    """An empty, torn or foreign file is called what it is, in words of our own."""
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "junk.npz").write_bytes(b"no array at all")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez_compressed(tmp_path / "flipped.npz", features=np.ones((90, 5)))
    whole = bytearray((tmp_path / "flipped.npz").read_bytes())
    whole[60:90] = b"\xff" * 30
    (tmp_path / "flipped.npz").write_bytes(whole)
    for name in ("empty.npy", "junk.npz", "torn.npz", "objects.npy", "flipped.npz"):
        with pytest.raises(InputError) as caught:
            quick.look(look(features, synthetic=tmp_path / name), HOST)
        path = tmp_path / name
        assert caught.value.lines() == [f"{path}: is not an array file", "  write it with numpy.save or numpy.savez"]
    np.savez(tmp_path / "named.npz", features=np.ones((9, 5)), patients=np.array(["a", "b"]))
    with pytest.raises(InputError, match=r"named.npz: `patients` must hold 9 names, one per row, got shape \(2,\)"):
        quick.look(look(features, synthetic=tmp_path / "named.npz"), HOST)


def test_files_say_what_they_hold(features: Path) -> None:
    """Logits are measured by what works on logits, and by nothing else."""
    found = rows(look(features, gives="logits", metrics=refs("inception_score")))
    assert found["inception_score.inception_score", "file"]["value"] >= 1.0
    suite = rows(look(features, gives="logits", metrics=refs("default")))
    assert ("inception_score.inception_score", "file") in suite
    assert ("frechet.fid", "file") not in suite
    with pytest.raises(SpecError, match=r"frechet works on embedding or spatial, which nothing here gives \(file: logits\)"):
        quick.look(look(features, gives="logits"), HOST)
    with pytest.raises(SpecError, match="--gives: features cannot be 'pictures'\n  known: embedding, spatial, logits, distances"):
        quick.look(look(features, gives="pictures"), HOST)


def test_what_makes_no_difference_is_refused(features: Path, project: Project) -> None:
    """Extractors and rules of files do not apply to features, `gives` does not apply to images, nor an extractor that nothing uses."""
    with pytest.raises(SpecError, match="--extractor: features were given"):
        quick.look(look(features, extractors=refs("pixels")), HOST)
    with pytest.raises(SpecError, match="--data: features were given"):
        quick.look(look(features, data={"labels": "folder"}), HOST)
    with pytest.raises(SpecError, match="--gives: only of feature files"):
        quick.look(images(project, gives="embedding"), HOST)
    with pytest.raises(SpecError, match="no metric that was asked for works on what pixels gives, embedding"):
        quick.look(images(project, metrics=refs("artefacts")), HOST)


def test_a_metric_goes_by_the_name_it_was_given(features: Path) -> None:
    """One metric can be listed twice under two names; one with another name leaves the plain one in the suite."""
    found = rows(look(features, metrics=refs("frechet", "{frechet: {as: again}}")))
    assert found["again.fid", "file"]["value"] == found["frechet.fid", "file"]["value"]
    suite = {quantity for quantity, _ in rows(look(features, half_samples=10, metrics=refs("default", "{frechet: {as: again}}")))}
    assert {"frechet.fid", "again.fid"} <= suite


def test_an_extractor_is_listed_once(project: Project) -> None:
    """Two extractors of one name would share one row."""
    with pytest.raises(SpecError, match="--extractor: pixels is listed twice"):
        quick.look(images(project, extractors=refs("pixels", "{random_conv: {as: pixels}}")), HOST)


def test_an_extractor_that_cannot_work_is_a_mistake_of_the_command(project: Project) -> None:
    """What it lacks is said before it runs; an answer that it has no features is said in its words."""

    class Hopeless(Means):
        """Never has features."""

        name = "hopeless"

        def extract(self, images: ImageSet, context: Context) -> np.ndarray:
            """Say so."""
            raise NotComputable("needs larger images")

    class Boundless(Means):
        """Has features that no single precision holds."""

        name = "boundless"

        def extract(self, images: ImageSet, context: Context) -> np.ndarray:
            """Return them."""
            return np.full((len(images), 2), 1e200)

    with pytest.raises(SpecError, match="--extractor: task_network needs labels, which these images do not have"):
        quick.look(images(project, extractors=refs("task_network")), HOST)
    with pytest.raises(SpecError, match="--extractor: hopeless: needs larger images"):
        quick.look(images(project, extractors=refs("hopeless")), offering(Hopeless))
    with pytest.raises(HarnessError, match="boundless returned 192 values that are not finite in float32"):
        quick.look(images(project, extractors=refs("boundless")), offering(Boundless))


def test_features_are_rounded_as_in_an_audit(project: Project) -> None:
    """An extractor in double precision gives the numbers that an audit stores, single ones."""

    class Single(Means):
        """The same in single precision."""

        name = "single"

        def extract(self, images: ImageSet, context: Context) -> np.ndarray:
            """Return the means."""
            return super().extract(images, context).astype(np.float32)

    found = rows(images(project, extractors=refs("means", "single")), offering(Means, Single))
    assert found["frechet.fid", "means"]["value"] == found["frechet.fid", "single"]["value"]


def refusing(images: ImageSet) -> np.ndarray:
    """Say that there is no number."""
    raise NotComputable("needs colour")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusing, "needs colour"),
        (lambda images: np.full((len(images), 1), np.nan), "gap returned 96 values that are not finite in float32"),
        (lambda images: np.zeros((3, 1)), r"gap returned an array of shape (3, 1) for 96 images; promised (N, F)"),
    ],
)
def test_a_metric_that_cannot_describe_images_has_rows_with_the_reason(project: Project, answer: Any, reason: str) -> None:
    """The other metrics are measured all the same."""
    kind = type("Broken", (Gap,), {"__doc__": "A gap.", "answer": staticmethod(answer)})
    found = rows(images(project, metrics=refs("gap", "frechet")), offering(kind))
    assert (found["gap.gap", ""]["value"], found["gap.gap", ""]["reason"]) == (None, reason)
    assert found["frechet.fid", "pixels"]["value"] is not None


def test_a_metric_that_fails_does_not_end_the_table(features: Path, tmp_path: Path) -> None:
    """Features too large to be squared leave every metric without a number, and each says why."""
    for name in ("train", "real", "synthetic"):
        np.save(tmp_path / f"{name}.npy", np.load(features / f"{name}.npy").astype(np.float64) * 1e200)
    found = rows(look(tmp_path, metrics=refs("frechet", "manifold")))
    assert {quantity.split(".")[0] for quantity, _ in found} == {"frechet", "manifold"}
    assert all(row["value"] is None and row["reason"] for row in found.values())
    assert "too large to be squared" in found["manifold.coverage", "file"]["reason"]


def test_the_synthetic_folder_may_have_a_layout_of_its_own(project: Project) -> None:
    """What `data.synthetic` selects is what is measured; without it the layout of the real images holds."""
    whole = rows(images(project))["frechet.fid", "pixels"]
    part = rows(images(project, data=MASKS | {"synthetic": MASKS | {"files": f"{CLASSES[0]}/*.png"}}))["frechet.fid", "pixels"]
    assert whole["n"] == 60
    assert part["n"] == sum(not path.stem.endswith("_mask") for path in (project.folder / "synthetic" / CLASSES[0]).iterdir())
    assert part["n"] < 60


def test_a_table_lists_real_images_only(project: Project) -> None:
    """Labels of a table are not asked of synthetic images, as in an audit."""
    real = [path for side in ("train", "test") for path in (project.folder / side).rglob("*.png") if not path.stem.endswith("_mask")]
    table = project.folder / "table.csv"
    table.write_text("\n".join(["file,label", *(f"{path.name},{path.parent.name}" for path in real)]), encoding="utf-8")
    data = MASKS | {"csv": {"path": str(table)}, "labels": {"column": "label"}}
    assert rows(images(project, data=data))["frechet.fid", "pixels"]["value"] is not None


def test_real_images_are_read_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they stand for the training images too, no file is read twice."""
    read: list[str] = []

    def load(data: Any, folder: Path, *arguments: Any, **options: Any) -> datasets.Loaded:
        read.append(folder.name)
        return original(data, folder, *arguments, **options)

    original = datasets.load
    monkeypatch.setattr(datasets, "load", load)
    assert rows(images(project, train=None))["frechet.fid", "pixels"]["value"] is not None
    assert read == ["test", "synthetic"]
