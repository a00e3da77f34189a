"""The quickstart audit: its generator does what its README says, and its two plans ask the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import specfile
from harness.phantoms import phantoms, write_phantoms


@pytest.fixture(scope="session")
def folder(root: Path) -> Path:
    """Return the folder of the quickstart audit."""
    return root / "audits" / "quickstart"


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of training images."""
    path = tmp_path_factory.mktemp("quickstart") / "train"
    write_phantoms(path, phantoms(36, seed=1, patients=18))
    return path


def run(script: Path, *words: str | Path) -> None:
    """Run a script of the audit with its own interpreter."""
    subprocess.run([sys.executable, script, *map(str, words)], check=True, capture_output=True, timeout=60)


def made(folder: Path, train: Path, out: Path, variant: str, seed: int = 5) -> dict[str, bytes]:
    """Return the images, not the masks, that a variant writes, by their path."""
    run(folder / "generate.py", variant, "--n", "30", "--seed", str(seed), "--out", out, "--train", train)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the images of a folder by their path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png") if not p.stem.endswith("_mask")}


def test_the_faithful_variant_draws_new_images(folder: Path, train: Path, tmp_path: Path) -> None:
    """None of its images is a training image, both probes and both classes are made, and the seed decides."""
    found = made(folder, train, tmp_path / "a", "faithful")
    assert len(found) == 30
    assert not set(found.values()) & set(contents(train).values())
    assert {name.split("_")[1] for name in found} == {"linear", "convex"}
    assert {name.split("/")[0] for name in found} == {"benign", "malignant"}
    assert found == made(folder, train, tmp_path / "b", "faithful")
    assert found != made(folder, train, tmp_path / "c", "faithful", seed=6)


def test_the_copying_variant_copies_and_drops_a_probe(folder: Path, train: Path, tmp_path: Path) -> None:
    """Six in ten of its images are training images of their own class under new names, and none is of the convex probe."""
    found = made(folder, train, tmp_path / "a", "copying")
    originals = {content: name.split("/")[0] for name, content in contents(train).items()}
    copies = {name: originals[content] for name, content in found.items() if content in originals}
    assert len(found) == 30
    assert len(copies) == 18
    assert all(name.split("/")[0] == label for name, label in copies.items())
    assert {name.split("_")[1] for name in found} == {"linear"}
    assert found == made(folder, train, tmp_path / "b", "copying")
    assert len(list((tmp_path / "a").rglob("*_mask.png"))) == 30


def test_the_ratings_are_those_of_their_rule(folder: Path, tmp_path: Path) -> None:
    """The committed ratings and answers are what the script writes."""
    script = tmp_path / "make_ratings.py"
    script.write_bytes((folder / "make_ratings.py").read_bytes())
    run(script)
    for name in ("ratings.csv", "answers.jsonl"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_both_variants_make_the_rated_images(folder: Path, train: Path, tmp_path: Path) -> None:
    """The names in the ratings are names of images that either variant writes when asked for 300."""
    rated = {line.split(",")[0] for line in (folder / "ratings.csv").read_text().splitlines()[1:]}
    assert len(rated) == 60
    for variant in ("faithful", "copying"):
        out = tmp_path / variant
        run(folder / "generate.py", variant, "--n", "300", "--seed", "1", "--out", out, "--train", train)
        assert rated <= {name.removesuffix(".png") for name in contents(out)}


def test_both_plans_ask_the_same(folder: Path) -> None:
    """The two files differ in name, description and generator: data, criteria, bounds and doses are the same."""
    faithful, copying = (specfile.read(folder / name).spec for name in ("model.yaml", "copying.yaml"))
    assert faithful.plan() | {"audit": ""} == copying.plan() | {"audit": ""}
    assert faithful.generator != copying.generator


def test_copying_without_training_images_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    """The script names the command that makes the data."""
    words = (sys.executable, folder / "generate.py", "copying", "--n", "3", "--seed", "1", "--out", tmp_path, "--train", tmp_path / "no")
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "python -m harness.phantoms" in done.stderr
