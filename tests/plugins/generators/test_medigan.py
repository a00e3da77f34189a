"""Model packages of medigan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, Request
from harness.testing import check
from harness_plugins.generators.medigan import Medigan

# torch says that it unpickles, which is what `trust: true` allows.
pytestmark = pytest.mark.filterwarnings("ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD:UserWarning")
# As the packages of medigan do: a network in the module, a checkpoint beside it, PNG files in output_path.
INIT = """
import logging
import os

import numpy as np
import torch
from monai.data import PILWriter

from .src.network import Generator


def generate(model_file, num_samples, output_path, save_images: bool, condition=None, image_size=8):
    checkpoint = torch.load(model_file, map_location="cpu")
    network = Generator()
    network.load_state_dict(checkpoint["generator"])
    network.eval()
    images = network(torch.randn(num_samples, 4, 1, 1)).detach().numpy()
    images = images + (1.0 if condition == "malignant" else 0.0)
    if not save_images:
        return images
    os.makedirs(output_path, exist_ok=True)
    with open("models/00099_TINY_DCGAN/seen.txt", "w") as seen:
        seen.write("a package may write beside itself")
    for k, image in enumerate(images):
        for end, pixels in (("", np.clip(image[0] / 2, 0, 1)), ("_mask", (image[0] > 0.5) * 1.0)):
            writer = PILWriter(np.uint8)
            writer.set_data_array(pixels, channel_dim=None)
            writer.write(f"{output_path}/{k}{end}.png")
"""
NETWORK = """
import torch.nn as nn


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.ConvTranspose2d(4, 4, 4, 1, 0), nn.ReLU(True), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, x):
        return self.main(x)
