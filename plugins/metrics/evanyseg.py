"""Quality without ground truth: the Dice that a segmenter is predicted to reach on synthetic images, beside real ones."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harness.api import Comparison, Context, FailureMode, Metric, NotComputable, Quantity

from ..extractors.dice_agreement import FEWEST_FOR_AN_INTERVAL
from ..extractors.evanyseg_predictor import COLUMNS

_FEWEST = 10
_OF_THE_PREDICTOR = "it is one number of the predictor; the note of each quantity gives its interval over held-out patients"


class Evanyseg(Metric):
    """How well a segmenter trained on real images is predicted to do on synthetic ones, which have no ground truth (Evanyseg score).

    Predicted Dice of the segmenter's own mask of each image, by the extractor `evanyseg_predictor` (Deo et al. 2025, 2.2.1).
    predicted_dice: mean over the synthetic images, from 0 to 1, higher is better. dice_gap: mean of the real test images less that of
    the synthetic ones, from -1 to 1; 0 is as good as real, above 0 worse, below 0 easier to segment than real. low_share: share of
    the synthetic images whose predicted Dice is below the `quantile` of the real test images, 0.05 by default and then 0.05 for a
    perfect generator. It is a prediction: predictor_mae, predictor_skill and predictor_correlation say how far predicted and true
    Dice were apart on masks of every quality of real patients that neither network had seen, and the note of each quantity adds the
    segmenter's own masks, calibration slopes and intervals. predictor_skill is 1 less the ratio of predictor_mae to the error of the
    best constant, the median of the true Dice of those same masks: 1 is perfect, 0 no better than saying always the same. Where it
    is not above 0, or the error no smaller than with the image of another patient in the place of the right one, both by the lower
    end of a 95 % interval by patient, the first three numbers are not given.

    An upstream metric, no evidence of a task: nothing was tested against a truth. Two thirds of the training images taught the
    networks, so the real-against-real floor, which is made of them, is too good by about the optimism that the note names. Blind to
    whether shapes and images are right as long as they are segmented with confidence, to copies, and to what is missing.
    """

    name = "evanyseg"
    version = "1"
    needs = frozenset({"features"})
    takes = frozenset({"quality"})
    in_suite = True
    quantities = (
        Quantity(name="predicted_dice", better="higher", low=0.0, high=1.0),
        Quantity(name="dice_gap", better="lower", low=-1.0, high=1.0),
        Quantity(name="low_share", better="lower", low=0.0, high=1.0, family="artefact"),
        Quantity(name="predictor_mae", better="lower", low=0.0, high=1.0, no_interval=_OF_THE_PREDICTOR),
        Quantity(name="predictor_skill", better="higher", high=1.0, no_interval=_OF_THE_PREDICTOR),
        Quantity(name="predictor_correlation", better="higher", low=-1.0, high=1.0, no_interval=_OF_THE_PREDICTOR),
    )
    sees = frozenset({FailureMode.NOISE})
    blind_to = frozenset({FailureMode.MEMORISATION, FailureMode.INTERNAL_DUPLICATION})

    quantile: float = Field(0.05, gt=0.0, lt=1.0, description="quantile of the real test images below which predicted Dice is low")

    def measure(self, comparison: Comparison, context: Context) -> dict[str, float | NotComputable]:
        """Return the mean, what separates it from real, and the predictor's error, which is also noted beside each."""
        synthetic, facts = _read(comparison, "synthetic")
        error = stated(facts)
        for quantity in self.quantities:
            context.note(quantity.name, error)
        found: dict[str, float | NotComputable] = {f"predictor_{name}": facts[f"all_{name}"] for name in ("mae", "skill", "correlation")}
        unfit = shortcoming(facts)
        if unfit:
            return found | dict.fromkeys(("predicted_dice", "dice_gap", "low_share"), NotComputable(unfit))
        found["predicted_dice"] = float(synthetic.mean())
        if comparison.n("test") < _FEWEST:
            reason = f"needs {_FEWEST} real test images, got {comparison.n('test')}"
            return found | dict.fromkeys(("dice_gap", "low_share"), NotComputable(reason))
        real = _read(comparison, "test")[0]
        low = float(np.mean(synthetic < np.quantile(real, self.quantile)))
        return found | {"dice_gap": float(real.mean() - synthetic.mean()), "low_share": low}

    def per_image(self, comparison: Comparison, context: Context) -> dict[str, np.ndarray]:
        """Return how far each synthetic image is predicted to fall short of a perfect mask: 1 less the predicted Dice."""
        synthetic, facts = _read(comparison, "synthetic")
        unfit = shortcoming(facts)
        if unfit:
            raise NotComputable(unfit)
        return {"predicted_dice": 1.0 - synthetic}


