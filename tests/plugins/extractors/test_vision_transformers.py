"""Facts about the embeddings of DINOv2, CLIP and BiomedCLIP, on tiny networks of the same build."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, NotComputable
from harness.testing import check
from harness_plugins.extractors.vision_transformers import BiomedClip, Clip, Dinov2, Preprocessing, preprocessing
from harness_plugins.extractors.vit import VisionTransformer

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
DINO: dict[str, Any] = SIZES | {"model_type": "dinov2", "image_size": 56, "mlp_ratio": 4, "layer_norm_eps": 1e-6}
TOWER: dict[str, Any] = SIZES | {"image_size": 28, "intermediate_size": 64, "layer_norm_eps": 1e-5}
OPEN_CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224},
        "text_cfg": {},
    },
    "preprocess_cfg": {"mean": OPENAI["image_mean"], "std": OPENAI["image_std"]},
}


def clip_config(**tower: Any) -> dict[str, Any]:
    """Return the configuration of a tiny CLIP."""
    return {"model_type": "clip", "projection_dim": 16, "vision_config": TOWER | tower}


def processor(size: int, crop: int, **fields: Any) -> dict[str, Any]:
    """Return a preprocessor_config.json: bicubic, cropped to the centre."""
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": crop, "width": crop}, "resample": 3}
    return sizes | {"do_rescale": True, "rescale_factor": 1 / 255} | IMAGENET | fields


# transformers 5.23.0 and torch 2.13.0 on CPU: the class token (pooler_output) of Dinov2Model, and the normalised projection of
# CLIPModel, for weights of `seeded` and `pictures` as preprocessed here: first five numbers of the second image, mean magnitude.
REFERENCE: dict[str, tuple[Any, dict[str, Any], dict[str, Any], list[float], float]] = {
    "dinov2, positions interpolated": (Dinov2, DINO, processor(32, 28), [1.772045, -1.682197, 0.492284, -0.056113, 0.35058], 0.8329168),
    "dinov2, gated as the giant": (
        Dinov2,
        DINO | {"use_swiglu_ffn": True},
        processor(64, 56),
        [0.967711, -1.018051, 0.499345, 0.050392, -0.896677],
        0.7738177,
    ),
    "clip, as OpenAI's": (
        Clip,
        clip_config(hidden_act="quick_gelu"),
        processor(28, 28, **OPENAI),
        [0.231962, -0.269944, -0.189212, 0.569162, -0.027458],
        0.1991177,
    ),
    "clip, as LAION's": (
        Clip,
        clip_config(hidden_act="gelu"),
        processor(28, 28, **OPENAI),
        [0.231317, -0.270566, -0.186822, 0.569762, -0.029961],
        0.1990397,
    ),
}


def seeded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return arrays of these shapes, drawn in the order of their names."""
    rng, state = np.random.default_rng(0), {}
    for name in sorted(shapes):
        drawn = rng.standard_normal(shapes[name], dtype=np.float32)
        if "norm" in name and name.endswith("weight"):
            drawn = 1 + 0.1 * drawn
        elif name.endswith("bias"):
            drawn *= 0.1
        elif drawn.ndim in (2, 4):
            drawn *= np.float32(1 / np.sqrt(np.prod(drawn.shape[1:])))
        state[name] = drawn
    return state


