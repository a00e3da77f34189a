"""Bundles of MONAI, run by their own inference configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, Request
from harness.testing import check
from harness_plugins.generators.monai_bundle import MonaiBundle

# MONAI's network needs the package einops; where that is missing, the bundle brings a network in its scripts, as others do.
NETWORK: dict[str, Any] = (
    {"_target_": "scripts.ldm_sampler.Denoiser", "channels": 2}
    if find_spec("einops") is None
    else {
        "_target_": "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet",
        "spatial_dims": 2, "in_channels": 2, "out_channels": 2, "channels": [8, 8], "attention_levels": [False, False],
        "num_res_blocks": 1, "norm_num_groups": 4,
    }
)  # fmt: skip
# The layout of the model zoo's latent diffusion bundles, with networks small enough for a test.
CONFIG: dict[str, Any] = {
    "imports": ["$import torch", "$from datetime import datetime", "$from pathlib import Path"],
    "bundle_root": ".",
    "model_dir": "$@bundle_root + '/models'",
    "output_dir": "$@bundle_root + '/output'",
    "create_output_dir": "$Path(@output_dir).mkdir(exist_ok=True)",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "output_postfix": "$datetime.now().strftime('sample_%Y%m%d_%H%M%S')",
    "latent_shape": [2, 8, 8],
    "autoencoder_def": {
        "_target_": "monai.networks.nets.autoencoderkl.AutoencoderKL",
        "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "latent_channels": 2, "channels": [8, 8], "num_res_blocks": 1,
        "norm_num_groups": 4, "attention_levels": [False, False], "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
    "network_def": NETWORK,
    "load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load(@model_dir + '/model_autoencoder.pt'))",
    "autoencoder": "$@autoencoder_def.to(@device)",
    "load_diffusion": "$@network_def.load_state_dict(torch.load(@model_dir + '/model.pt'))",
    "diffusion": "$@network_def.to(@device)",
    "noise_scheduler": {
        "_target_": "monai.networks.schedulers.ddim.DDIMScheduler",
        "_requires_": ["@load_diffusion", "@load_autoencoder"],
        "num_train_timesteps": 1000, "schedule": "scaled_linear_beta", "clip_sample": False,
    },
    "shift": 0.0,
    "noise": "$torch.randn([1] + @latent_shape).to(@device)",
    "set_timesteps": "$@noise_scheduler.set_timesteps(num_inference_steps=2)",
    "inferer": {"_target_": "scripts.ldm_sampler.LDMSampler", "_requires_": "@set_timesteps"},
    "sample": "$@inferer.sampling_fn(@noise, @autoencoder, @diffusion, @noise_scheduler) + @shift",
    "saver": {
        "_target_": "SaveImage", "_requires_": "@create_output_dir", "output_dir": "@output_dir", "output_postfix": "@output_postfix",
        "separate_folder": False, "output_ext": ".png", "scale": 255, "resample": False,
    },
    "run": ["$@saver(@sample[0])"],
}  # fmt: skip
SAMPLER = """
import torch

class Denoiser(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, timesteps):
        return self.conv(x)

class LDMSampler:
    @torch.no_grad()
    def sampling_fn(self, noise, autoencoder, diffusion, scheduler):
        image = noise
        for t in scheduler.timesteps:
            image, _ = scheduler.step(diffusion(image, timesteps=torch.Tensor((t,)).long()), t, image)
        return autoencoder.decode_stage_2_outputs(image)
"""


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with the weights of untrained networks."""
    import torch
    from monai.bundle import ConfigParser

    path = tmp_path_factory.mktemp("zoo") / "tiny_generative_diffusion"
    for name in ("configs", "models", "scripts"):
        (path / name).mkdir(parents=True)
    (path / "configs" / "inference.json").write_text(json.dumps(CONFIG))
    (path / "configs" / "metadata.json").write_text(json.dumps({"version": "0.0.1", "monai_version": "1.6.1"}))
    (path / "scripts" / "__init__.py").touch()
    (path / "scripts" / "ldm_sampler.py").write_text(SAMPLER)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        names: dict[str, Any] = {}
        exec(SAMPLER, names)
        parser = ConfigParser({"autoencoder_def": CONFIG["autoencoder_def"], "network_def": CONFIG["network_def"]})
        torch.save(parser.get_parsed_content("autoencoder_def").state_dict(), path / "models" / "model_autoencoder.pt")
        network = names["Denoiser"](2) if find_spec("einops") is None else parser.get_parsed_content("network_def")
        # A diffusion model is initialised with zeros at its end; training moves it away from them.
        moved = {name: value + 0.1 * torch.randn_like(value) for name, value in network.state_dict().items()}
        torch.save(moved, path / "models" / "model.pt")
    return path


