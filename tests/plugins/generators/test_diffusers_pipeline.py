"""Pipelines in the format of Hugging Face's diffusers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, NotComputable, Request
from harness.testing import check
from harness_plugins.generators.diffusers_pipeline import Diffusers

INSTALLED = importlib.util.find_spec("diffusers") is not None
needs_diffusers = pytest.mark.skipif(not INSTALLED, reason="needs the optional package diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of small untrained pipelines, saved by diffusers itself: without conditions, and with classes."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMPipeline,
        DDIMScheduler,
        DDPMPipeline,
        DDPMScheduler,
        DiTPipeline,
        DiTTransformer2DModel,
        UNet2DModel,
    )

    folder = tmp_path_factory.mktemp("pipelines")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
        unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **blocks
        )
        DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder / "ddpm")
        DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder / "ddim")
        transformer = DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=4, patch_size=2,
            num_embeds_ada_norm=1000, norm_num_groups=1,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(4, 4), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=2, sample_size=8,
        )  # fmt: skip
        with torch.no_grad():
            # Published transformers are trained away from the zeros that they are initialised with.
            for parameter in transformer.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        DiTPipeline(transformer, vae, DDIMScheduler()).save_pretrained(folder / "dit")
    return {path.name: path for path in folder.iterdir()}


def ask(generator: Diffusers, folder: Path, n: int = 3, seed: int = 1, **known: Any) -> Any:
    """Return what the pipeline makes of a request for n images."""
    return generator.sample(Request(n, **({"spacing_mm": (0.5, 0.5)} | known)), Context(seed, folder))


@needs_diffusers
@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_the_seed_decides_each_image(saved: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The same seed gives the same bits however many images are wanted; another seed gives others."""
    generator = Diffusers(path=saved[name], steps=2, batch=2)
    made = ask(generator, tmp_path, 3)
    assert (made.images.shape, made.spacing_mm, made.origin) == ((3, 1, 8, 8), (0.5, 0.5), "synthetic")
    assert np.array_equal(ask(generator, tmp_path, 1).images, made.images[:1])
    assert np.array_equal(ask(generator, tmp_path, 3).images, made.images)
    assert not np.array_equal(made.images[0], made.images[1])
    assert not np.array_equal(ask(generator, tmp_path, 1, seed=2).images, made.images[:1])
    assert generator.inputs() == (saved[name],)


@needs_diffusers
def test_it_conforms(saved: dict[str, Path]) -> None:
    """The generator keeps the promises of its kind."""
    check(Diffusers(path=saved["ddim"], steps=2), n=8, size_px=(8, 8))


@needs_diffusers
def test_labels_become_classes(saved: dict[str, Path], tmp_path: Path) -> None:
    """A label is the pipeline's class that class_ids names for it; colour becomes grey on request."""
    labels = np.array([0, 1, 0])
    first, second = (
        ask(Diffusers(path=saved["dit"], steps=2, class_ids=ids, grey=True), tmp_path, 3, labels=labels) for ids in ((0, 1), (0, 2))
    )
    assert first.images.shape == (3, 1, 8, 8)
    assert np.array_equal(first.labels, labels)
    assert np.array_equal(first.images[0], second.images[0])
    assert not np.array_equal(first.images[1], second.images[1])


@needs_diffusers
@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("ddpm", {"class_ids": (0, 1)}, "DDPMPipeline takes no class_labels"),
        ("ddpm", {"prompts": ("a scan",)}, "DDPMPipeline takes no prompt"),
        ("ddpm", {"arguments": {"guidance_scale": 2.0}}, "DDPMPipeline takes no guidance_scale"),
        ("dit", {}, "DiTPipeline takes a class_labels for each image"),
    ],
)
def test_what_the_pipeline_does_not_take_is_refused(
    saved: dict[str, Path], tmp_path: Path, name: str, options: dict[str, Any], what: str
) -> None:
    """The message names the pipeline, the argument, and the option to mend."""
    with pytest.raises(InputError, match=what):
        ask(Diffusers(path=saved[name], **options), tmp_path, labels=np.array([0, 1, 0]))


@needs_diffusers
def test_weights_that_do_not_fit_are_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    """A folder whose weights are missing or damaged is named, with what the library says."""
    path = shutil.copytree(saved["ddpm"], tmp_path / "damaged")
    (path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="the pipeline cannot be loaded") as caught:
        ask(Diffusers(path=path), tmp_path)
    assert len(caught.value.lines()) <= 3


def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where diffusers is not installed the message says how to install it."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install \"audit-harness\[diffusers\]\""):
        ask(Diffusers(path=tmp_path), tmp_path)


INDEX = json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]})


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "holds no model_index.json"),
        ({"model_index.json": "{"}, "is no JSON file"),
        ({"model_index.json": "{}"}, "names no pipeline in _class_name"),
        ({"model_index.json": INDEX, "unet/diffusion_pytorch_model.bin": ""}, r"diffusion_pytorch_model\.bin is not safetensors"),
        ({"model_index.json": INDEX, "unet/my_unet.py": ""}, r"brings Python code, unet/my_unet\.py"),
    ],
)
def test_what_is_no_safe_pipeline_is_refused(tmp_path: Path, files: dict[str, str], what: str) -> None:
    """Folders without an index, pickled weights and code are refused before anything is loaded."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=what) as caught:
        Diffusers(path=tmp_path)._require_safe()
    assert len(caught.value.lines()) <= 3
    with pytest.raises(InputError, match="no such folder"):
        Diffusers(path=tmp_path / "absent")._require_safe()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"class_ids": (0,), "prompts": ("a",)}, "class_ids or prompts, not both"),
        ({"class_ids": (-1,)}, "numbers from 0"),
        ({"arguments": {"generator": 1}}, "generator is set by the audit"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], what: str) -> None:
    """Options are checked when the audit is planned."""
    with pytest.raises(ValidationError, match=what):
        Diffusers(path="pipeline", **options)


def test_labels_that_are_not_there_are_said(tmp_path: Path) -> None:
    """Classes need labels that the data declare and the options describe; volumes are out of reach."""
    generator = Diffusers(path=tmp_path, class_ids=(0, 1))
    assert generator.conditions() == {"labels"}
    assert Diffusers(path=tmp_path, prompts=("one for all",)).conditions() == frozenset()
    with pytest.raises(NotComputable, match="the data declare none"):
        ask(generator, tmp_path)
    with pytest.raises(InputError, match="images of label 2 are wanted, and class_ids has 2 entries"):
        ask(generator, tmp_path, labels=np.array([2, 0, 1]))
    with pytest.raises(NotComputable, match="make 2D images"):
        ask(generator, tmp_path, spacing_mm=(1.0, 1.0, 1.0))