def write_safetensors(state: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Write float32 arrays in the format safetensors; return the options `weights` and `sha256`."""
    header, offset = {}, 0
    for name, array in state.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in state.values()))
    return {"weights": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def folder_of(kind: Any, config: dict[str, Any], processed: dict[str, Any], folder: Path) -> Any:
    """Write a folder with seeded weights; return the extractor that reads it."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(processed), encoding="utf-8")
    (folder / "model.safetensors").touch()
    path = folder / "model.safetensors"
    described = kind(weights=path, sha256=hashlib.sha256(b"").hexdigest()).described()[0]
    state = seeded(described.shapes()) | {"text_model.final_layer_norm.bias": np.zeros(3, np.float32)}
    return kind(**write_safetensors(state, path))


def pictures() -> ImageSet:
    """Return three grey images of 40 x 56 pixels of 8-bit noise."""
    grey = np.random.default_rng(7).integers(0, 256, (3, 1, 40, 56), dtype=np.uint8)
    return ImageSet((grey / np.float32(255)).astype(np.float32), ("a", "b", "c"), (1.0, 1.0))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context."""
    return Context(seed=1, workdir=tmp_path)


@pytest.fixture
def dinov2(tmp_path: Path) -> Dinov2:
    """Return a tiny DINOv2."""
    return folder_of(Dinov2, DINO, processor(32, 28), tmp_path)


@pytest.mark.parametrize("case", REFERENCE)
def test_embeddings_are_those_of_transformers(case: str, context: Context, tmp_path: Path) -> None:
    """The same weights and pixels in the library transformers gave the same embedding."""
    kind, config, processed, first, magnitude = REFERENCE[case]
    found = folder_of(kind, config, processed, tmp_path).extract(pictures(), context)
    assert found.dtype == np.float32
    assert found.shape == (3, 32 if kind is Dinov2 else 16)
    np.testing.assert_allclose(found[1, :5], first, atol=1e-5)
    assert np.abs(found).mean(dtype=np.float64) == pytest.approx(magnitude, abs=1e-5)


@pytest.mark.parametrize("case", REFERENCE)
def test_folders_saved_by_transformers_are_read(case: str, context: Context, tmp_path: Path) -> None:
    """A random model that `save_pretrained` writes gives that model's embedding, preprocessing within one 8-bit step of theirs."""
    pytest.importorskip("transformers", reason="transformers is not installed: the values that it gave are tested above")
    import torch
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    kind, config, processed, _, _ = REFERENCE[case]
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 100}
    special = {"bos_token_id": 1, "eos_token_id": 2}
    if kind is Dinov2:
        model = Dinov2Model(Dinov2Config(**config)).eval()
    else:
        model = CLIPModel(CLIPConfig(text_config=text | special, vision_config=config["vision_config"], projection_dim=16)).eval()
    model.save_pretrained(tmp_path)
    theirs = CLIPImageProcessorPil(**processed)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    extractor = kind(weights=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    pixels = extractor.described()[1](torch.from_numpy(pictures().images))
    with torch.inference_mode():
        if kind is Dinov2:
            expected = model(pixel_values=pixels).pooler_output
        else:
            expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
            expected = expected / expected.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(extractor.extract(pictures(), context), expected.numpy(), atol=1e-5)
    eight = [Image.fromarray((image[0] * 255).round().astype(np.uint8)).convert("RGB") for image in pictures().images]
    steps = np.abs(theirs(eight, return_tensors="np")["pixel_values"] - pixels.numpy()).max(axis=(0, 2, 3))
    assert (steps * np.asarray(processed["image_std"]) * 255 < 1.1).all()


def test_biomedclip_is_timms_network() -> None:
    """timm 1.0.31 with a linear projection gave the same embedding, for a tiny network of the same build."""
    import torch

    network = VisionTransformer("biomedclip", 32, 2, 2, 14, 2, 64, "gelu", 1e-6, 16)
    state = {name: torch.from_numpy(array) for name, array in seeded(network.shapes()).items()}
    images = torch.from_numpy(np.random.default_rng(3).standard_normal((3, 3, 28, 28), dtype=np.float32))
    with torch.inference_mode():
        found = network(images, state).numpy()
    np.testing.assert_allclose(found[1, :5], [0.472936, -2.246374, 0.345091, 1.695907, 0.828531], atol=1e-5)
    assert np.abs(found).mean(dtype=np.float64) == pytest.approx(0.826585, abs=1e-5)


def test_biomedclip_is_described_by_open_clips_file(context: Context, tmp_path: Path) -> None:
    """The base network of 86 million weights and 224 pixels; another tower, and a file of something else, are refused."""
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps(OPEN_CLIP), encoding="utf-8")
    given = write_safetensors({"visual.trunk.cls_token": np.zeros((1, 1, 768), np.float32)}, tmp_path / "open_clip_model.safetensors")
    extractor = BiomedClip(**given)
    network, prepare = extractor.described()
    assert sum(int(np.prod(shape)) for shape in network.shapes().values()) == 86_191_872
    assert network.features == 512
    assert (prepare.size, prepare.crop, prepare.kernel) == (224, (224, 224), "bicubic")
    assert extractor.inputs() == (given["weights"], path)
    with pytest.raises(InputError, match=r"not those of biomedclip as open_clip_config\.json describes it; 150 missing"):
        extractor.extract(pictures(), context)
    path.write_text(json.dumps(OPEN_CLIP).replace("vit_base_patch16_224", "convnext_base"), encoding="utf-8")
    with pytest.raises(InputError, match=r"vision_cfg\.timm_model_name: Input should be 'vit_base_patch16_224'"):
        extractor.extract(pictures(), context)