@pytest.fixture
def bundle(zoo: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may change."""
    return shutil.copytree(zoo, tmp_path / "bundle")


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bundle that draws noise: quick, for what does not depend on the networks."""

    def write(**ids: Any) -> Path:
        config = {"imports": ["$import torch", "$import os"], "device": "$torch.device('cpu')", "noise": "$torch.rand(1, 1, 8, 8)"} | ids
        (tmp_path / "plain" / "configs").mkdir(parents=True)
        (tmp_path / "plain" / "configs" / "inference.json").write_text(json.dumps(config))
        return tmp_path / "plain"

    return write


def ask(generator: MonaiBundle, folder: Path, n: int = 2, seed: int = 1, **known: Any) -> Any:
    """Return what the bundle makes of a request for n images."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return generator.sample(Request(n, **({"spacing_mm": (0.5, 0.5)} | known)), Context(seed, folder / "work"))


def test_a_tensor_under_an_id_is_the_images(in_process: None, zoo: Path, tmp_path: Path) -> None:
    """Values of `sample` are brought to [0, 1]; the same seed gives the same bits however many are wanted, another seed others."""
    before = {p: p.read_bytes() for p in zoo.rglob("*") if p.is_file()}
    generator = MonaiBundle(path=zoo, trust=True, output="sample", intensity="image")
    made = ask(generator, tmp_path / "a", 2)
    assert isinstance(made, ImageSet)
    assert (made.images.shape, made.spacing_mm, made.origin, made.labels) == ((2, 1, 16, 16), (0.5, 0.5), "synthetic", None)
    assert made.images.min() == 0.0
    assert made.images.max() == 1.0
    assert np.array_equal(ask(generator, tmp_path / "b", 1).images, made.images[:1])
    assert not np.array_equal(ask(generator, tmp_path / "c", 1, seed=2).images, made.images[:1])
    # The bundle is an input of the audit: nothing may be written into it.
    assert {p: p.read_bytes() for p in zoo.rglob("*") if p.is_file()} == before
    assert generator.inputs() == (zoo,)


def test_files_that_the_run_saves_are_the_images(in_process: None, zoo: Path, tmp_path: Path) -> None:
    """The bundle's own `run` saves PNG files under names with the time; they come back numbered."""
    made = ask(MonaiBundle(path=zoo, trust=True), tmp_path)
    assert sorted(p.name for p in made.rglob("*") if p.is_file()) == ["00000.png", "00001.png"]
    assert len({p.read_bytes() for p in made.iterdir()}) == 2


def test_it_conforms(in_process: None, zoo: Path) -> None:
    """The generator keeps the promises of its kind."""
    check(MonaiBundle(path=zoo, trust=True, output="sample", intensity="image"), n=4, size_px=(16, 16))


def test_the_weights_decide(in_process: None, bundle: Path, tmp_path: Path) -> None:
    """Other weights in models/model.pt give other images with the same seed."""
    import torch

    generator = MonaiBundle(path=bundle, trust=True, output="sample", intensity="image")
    before = ask(generator, tmp_path / "a", 1).images
    file = bundle / "models" / "model.pt"
    torch.save({name: 1.5 * value for name, value in torch.load(file, weights_only=True).items()}, file)
    assert not np.allclose(ask(generator, tmp_path / "b", 1).images, before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_weights_are_loaded_by_an_override(in_process: None, bundle: Path, tmp_path: Path) -> None:
    """A bundle that brings models/model.ts runs it where the network was defined."""
    import torch

    decode = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(2, 1, 1), torch.nn.Sigmoid()))
    torch.jit.save(decode, bundle / "models" / "model.ts")
    overrides = {"network_def": "$torch.jit.load(@model_dir + '/model.ts')", "sample": "$@diffusion(@noise)"}
    made = ask(MonaiBundle(path=bundle, trust=True, output="sample", overrides=overrides), tmp_path, 1)
    assert made.images.shape == (1, 1, 8, 8)


