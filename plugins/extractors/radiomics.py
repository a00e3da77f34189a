"""Texture features of classical radiomics, as z-scores of the training images."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
from pydantic import Field

from harness.api import Context, Extractor, ImageSet, InputError, NotComputable, Problem

from .texture import cooccurrence, first_order, grey_levels, haar, haralick, local_binary_patterns

# A feature counts as constant when it varies by less than this share of its size: that much is rounding.
_ROUNDING = 1e-9


class Radiomics(Extractor):
    """Intensity and texture features (first order, co-occurrence, local binary patterns, wavelets) as z-scores of the training images.

    Per channel: 17 first-order statistics; 8 Haralick features of grey-level co-occurrence matrices at each of the `distances`,
    averaged over 4 directions in 2D and 13 in 3D; uniform rotation-invariant local binary patterns of 8 points at radius 1 (in
    3D on the three families of orthogonal planes); size of the Haar wavelet coefficients in every band of `scales` scales. That
    is 69 features of a grey image and 105 of a grey volume. Definitions are those of PyRadiomics where it has the feature (van
    Griethuysen et al. 2017, Cancer Res. 77:e104) and are written out in `texture`; grey levels are equal steps of the intensity
    window, not of each image. Each feature is centred and scaled by its mean and standard deviation over the training images;
    features that are constant there have no scale, are dropped, and are named in `features.json` beside the fitted state.

    `frechet.fid` on these features is the radiomics-style Frechet distance; frd-score (Konz, Osuala et al. 2024, arXiv:2412.01496) prints
    the logarithm of such a number over PyRadiomics' own feature set. Sees intensity, contrast, grain, sharpness and fine regular
    patterns; does not see where in the image they are, nor anatomy. Lengths are in pixels: bring images to one spacing first.
    A feature that hardly varies among the training images makes large z-scores. `region: mask` measures inside the masks alone
    (any label above 0 counts; binary patterns and wavelets look up to 8 pixels across its border) and needs a mask in every image.
    """

    name = "radiomics"
    version = "1"

    levels: int = Field(32, ge=2, le=256, description="grey levels of histogram and co-occurrence, equal steps of the window")
    distances: tuple[int, ...] | None = Field(None, description="of co-occurrence, in pixels; 1, 2, 4 in 2D and 1, 2 in 3D unless given")
    scales: int = Field(3, ge=1, le=8, description="of the wavelet transform, each twice as coarse as the last")
    region: Literal["image", "mask"] = Field("image", description="what is measured: the whole image or its mask")

    def fit(self, train: ImageSet, context: Context) -> None:
        """Leave mean and standard deviation of every feature over the training images in the work folder."""
        if len(train) < 2:
            raise NotComputable(f"z-scores need 2 training images, got {len(train)}")
        names, values = self._measured(train, context)
        mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
        varies = sd > _ROUNDING * np.abs(values).max(axis=0)
        if not varies.any():
            raise NotComputable(f"none of the {len(names)} features varies among the {len(train)} training images")
        np.savez(context.workdir / "reference.npz", mean=mean, sd=sd, varies=varies)
        kept = [name for name, keep in zip(names, varies, strict=True) if keep]
        listed = {"kept": kept, "n_kept": len(kept), "dropped": sorted(set(names) - set(kept)), "n_dropped": len(names) - len(kept)}
        (context.workdir / "features.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")

    def extract(self, images: ImageSet, context: Context) -> np.ndarray:
        """Return the z-scores of the features that vary among the training images, (N, F) float32."""
        if context.fitted is None:
            raise InputError(Problem("radiomics has not been fitted", fix="call fit on the training images first"))
        with np.load(context.fitted / "reference.npz", allow_pickle=False) as reference:
            mean, sd, varies = (reference[name] for name in ("mean", "sd", "varies"))
        names, values = self._measured(images, context)
        if len(names) != len(mean):
            raise InputError(
                Problem(
                    f"images of shape {images.images.shape[1:]} give {len(names)} features, training gave {len(mean)}",
                    fix="bring both to one number of channels and of axes",
                )
            )
        return np.asarray((values[:, varies] - mean[varies]) / sd[varies], dtype=np.float32)

    def _measured(self, images: ImageSet, context: Context) -> tuple[list[str], np.ndarray]:
        """Return the names of the features and the features of each image, (N, F) float64."""
        axes = len(images.size_px)
        distances = self.distances or ((1, 2, 4) if axes == 2 else (1, 2))
        if min(distances) < 1:
            raise InputError(Problem(f"distances {distances} must be 1 pixel or more", fix="give radiomics other distances"))
        least = max(3, max(distances) + 1)
        if min(images.size_px) < least:
            raise NotComputable(f"needs {least} pixels along every axis, got images of {images.size_px}")
        inside = self._inside(images)
        names = self._names(images.images.shape[1], axes, distances)
        rows = np.empty((len(images), len(names)))
        for n, image in enumerate(images.images):
            region = None if inside is None else inside[n]
            rows[n] = np.concatenate([list(self._channel(channel, distances, region).values()) for channel in image])
            context.progress(n + 1, len(images))
        return names, rows

    def _inside(self, images: ImageSet) -> np.ndarray | None:
        """Return (N, ...) True where a mask is above 0, or None where the whole image counts."""
        if self.region == "image":
            return None
        if images.masks is None:
            raise NotComputable("region: mask needs masks, and these images have none")
        inside = images.masks > 0
        empty = int((~inside.reshape(len(inside), -1).any(axis=1)).sum())
        if empty:
            raise NotComputable(f"region: mask needs a mask in every image, and {empty} of {len(images)} are empty")
        return inside

    def _names(self, channels: int, axes: int, distances: tuple[int, ...]) -> list[str]:
        """Return the name of every feature of an image."""
        blank = np.zeros((max(distances) + 2,) * axes)
        return [f"channel{c}_{name}" for c in range(channels) for name in self._channel(blank, distances, None)]

    def _channel(self, channel: np.ndarray, distances: tuple[int, ...], inside: np.ndarray | None) -> dict[str, float]:
        """Return the features of one channel of one image."""
        image = channel.astype(np.float64)
        grey = grey_levels(image, self.levels)
        values, its_grey = (image.ravel(), grey.ravel()) if inside is None else (image[inside], grey[inside])
        features = first_order(values, its_grey, self.levels)
        for distance in distances:
            matrices = cooccurrence(grey, self.levels, distance, inside)
            if not len(matrices):
                raise NotComputable(f"no two pixels of a mask are {distance} pixels apart: give radiomics smaller distances")
            features |= {f"glcm_{distance}_{name}": value for name, value in haralick(matrices).items()}
        features |= {f"lbp_{k}": float(share) for k, share in enumerate(local_binary_patterns(image, inside))}
        return features | {f"haar_{name}": value for name, value in haar(image, self.scales, inside).items()}
