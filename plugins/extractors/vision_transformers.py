"""Embeddings of the vision transformers DINOv2, CLIP and BiomedCLIP, from folders as their publishers offer them."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from harness.api import Context, Extractor, ImageSet, InputError, Problem

from .batches import Kernel, in_batches, normalised, require_axes, require_colour, resized, rgb
from .vit import NOT_NEEDED, VisionTransformer, swiglu_width
from .weights import Pin, WeightsFile, fitting, tensors

if TYPE_CHECKING:
    import torch

_BATCH = 8
_RESAMPLE: dict[int, Kernel] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class _Folder(Extractor):
    """What the three have in common: pinned weights beside a description of network and preprocessing."""

    beside: ClassVar[tuple[str, ...]]

    weights: WeightsFile
    sha256: Pin

    @model_validator(mode="after")
    def _description_is_there(self) -> _Folder:
        missing = [name for name in self.beside if not (self.weights.parent / name).is_file()]
        if missing:
            raise ValueError(f"{self.weights.parent} lacks {', '.join(missing)}: keep the published folder together")
        return self

    def inputs(self) -> tuple[Path, ...]:
        """Return the weights and the files that describe network and preprocessing."""
        return (self.weights, *(self.weights.parent / name for name in self.beside))

    @abstractmethod
    def described(self) -> tuple[VisionTransformer, Preprocessing]:
        """Return the network and the preprocessing that the folder describes; `InputError` where they are not offered here."""

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the embeddings, (N, width) float32."""
        require_axes(images, 2, self.name)
        require_colour(images, self.name)
        network, prepare = self.described()
        if prepare.crop[0] % network.patch or prepare.crop[1] % network.patch:
            raise InputError(
                Problem(
                    f"images are cropped to {prepare.crop}, not to multiples of the patch, {network.patch}",
                    str(self.weights.parent),
                    "correct the size of the crop in preprocessor_config.json",
                )
            )
        found = tensors(self.weights, self.sha256)
        said = f"{self.name} as {self.beside[0]} describes it"
        state = {n: t.to(context.device) for n, t in fitting(found, network.shapes(), self.weights, said, NOT_NEEDED).items()}
        return in_batches(images, _BATCH, network.features, context, lambda x: self._finished(network(prepare(x), state)))

    def _finished(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding

    def _read(self, name: str) -> dict[str, Any]:
        """Return what a file of the folder says."""
        path = self.weights.parent / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(Problem(f"the file cannot be read: {error}", str(path))) from error
        if not isinstance(content, dict):
            raise InputError(Problem("the file holds no JSON object", str(path)))
        return content


class Dinov2(_Folder):
    """Class token of DINOv2 after its last normalisation (Oquab et al. 2024, arXiv:2304.07193). 2D only.

    The embedding of choice for Frechet and kernel distances of images that are not photographs of objects (Stein et al. 2023,
    arXiv:2306.04675): 384, 768, 1,024 or 1,536 numbers for the small, base, large and giant network. `weights` is the
    `model.safetensors` of a folder in Hugging Face's format, such as `facebook/dinov2-base`, with its `config.json` and
    `preprocessor_config.json` beside it; the latter says how images are resized, cropped and normalised. The network is
    computed here as the library transformers computes it, without that library and without rounding images to 8 bits. Grey is
    repeated to three channels. A centre crop, where the folder asks for one, does not see the borders.
    """

    name = "dinov2"
    version = "1"
    beside = ("config.json", "preprocessor_config.json")

    def described(self) -> tuple[VisionTransformer, Preprocessing]:
        """Return the network of `config.json` and the preprocessing of `preprocessor_config.json`."""
        config = _checked(_Dinov2Config, self._read("config.json"), self.weights.parent / "config.json")
        gated = config.use_swiglu_ffn
        network = VisionTransformer(
            family="dinov2",
            width=config.hidden_size,
            depth=config.num_hidden_layers,
            heads=config.num_attention_heads,
            patch=config.patch_size,
            grid=config.image_size // config.patch_size,
            hidden=swiglu_width(config.hidden_size, config.mlp_ratio) if gated else int(config.hidden_size * config.mlp_ratio),
            activation="swiglu" if gated else "gelu",
            epsilon=config.layer_norm_eps,
        )
        path = self.weights.parent / "preprocessor_config.json"
        return network, preprocessing(self._read(path.name), path)


class Clip(_Folder):
    """Projected image embedding of CLIP (Radford et al. 2021, arXiv:2103.00020), of length 1. 2D only.

    The embedding of CMMD (Jayasumana et al. 2024, arXiv:2401.09603) with `openai/clip-vit-large-patch14-336`. `weights` is the
    `model.safetensors` of a folder in Hugging Face's format with the whole CLIP model, with its `config.json` and
    `preprocessor_config.json` beside it; the latter says how images are resized, cropped and normalised. `l2_normalise: false`
    leaves the length of the embedding as it is. The network is computed here as the library transformers computes it, without
    that library and without rounding images to 8 bits. Grey is repeated to three channels.
    """

    name = "clip"
    version = "1"
    beside = ("config.json", "preprocessor_config.json")

    l2_normalise: bool = True

    def described(self) -> tuple[VisionTransformer, Preprocessing]:
        """Return the network of `config.json` and the preprocessing of `preprocessor_config.json`."""
        config = _checked(_ClipConfig, self._read("config.json"), self.weights.parent / "config.json")
        tower = config.vision_config
        network = VisionTransformer(
            family="clip",
            width=tower.hidden_size,
            depth=tower.num_hidden_layers,
            heads=tower.num_attention_heads,
            patch=tower.patch_size,
            grid=tower.image_size // tower.patch_size,
            hidden=tower.intermediate_size,
            activation=tower.hidden_act,
            epsilon=tower.layer_norm_eps,
            projection=config.projection_dim,
        )
        path = self.weights.parent / "preprocessor_config.json"
        return network, _without_interpolation(network, preprocessing(self._read(path.name), path), path)

    def _finished(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding / embedding.norm(dim=1, keepdim=True) if self.l2_normalise else embedding


class BiomedClip(_Folder):
    """Projected image embedding of BiomedCLIP (Zhang et al. 2023, arXiv:2303.00915), 512 numbers, of length 1. 2D only.

    `weights` is `open_clip_pytorch_model.bin` or `open_clip_model.safetensors` of
    `microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224`, with its `open_clip_config.json` beside it. Images are resized so
    that the shorter side has 224 pixels (bicubic), cropped to the centre, and normalised, as open_clip does. `l2_normalise:
    false` leaves the length of the embedding as it is. Grey is repeated to three channels.
    """

    name = "biomedclip"
    version = "1"
    beside = ("open_clip_config.json",)

    l2_normalise: bool = True

    def described(self) -> tuple[VisionTransformer, Preprocessing]:
        """Return the base network with patches of 16 pixels, and open_clip's preprocessing."""
        path = self.weights.parent / "open_clip_config.json"
        config = _checked(_OpenClipConfig, self._read(path.name), path)
        side = config.model_cfg.vision_cfg.image_size
        network = VisionTransformer("biomedclip", 768, 12, 12, 16, side // 16, 3072, "gelu", 1e-6, config.model_cfg.embed_dim)
        means = config.preprocess_cfg
        return network, Preprocessing(side, (side, side), "bicubic", means.mean, means.std, halves="even")

    def _finished(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding / embedding.norm(dim=1, keepdim=True) if self.l2_normalise else embedding


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop to the centre, normalise. size: of the shorter side, or (height, width). crop: (height, width) in pixels.

    halves: where an odd number of pixels is cut, the first of both ends loses the smaller half (`down`, transformers) or the even
    one (`even`, torchvision).
    """

    size: int | tuple[int, int]
    crop: tuple[int, int]
    kernel: Kernel
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    halves: Literal["down", "even"] = "down"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, *crop) from (N, 1 or 3, H, W) in [0, 1]."""
        images = resized(images, self._target(images.shape[2], images.shape[3]), self.kernel)
        cut = [images.shape[axis + 2] - self.crop[axis] for axis in (0, 1)]
        top, left = (n // 2 if self.halves == "down" else round(n / 2) for n in cut)
        images = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        return normalised(rgb(images), self.mean, self.std)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size
        if height <= width:
            return self.size, int(self.size * width / height)
        return int(self.size * height / width), self.size


def preprocessing(config: Mapping[str, Any], path: Path) -> Preprocessing:
    """Return what a `preprocessor_config.json` of Hugging Face's processors for DINOv2 and CLIP says; `InputError` for anything else."""
    found = _checked(_Preprocessor, dict(config), path)
    size = _size(found.size, path)
    crop = _size(found.crop_size, path) if found.do_center_crop else size
    crop = (crop, crop) if isinstance(crop, int) else crop
    shortest = (size, size) if isinstance(size, int) else size
    problem = ""
    if not found.do_center_crop and isinstance(size, int):
        problem = "size.shortest_edge without a centre crop leaves images of different sizes"
    elif crop[0] > shortest[0] or crop[1] > shortest[1]:
        problem = f"the crop {crop} is larger than the resized image, {shortest}"
    elif found.resample not in _RESAMPLE:
        problem = f"resample {found.resample} is not offered, only 2 (bilinear) and 3 (bicubic)"
    elif found.do_rescale and not math.isclose(found.rescale_factor, 1 / 255, rel_tol=1e-6):
        problem = f"rescale_factor {found.rescale_factor} is not 1/255"
    if problem:
        raise InputError(Problem(problem, str(path), "use the file as it was published"))
    return Preprocessing(size, crop, _RESAMPLE[found.resample], found.image_mean, found.image_std)


def _without_interpolation(network: VisionTransformer, prepare: Preprocessing, path: Path) -> Preprocessing:
    """Return the preprocessing; `InputError` where it does not make images of the size that CLIP was trained on."""
    side = network.grid * network.patch
    if prepare.crop != (side, side):
        raise InputError(Problem(f"images are cropped to {prepare.crop}, but CLIP takes {(side, side)}", str(path)))
    return prepare


def _size(size: int | dict[str, int], path: Path) -> int | tuple[int, int]:
    """Return the length of the shorter side, or (height, width)."""
    if isinstance(size, int):
        return size
    if set(size) == {"shortest_edge"}:
        return size["shortest_edge"]
    if set(size) == {"height", "width"}:
        return size["height"], size["width"]
    raise InputError(Problem(f"a size of {size} is not offered, only shortest_edge or height and width", str(path)))


class _Described(BaseModel):
    """Part of a configuration file; what else it says does not change the features."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Preprocessor(_Described):
    do_resize: Literal[True] = True
    size: int | dict[str, int]
    resample: int
    do_center_crop: bool = True
    crop_size: int | dict[str, int] = 224
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: Literal[True] = True
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


class _Dinov2Config(_Described):
    model_type: Literal["dinov2"]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    patch_size: int
    image_size: int
    mlp_ratio: float = 4
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: Literal[True] = True
    use_swiglu_ffn: bool = False
    num_channels: Literal[3] = 3


class _ClipTower(_Described):
    # What is not written in the file has transformers' value for `CLIPVisionConfig`.
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    patch_size: int = 32
    image_size: int = 224
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    layer_norm_eps: float = 1e-5
    num_channels: Literal[3] = 3


class _ClipConfig(_Described):
    model_type: Literal["clip"]
    projection_dim: int = 512
    vision_config: _ClipTower


class _TimmTower(_Described):
    timm_model_name: Literal["vit_base_patch16_224"]
    timm_pool: Literal[""] = ""
    timm_proj: Literal["linear"]
    image_size: Literal[224] = 224


class _OpenClipModel(_Described):
    embed_dim: int
    vision_cfg: _TimmTower


class _OpenClipPreprocessing(_Described):
    mean: tuple[float, float, float] = _CLIP_MEAN
    std: tuple[float, float, float] = _CLIP_STD


class _OpenClipConfig(_Described):
    model_cfg: _OpenClipModel
    preprocess_cfg: _OpenClipPreprocessing = _OpenClipPreprocessing()


_D = TypeVar("_D", bound=_Described)


def _checked(kind: type[_D], config: dict[str, Any], path: Path) -> _D:
    """Return the part of a configuration that is needed; `InputError` that names every entry which is not as it must be."""
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        problems = [Problem(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}", str(path)) for e in error.errors()]
        raise InputError(*problems) from error