def test_a_pickle_is_never_opened(bundle: Path, tmp_path: Path) -> None:
    """In the process of its own a run saves its files; the next one wants a checkpoint that holds more than tensors, and that ends it."""
    import torch

    torch.save({"anything": Path("x")}, bundle / "models" / "pickle.pt")
    asked = {"load_diffusion": "$@network_def.load_state_dict(torch.load(@model_dir + '/pickle.pt', weights_only=False))"}
    with pytest.raises(InputError, match="the MONAI bundle ended with exit code 1") as caught:
        ask(MonaiBundle(path=bundle, trust=True, by_label=({}, asked), label_names=("a", "b")), tmp_path, labels=np.array([0, 1]))
    assert str(bundle) in str(caught.value)
    assert "Weights only load failed" in (tmp_path / "work" / "command.log").read_text()
    assert [p.suffix for p in (tmp_path / "work" / "images" / "00000").iterdir()] == [".png"]
    assert not list((tmp_path / "work" / "images" / "00001").iterdir())


def test_what_is_no_number_ends_the_run(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """An id that holds words says so."""
    with pytest.raises(SystemExit, match="the id 'image' is no tensor or array of numbers but str"):
        ask(MonaiBundle(path=plain(image="$'a word'"), trust=True, output="image"), tmp_path, 1)


def test_each_label_has_its_overrides(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """Images of label 1 are made with the overrides of label 1, in the rows where they are wanted."""
    path = plain(level=0.0, image="$0.1 * @noise + @level")
    generator = MonaiBundle(path=path, trust=True, output="image", by_label=({"level": 0.0}, {"level": 0.8}))
    labels = np.array([1, 0, 1])
    made = ask(generator, tmp_path, 3, labels=labels)
    assert (made.images.reshape(3, -1).min(axis=1) > 0.7).tolist() == [True, False, True]
    assert np.array_equal(made.labels, labels)


def test_files_of_each_label_have_their_folder(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """Masks lie beside their images, both under the name of the label, however the bundle names them."""
    save = "numpy.save(@output_dir + '/' + str(@level) + '_%s.npy', @noise.numpy()[0, 0])"
    path = plain(
        imports=["$import torch", "$import numpy"], level=0, output_dir="elsewhere", run=[f"${save % 'image'}", f"${save % 'label'}"]
    )
    names = {"by_label": ({"level": 1}, {"level": 2}), "label_names": ("benign", "malignant")}
    files = {"image_files": "*_image.npy", "mask_files": "*_label.npy"}
    made = ask(MonaiBundle(path=path, trust=True, **names, **files), tmp_path, 3, labels=np.array([1, 0, 1]))
    found = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file())
    pairs = [f"{row}{end}.npy" for row in ("benign/00001", "malignant/00000", "malignant/00002") for end in ("", "_mask")]
    assert found == pairs


def test_several_images_of_a_run_and_their_masks(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """A run that makes three volumes fills three rows; masks and axes are brought into the audit's form."""
    path = plain(noise="$torch.rand(3, 1, 4, 5, 6)", mask="$(@noise[:, 0] > 0.5).long()")
    options = {"output": "noise", "mask_output": "mask", "images_per_run": 3, "axis_order": (2, 1, 0)}
    made = ask(MonaiBundle(path=path, trust=True, **options), tmp_path, 4, spacing_mm=(1.0, 1.0, 2.0))
    assert made.images.shape == (4, 1, 6, 5, 4)
    assert np.array_equal(made.masks, made.images[:, 0] > 0.5)
    assert made.masks.dtype == np.uint8


def test_a_bundle_that_seeds_itself_is_noticed(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """Two runs with the same image are refused, with the id to name; with seed_key each run has its own seed."""
    path = plain(random_seed=10, seeded="$torch.manual_seed(@random_seed)", image="$(@seeded, torch.rand(1, 1, 8, 8))[1]")
    with pytest.raises(InputError, match="bit by bit") as caught:
        ask(MonaiBundle(path=path, trust=True, output="image"), tmp_path / "a")
    assert "name its id as seed_key; this one has random_seed" in str(caught.value)
    made = ask(MonaiBundle(path=path, trust=True, output="image", seed_key="random_seed"), tmp_path / "b")
    assert not np.array_equal(made.images[0], made.images[1])


def test_intensities_are_mapped(in_process: None, plain: Callable[..., Path], tmp_path: Path) -> None:
    """The declared values become 0 and 1 and what lies outside is clipped."""
    path = plain(image="$torch.linspace(-1200, 600, 64).reshape(1, 8, 8) + 0 * @noise[0]")
    made = ask(MonaiBundle(path=path, trust=True, output="image", intensity=(-1000, 400)), tmp_path, 1)
    expected = np.clip((np.linspace(-1200, 600, 64).reshape(8, 8) + 1000) / 1400, 0, 1)
    assert np.allclose(made.images[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "options", "what"),
    [
        ("$torch.rand(8, 8)", {}, "gives an array of shape (8, 8)"),
        ("$torch.rand(2, 1, 8, 8)", {}, "it must be 1 images, channels, 2 axes"),
        ("$torch.full((1, 8, 8), float('nan'))", {}, "values that are not finite numbers"),
        ("$torch.zeros(1, 8, 8)", {}, "an image whose every pixel is 0"),
        ("$100 + torch.rand(1, 8, 8)", {}, "all outside [0, 1]"),
        ("$torch.rand(1, 8, 8)", {"axis_order": (2, 1, 0)}, "axis_order has 3"),
        ("$torch.rand(1, 8, 8)", {"mask_output": "half"}, "no whole numbers from 0 to 255"),
        ("$torch.rand(1, 8, 8)", {"mask_output": "small"}, "masks of shape"),
    ],
)
def test_what_is_no_image_is_refused(
    in_process: None, plain: Callable[..., Path], tmp_path: Path, image: str, options: dict[str, Any], what: str
) -> None:
    """The message names the id, what it gives, and what to do."""
    path = plain(image=image, half="$torch.full((1, 8, 8), 0.5)", small="$torch.zeros(1, 4, 4)")
    with pytest.raises(InputError) as caught:
        ask(MonaiBundle(path=path, trust=True, output="image", **options), tmp_path, 1)
    assert what in str(caught.value)
    assert len(caught.value.lines()) <= 3


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"output": "nois"}, "the option output names 'nois'"),
        ({"output": "noise", "mask_output": "mask"}, "the option mask_output names 'mask'"),
        ({"output": "noise", "seed_key": "seeds"}, "the option seed_key names 'seeds'"),
        ({"output": "noise", "overrides": {"nose": 1}}, "the option overrides names 'nose'"),
        ({}, "has none of the ids run, inferring, evaluating, generate"),
        ({"run": "rum"}, "the option run names 'rum'"),
        ({"config": "configs/other.json"}, "holds no configs/other.json"),
    ],
)
def test_ids_that_are_not_there_are_refused(plain: Callable[..., Path], tmp_path: Path, options: dict[str, Any], what: str) -> None:
    """Options that name nothing are refused before anything of the bundle runs."""
    with pytest.raises(InputError, match=what) as caught:
        ask(MonaiBundle(path=plain(), trust=True, **options), tmp_path)
    assert not (tmp_path / "work" / "command.log").exists()
    assert len(caught.value.lines()) <= 3


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "write trust: true"),
        ({"trust": True, "output": "x", "image_files": "*.png"}, "image_files has a meaning only where output is not given"),
        ({"trust": True, "intensity": (0, 255)}, "intensity has a meaning only together with output"),
        ({"trust": True, "output": "x", "intensity": (1, 1)}, "intensity must rise"),
        ({"trust": True, "output": "x", "axis_order": (0, 2)}, "each axis from 0 on once"),
        ({"trust": True, "by_label": ({}, {})}, "one name for each entry of by_label, got 0 for 2"),
        ({"trust": True, "by_label": ({}, {}), "label_names": ("a", "../b")}, "without slashes"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], what: str) -> None:
    """Trust and options are checked when the audit is planned, before anything is read or run."""
    with pytest.raises(ValidationError, match=what):
        MonaiBundle(path="bundle", **options)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("inference.json", "{", "cannot be read as a configuration"),
        ("inference.json", "[]", "it must map ids to values"),
        ("metadata.json", "{}", "holds no configs/inference.json"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, name: str, content: str, what: str) -> None:
    """A folder without a readable configuration is named, with what to do."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / name).write_text(content)
    with pytest.raises(InputError, match=what):
        ask(MonaiBundle(path=tmp_path, trust=True), tmp_path.parent / f"{tmp_path.name}_work")
    with pytest.raises(InputError, match="no such folder"):
        ask(MonaiBundle(path=tmp_path / "absent", trust=True), tmp_path.parent / f"{tmp_path.name}_work")


def test_yaml_needs_a_package(in_process: None, tmp_path: Path) -> None:
    """A YAML configuration runs where pyyaml is installed; elsewhere the message says what to install."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "inference.yaml").write_text("imports: [$import torch]\nnoise: '$torch.rand(1, 8, 8)'\n")
    generator = MonaiBundle(path=tmp_path / "bundle", trust=True, output="noise")
    try:
        import yaml  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install pyyaml"):
            ask(generator, tmp_path)
    else:
        assert ask(generator, tmp_path).images.shape == (2, 1, 8, 8)