def shortcoming(facts: dict[str, float]) -> str:
    """Return why predicted Dice of held-out patients says nothing of the images; empty where it does.

    Masks of every quality decide, not the segmenter's own: synthetic images may be segmented better or worse than any real one.
    A predictor that looks at the mask alone may beat a constant, as ragged masks are seldom good; it is found out by wrong images.
    """
    for skill, other, what, than in (
        ("all_skill", "all_constant_mae", "not shown to be better than a constant", "that of always saying their median"),
        ("image_skill", "swapped_mae", "not shown to look at the image", "with the image of another patient instead"),
    ):
        low, high = facts[f"{skill}_low"], facts[f"{skill}_high"]
        if low <= 0.0:
            return (
                f"the predictor is {what}: on masks of every quality of {int(facts['patients'])} held-out real patients its mean absolute "
                f"error is {facts['all_mae']:.3f}, {than} {facts[other]:.3f}; the skill, 1 less their ratio, is {facts[skill]:.3f}, and "
                f"its 95 % interval, {low:.3f} to {high:.3f}, must lie above 0"
            )
    return ""


def stated(facts: dict[str, float]) -> str:
    """Return in words how far predicted and true Dice were apart on held-out patients."""
    patients = int(facts["patients"])
    many = patients >= FEWEST_FOR_AN_INTERVAL

    def number(name: str, *, interval: bool = many) -> str:
        value = f"{facts[name]:.3f}"
        return f"{value} ({facts[f'{name}_low']:.3f} to {facts[f'{name}_high']:.3f})" if interval else value

    sets = [
        f"{what} MAE {number(f'{of}_mae')} beside {facts[f'{of}_constant_mae']:.3f} of the best constant, skill "
        f"{number(f'{of}_skill', interval=True)}, correlation {number(f'{of}_correlation')}, calibration slope {number(f'{of}_slope')}"
        for of, what in (("own", "the segmenter's own masks"), ("all", "masks of every quality"))
    ]
    image = f"MAE {facts['swapped_mae']:.3f} with the image of another patient, skill {number('image_skill', interval=True)}"
    few = "" if many else f", too few patients for intervals but that of the skill ({FEWEST_FOR_AN_INTERVAL} needed)"
    return (
        f"predicted against true Dice on {int(facts['images'])} images of {patients} held-out real patients{few}: {'; '.join(sets)}; "
        f"{image}; predicted Dice is {facts['optimism']:+.3f} on the images that taught the networks"
    )


def _read(comparison: Comparison, role: str) -> tuple[np.ndarray, dict[str, float]]:
    """Return the predicted Dice (N,) of one side and the predictor's error, which every row repeats."""
    features = comparison.features(role)  # type: ignore[arg-type]
    if not len(features):
        raise NotComputable(f"there are no {role} images")
    if features.shape[1] != len(COLUMNS):
        raise NotComputable(f"needs the {len(COLUMNS)} columns of evanyseg_predictor, got {features.shape[1]} features")
    predicted, facts = features[:, 0], features[:, 2:]
    if predicted.min() < 0.0 or predicted.max() > 1.0 or (facts != facts[0]).any():
        raise NotComputable("needs the columns of evanyseg_predictor, got features that are not predicted Dice with one predictor's error")
    return predicted, dict(zip(COLUMNS[2:], facts[0].tolist(), strict=True))
