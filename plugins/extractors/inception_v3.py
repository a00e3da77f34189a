"""The features of the Fréchet Inception distance: TensorFlow's Inception-v3 of 2015, with the preprocessing of its users."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.api import Context, Extractor, ImageSet

from .batches import interpolation_weights, require_colour, rgb
from .inception_network import CLASSES, InceptionNetwork, shapes
from .networks import features_of, require_planes
from .weights import Pin, WeightsFile, fitting, tensors

if TYPE_CHECKING:
    import torch

_SIDE = 299
_BATCH = 8
_SFID_CHANNELS = 7
_SFID_WIDTH = _SFID_CHANNELS * 17 * 17


class InceptionV3(Extractor):
    """Inception-v3 trained on ImageNet, the network of the Fréchet Inception distance (Heusel et al. 2017, arXiv:1706.08500).

    The network is the port of TensorFlow's `inception-2015-12-05` by pytorch-fid, not torchvision's Inception: average pooling does
    not count the border, the last block pools by the maximum, there are 1008 classes. It was trained on photographs: what it sees
    in medical images is texture and shape, and FID on it is comparable with published values only for the same preprocessing and
    number of images. 2D only; grey images are repeated to three channels.

    weights: `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid (`harness fetch inception_v3`; torch-fidelity offers the same
    bytes). sha256: its digest.

    layer: 2048 is the average of the last block, the layer of FID and KID; 64, 192 and 768 are the averages of earlier layers, as
    in pytorch-fid. spatial_6d and spatial_6e are for the spatial FID (Nash et al. 2021, arXiv:2103.03841), the first 7 channels of
    a map of 17 x 17 positions, 2023 numbers: of `Mixed_6d` as in guided-diffusion's evaluator, whose values are those published, or
    of `Mixed_6e` as in dgm-eval. logits_unbiased are the 1008 class scores without the classifier's bias, which is what the
    Inception Score of its authors, torch-fidelity and dgm-eval takes; logits are the scores with it.

    preprocessing: pytorch_fid (the default, the most used) resizes to 299 x 299 bilinearly without smoothing and scales to 2x - 1;
    clean_fid resizes as PIL does, bicubic and antialiased (Parmar et al. 2022, arXiv:2104.11222), clips, and scales to
    (255x - 128) / 128; torch_fidelity resizes as TensorFlow 1 did and scales likewise, as the original FID. Images are not rounded
    to 8 bits first.
    """

    name = "inception_v3"
    version = "1"

    weights: WeightsFile
    sha256: Pin = ""
    layer: Literal[64, 192, 768, 2048, "spatial_6d", "spatial_6e", "logits", "logits_unbiased"] = 2048
    preprocessing: Literal["pytorch_fid", "clean_fid", "torch_fidelity"] = "pytorch_fid"

    def inputs(self) -> tuple[Path, ...]:
        """Return the weights file."""
        return (self.weights,)

    def gives(self) -> Literal["embedding", "spatial", "logits"]:
        """Return embedding for the averages of a layer, spatial for a map, logits for class scores."""
        if isinstance(self.layer, int):
            return "embedding"
        return "spatial" if self.layer.startswith("spatial") else "logits"

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the features of the layer, (N, F) float32; volumes are `NotComputable`."""
        require_planes(images, self.name)
        require_colour(images, self.name)
        found = tensors(self.weights, self.sha256)
        state = fitting(found, shapes(), self.weights, "the FID Inception network", ["num_batches_tracked"])
        network = InceptionNetwork(state, context.device)
        width = {"spatial": _SFID_WIDTH, "logits": CLASSES}.get(self.gives()) or int(self.layer)
        return features_of(images, _BATCH, width, context, lambda x: self._features(network, x))

    def _features(self, network: InceptionNetwork, images: torch.Tensor) -> torch.Tensor:
        x = _prepared(rgb(images), self.preprocessing)
        if isinstance(self.layer, int):
            return network.layer(x, self.layer)
        if self.gives() == "spatial":
            found = network.layer(x, "Mixed_6d" if self.layer == "spatial_6d" else "Mixed_6e")
            return found[:, :_SFID_CHANNELS].flatten(start_dim=1)
        return network.logits(x, bias=self.layer == "logits")


def _prepared(x: torch.Tensor, how: str) -> torch.Tensor:
    """Return (N, 3, 299, 299) images as the network takes them, from (N, 3, H, W) in [0, 1]."""
    import torch
    from torch.nn import functional

    if how == "pytorch_fid":
        return 2 * functional.interpolate(x, (_SIDE, _SIDE), mode="bilinear", align_corners=False) - 1
    x = 255 * x
    for axis in (3, 2):
        # PIL and TensorFlow work on the rows first and round to float32 before the columns.
        size = x.shape[axis]
        weights = interpolation_weights(size, _SIDE, "bicubic") if how == "clean_fid" else _tensorflow_weights(size)
        x = (x.double().movedim(axis, -1) @ x.new_tensor(weights, dtype=torch.float64)).movedim(-1, axis).float()
    return (x.clamp(0.0, 255.0) - 128) / 128


def _tensorflow_weights(size: int) -> np.ndarray:
    """Return the (size, 299) weights of TensorFlow 1's `resize_bilinear`: first pixels aligned, not smoothed, the last repeated.

    The place in the image is rounded to float32, as there (tensorflow/core/kernels/image_resizer_state.h).
    """
    place = np.arange(_SIDE, dtype=np.float32) * np.float32(size / _SIDE)
    return np.clip(1.0 - np.abs(np.arange(size)[:, None] - np.minimum(place, size - 1).astype(np.float64)), 0.0, None)
