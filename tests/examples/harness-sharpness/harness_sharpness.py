"""Edge sharpness for the audit harness."""

import numpy as np
from harness.api import Comparison, Context, Metric, Quantity, hookimpl


class Sharpness(Metric):
    """Absolute log ratio of mean gradient magnitude, synthetic over test; 0 is equally sharp."""

    name = "sharpness"
    version = "0.1"
    quantities = (Quantity(name="gap", better="lower"),)

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float]:
        synthetic, real = (self._edges(side.images) for side in (comparison.synthetic, comparison.test))
        return {"gap": abs(float(np.log(synthetic / real)))}

    def _edges(self, images: np.ndarray) -> np.floating:
        return np.hypot(*np.gradient(images, axis=(-2, -1))).mean()


@hookimpl
def harness_metrics() -> list[type[Metric]]:
    return [Sharpness]