def test_keeps_the_promises_of_an_extractor(dinov2: Dinov2) -> None:
    """Conformance; weights and both descriptions are inputs."""
    check(dinov2, n=11, size_px=(30, 24))
    assert [path.name for path in dinov2.inputs()] == ["model.safetensors", "config.json", "preprocessor_config.json"]
    assert dinov2.gives() == "embedding"


def test_clip_has_length_one_unless_told_otherwise(context: Context, tmp_path: Path) -> None:
    """`l2_normalise` divides by the length and does nothing else."""
    clip = folder_of(Clip, clip_config(), processor(28, 28, **OPENAI), tmp_path)
    unit = clip.extract(pictures(), context)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
    raw = clip.model_copy(update={"l2_normalise": False}).extract(pictures(), context)
    assert (np.linalg.norm(raw, axis=1) > 1.5).all()
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)


def test_sees_noise_grow(dinov2: Dinov2, picture_set: Callable[..., ImageSet], context: Context) -> None:
    """More noise moves the embedding further."""
    images = picture_set(4, (32, 32))
    noise = np.random.default_rng(0).normal(0, 1, images.images.shape)
    base, little, much = (
        dinov2.extract(replace(images, images=np.clip(images.images + s * noise, 0, 1).astype(np.float32)), context)
        for s in (0.0, 0.02, 0.2)
    )
    assert 0 < np.linalg.norm(little - base) < np.linalg.norm(much - base)


def test_preprocessing_is_read(tmp_path: Path) -> None:
    """Both ways to write a size, with and without a crop, as processors of several years did."""
    path = tmp_path / "preprocessor_config.json"
    old = preprocessing({"size": 224, "crop_size": 224, "resample": 3, **OPENAI}, path)
    new = preprocessing(processor(224, 224, **OPENAI), path)
    assert old == new == Preprocessing(224, (224, 224), "bicubic", tuple(OPENAI["image_mean"]), tuple(OPENAI["image_std"]))
    whole = preprocessing({"size": {"height": 28, "width": 42}, "do_center_crop": False, "resample": 2, **IMAGENET}, path)
    assert (whole.size, whole.crop, whole.kernel) == ((28, 42), (28, 42), "bilinear")


