"""Facts about running networks that somebody else trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.extractors.networks import exact, features_of, require_planes


def test_full_precision_is_lent_and_given_back() -> None:
    """Inside, a GPU computes in full float32 and repeatably; afterwards, also after an error, torch is as it was."""

    def settings() -> tuple[bool, bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic

    def broken() -> None:
        with exact():
            inside.append(settings())
            raise KeyError

    before, inside = settings(), []
    with pytest.raises(KeyError):
        broken()
    assert inside == [(False, False, True)]
    assert settings() == before


def test_features_that_are_not_finite_name_the_image(picture_set: Callable[..., ImageSet], tmp_path: Path) -> None:
    """The first image with such a row is named; finite rows come back in order."""
    images, context = picture_set(5), Context(seed=0, workdir=tmp_path)
    sums = features_of(images, 2, 1, context, lambda x: x.flatten(start_dim=1).sum(dim=1, keepdim=True))
    np.testing.assert_allclose(sums[:, 0], images.images.sum(axis=(1, 2, 3)), rtol=1e-5)
    with pytest.raises(NotComputable, match=f"not finite for image {images.ids[int(sums.argmax())]}"):
        features_of(images, 2, 1, context, lambda x: 1 / (x.flatten(start_dim=1).sum(dim=1, keepdim=True) < float(sums.max())).float())


def test_volumes_are_refused_with_advice(picture_set: Callable[..., ImageSet]) -> None:
    """Planes pass; volumes say which extractors take them."""
    require_planes(picture_set(1), "the network")
    with pytest.raises(NotComputable, match=r"the network takes 2D images, .* name an extractor for volumes"):
        require_planes(picture_set(1, (4, 5, 6)), "the network")
