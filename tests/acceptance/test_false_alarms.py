"""How often the battery raises an alarm where nothing was planted (rule Q1), on images that the null band never saw.

Each simulation draws a training and a test set, sets the 99 % band on null splits of the training set as an audit does, and asks once
about new images of the same population: as many in the place of the anchor, the probe and the test set. Splits of one set overlap and
share the test set, so alarms that are counted on further splits may be too few; here every image is new. Mixtures of three Gaussians
for metrics on features, smooth noise with a disc and its mask for metrics that look at images. From the folder `tests`,
`python -m acceptance.test_false_alarms [SIMULATIONS] [WORKERS]` prints the tables without pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acceptance.test_intervals import FEATURES, IMAGES, WITH_MASKS, images, mixture
from harness.asking import ask, tried
from harness.components import Context, Metric
from harness.errors import NotComputable
from harness.images import Comparison, ImageSet, from_features
from harness.stages.answers import Answers
from harness.stages.qualify import _Field
from harness.statistics.intervals import upper_bound_proportion
from harness.statistics.trends import MAX_FALSE_ALARM, Null

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]

TRAIN, TEST, NULL_SPLITS = 160, 160, 200
ANCHOR, PROBE = TRAIN // 2, TRAIN // 4
SIMULATIONS, FRESH = 200, 5


@dataclass(frozen=True)
class Setting:
    """What is simulated: features, or images with masks; the metrics that work on them; how many patients share the images."""

    what: str
    patients: int = TRAIN

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the suite that work on this."""
        return [kind() for kind in (FEATURES if self.what == "features" else [*IMAGES, *WITH_MASKS])]

    def draw(self, rng: np.random.Generator, n: int, role: str) -> ImageSet:
        """Return n images of the population."""
        if self.what == "features":
            return from_features(mixture(rng, n), role)
        return images(rng, n, role, None)