def test_crops_keep_the_centre() -> None:
    """The shorter side gets the size; an odd rest is cut as transformers or as torchvision does."""
    import torch

    ramp = torch.arange(7.0).expand(1, 1, 4, 7) / 10
    options: dict[str, Any] = {"size": 4, "kernel": "bicubic", "mean": (0.0, 0.0, 0.0), "std": (0.1, 0.1, 0.1)}
    assert Preprocessing(crop=(4, 4), **options)(ramp)[0, 2, 0].tolist() == pytest.approx([1, 2, 3, 4])
    assert Preprocessing(crop=(4, 4), halves="even", **options)(ramp)[0, 2, 0].tolist() == pytest.approx([2, 3, 4, 5])
    assert Preprocessing(crop=(6, 4), **options)(ramp.transpose(2, 3)).shape == (1, 3, 6, 4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resample": 1}, "resample 1 is not offered"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor 0.00784.* is not 1/255"),
        ({"do_center_crop": False}, "shortest_edge without a centre crop"),
        ({"size": {"longest_edge": 224}}, r"a size of \{'longest_edge': 224\} is not offered"),
        ({"crop_size": 300}, r"the crop \(300, 300\) is larger than the resized image, \(224, 224\)"),
        ({"do_resize": False}, "do_resize: Input should be True"),
        ({"image_mean": None}, "image_mean: Input should be a valid tuple"),
    ],
)
def test_preprocessing_that_is_not_offered_is_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Whatever would change the pixels in another way is named."""
    with pytest.raises(InputError, match=said):
        preprocessing(processor(224, 224) | fields, tmp_path / "preprocessor_config.json")


def test_images_that_do_not_fit_are_refused(dinov2: Dinov2, picture_set: Callable[..., ImageSet], context: Context) -> None:
    """Volumes and two channels have no embedding; a single pixel has."""
    with pytest.raises(NotComputable, match=r"dinov2 takes 2D images, \(N, C, H, W\), got 3D volumes"):
        dinov2.extract(picture_set(2, (16, 16, 16)), context)
    with pytest.raises(NotComputable, match="dinov2 takes one grey channel or three of colour, got 2 channels"):
        dinov2.extract(picture_set(2, (16, 16), 2), context)
    assert np.isfinite(dinov2.extract(picture_set(1, (1, 1)), context)).all()


def test_folders_that_do_not_fit_are_refused(dinov2: Dinov2, context: Context, tmp_path: Path) -> None:
    """Missing weights, another digest, a missing description, another model, another size: each says so."""
    given = {"weights": dinov2.weights, "sha256": dinov2.sha256}
    with pytest.raises(ValidationError, match=r"gone\.safetensors is not there"):
        Dinov2(weights=tmp_path / "gone.safetensors", sha256="0" * 64)
    with pytest.raises(ValidationError, match=f"has the digest {dinov2.sha256}"):
        Dinov2(weights=dinov2.weights, sha256="0" * 64)
    with pytest.raises(ValidationError, match=r"lacks open_clip_config\.json: keep the published folder together"):
        BiomedClip(**given)
    with pytest.raises(InputError, match="model_type: Input should be 'clip'"):
        Clip(**given).extract(pictures(), context)
    (tmp_path / "config.json").write_text(json.dumps(DINO | {"num_hidden_layers": 3}), encoding="utf-8")
    with pytest.raises(InputError, match=r"not those of dinov2 as config\.json describes it; 18 missing: encoder\.layer\.2"):
        dinov2.extract(pictures(), context)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="the file cannot be read"):
        dinov2.extract(pictures(), context)
    (tmp_path / "config.json").write_text(json.dumps(DINO), encoding="utf-8")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor(32, 30)), encoding="utf-8")
    with pytest.raises(InputError, match=r"cropped to \(30, 30\), not to multiples of the patch, 14"):
        dinov2.extract(pictures(), context)


def test_clip_takes_the_size_it_was_trained_on(context: Context, tmp_path: Path) -> None:
    """CLIP has one position for every patch, and no other size."""
    clip = folder_of(Clip, clip_config(), processor(28, 28, **OPENAI), tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor(56, 56, **OPENAI)), encoding="utf-8")
    with pytest.raises(InputError, match=r"images are cropped to \(56, 56\), but CLIP takes \(28, 28\)"):
        clip.extract(pictures(), context)