"""
MODEL = "00099_TINY_DCGAN"


def described(**execution: Any) -> dict[str, Any]:
    """Return a description in the form of medigan's global.json."""
    method = {
        "name": "generate",
        "args": {"base": ["model_file", "num_samples", "output_path", "save_images"], "custom": {"image_size": 8}},
    }
    own = {
        "package_name": "TINY", "package_link": "https://zenodo.org/record/1/files/TINY.zip?download=1", "model_name": "weights",
        "extension": ".pt", "image_size": [8, 8], "dependencies": ["numpy", "torch"], "generate_method": method,
    }  # fmt: skip
    return {MODEL: {"execution": own | execution, "selection": {}, "description": {}}}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return an unzipped package with the weights of an untrained network."""
    import torch

    path = tmp_path / "unzipped" / "TINY"
    (path / "src").mkdir(parents=True)
    (path / "__init__.py").write_text(INIT)
    (path / "src" / "__init__.py").touch()
    (path / "src" / "network.py").write_text(NETWORK)
    (path / "metadata.json").write_text(json.dumps(described()))
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({"generator": names["Generator"]().state_dict(), "epoch": np.float64(3.0)}, path / "weights.pt")
    return path


def ask(generator: Medigan, folder: Path, n: int = 3, seed: int = 1, **known: Any) -> Path:
    """Return the folder that the package filled for a request for n images."""
    folder.mkdir(parents=True, exist_ok=True)
    return generator.sample(Request(n, **known), Context(seed, folder))


def files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by their path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_package_runs_in_a_process_of_its_own(package: Path, tmp_path: Path) -> None:
    """Images and masks come back numbered, nothing is written into the package, and its copy is gone."""
    before = files(package)
    generator = Medigan(path=package, trust=True, batch=2, image_files="[0-9].png", mask_files="*_mask.png")
    made = files(ask(generator, tmp_path / "a", 3))
    assert sorted(made) == [f"0000{k}{end}.png" for k in range(3) for end in ("", "_mask")]
    assert len(set(made.values())) >= 3
    assert files(package) == before
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["command.log", "images", "synthetic"]
    assert generator.inputs() == (package,)


def test_a_package_that_fails_ends_the_process(package: Path, tmp_path: Path, in_process: None) -> None:
    """What the package lacks is not caught, and its copy is gone then too."""
    (package / "src" / "network.py").write_text("import a_package_that_is_missing")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        ask(Medigan(path=package, trust=True), tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["images"]


def test_the_seed_decides_each_image(package: Path, tmp_path: Path, in_process: None) -> None:
    """The same seed gives the same files however many are wanted; another seed gives others."""
    generator = Medigan(path=package, trust=True, batch=2, mask_files="*_mask.png")
    made = files(ask(generator, tmp_path / "a", 3))
    assert files(ask(generator, tmp_path / "b", 1)).items() <= made.items()
    assert files(ask(generator, tmp_path / "c", 3)) == made
    assert files(ask(generator, tmp_path / "d", 3, seed=2)) != made


def test_it_conforms(package: Path, in_process: None) -> None:
    """The generator keeps the promises of its kind."""
    check(Medigan(path=package, trust=True, mask_files="*_mask.png"), n=4)


def test_labels_become_arguments(package: Path, tmp_path: Path, in_process: None) -> None:
    """Each label is made with its own arguments and put into the folder of its name."""
    options: dict[str, Any] = {"by_label": ({"condition": "benign"}, {"condition": "malignant"}), "label_names": ("benign", "malignant")}
    generator = Medigan(path=package, trust=True, batch=2, image_files="[0-9].png", **options)
    made = ask(generator, tmp_path / "a", 3, labels=np.array([1, 0, 1]))
    assert sorted(files(made)) == ["benign/00001.png", "malignant/00000.png", "malignant/00002.png"]


def test_a_package_that_seeds_itself_is_noticed(package: Path, tmp_path: Path, in_process: None) -> None:
    """Calls with other seeds and the same first image are refused."""
    (package / "__init__.py").write_text(INIT.replace("    network.eval()", "    torch.manual_seed(7)"))
    with pytest.raises(InputError, match="bit by bit"):
        ask(Medigan(path=package, trust=True, batch=1, mask_files="*_mask.png"), tmp_path / "a")


def test_a_wrong_number_of_files_is_refused(package: Path, tmp_path: Path, in_process: None) -> None:
    """Masks that no pattern sets apart make twice as many files; the message names some of them."""
    with pytest.raises(InputError, match="a call for 2 images left 4 files that fit image_files") as caught:
        ask(Medigan(path=package, trust=True, batch=2), tmp_path / "a")
    assert "0_mask.png" in str(caught.value)


def test_a_model_of_a_list_is_chosen(package: Path, tmp_path: Path, in_process: None) -> None:
    """With all models in one file, model_id says which; the key `generator` of older files is read too."""
    old = described()[MODEL]["execution"]
    old["generator"] = old.pop("generate_method")
    table = tmp_path / "global.json"
    table.write_text(json.dumps({MODEL: {"execution": old}, "00098_OTHER": described()[MODEL]}))
    generator = Medigan(path=package.parent, trust=True, config=table, model_id=MODEL, batch=1, mask_files="*_mask.png")
    assert len(files(ask(generator, tmp_path / "work", 1))) == 2
    assert generator.inputs() == (package.parent, table)
    with pytest.raises(InputError, match="describes 2 models"):
        ask(Medigan(path=package, trust=True, config=table), tmp_path / "b")
    with pytest.raises(InputError, match=f"did you mean {MODEL}"):
        ask(Medigan(path=package, trust=True, config=table, model_id="00099_TINY_DCGA"), tmp_path / "c")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is no JSON file"),
        ("{}", "describes no medigan model"),
        (json.dumps({"../x": described()[MODEL]}), "the model id '../x' is not made of letters"),
        (json.dumps(described(model_name="other")), "the checkpoint 'other.pt' is not there"),
        (json.dumps(described(generate_method={})), "names no generate method"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(package: Path, tmp_path: Path, content: str, what: str) -> None:
    """The message says what is wrong with the file or the folder, and what to do, before anything runs."""
    (package / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=what) as caught:
        ask(Medigan(path=package, trust=True), tmp_path / "work")
    assert len(caught.value.lines()) <= 3


def test_a_folder_that_is_no_package_is_refused(package: Path, tmp_path: Path) -> None:
    """A folder that is missing, without a description, or without __init__.py is named."""
    for remove, what in (("__init__.py", "holds no __init__.py"), ("metadata.json", r"holds no metadata.json and no config/\*.json")):
        (package / remove).unlink()
        with pytest.raises(InputError, match=what):
            ask(Medigan(path=package, trust=True), tmp_path / "work")
    with pytest.raises(InputError, match="no such folder"):
        ask(Medigan(path=tmp_path / "absent", trust=True), tmp_path / "work")
    with pytest.raises(InputError, match="cannot be read"):
        ask(Medigan(path=package, trust=True, config=tmp_path / "absent.json"), tmp_path / "work")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "write trust: true"),
        ({"trust": True, "arguments": {"num_samples": 3}}, "num_samples is set by the audit"),
        ({"trust": True, "by_label": ({},)}, "one name for each entry of by_label, got 0 for 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], what: str) -> None:
    """Trust and options are checked when the audit is planned, before anything is read or run."""
    with pytest.raises(ValidationError, match=what):
        Medigan(path="package", **options)
