"""The variational autoencoders: their priors and their options; their training is tested with that of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness_plugins.generators.vae import Vae, fitted_gaussian, kl_divergence


@pytest.mark.parametrize("components", [3, 256])
def test_fitted_gaussian_has_the_moments_of_the_mixture(components: int) -> None:
    """Mean and variances are those of the mixture however many directions are kept, and with all of them the covariance is."""
    rng = np.random.default_rng(0)
    means, variances = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)), rng.random((40, 6))
    found = fitted_gaussian(torch.tensor(means), torch.tensor(variances), components)
    directions, spread = (found[name].double().numpy() for name in ("directions", "spread"))
    covariance = directions.T @ directions + np.diag(spread**2)
    wanted = np.cov(means, rowvar=False, bias=True) + np.diag(variances.mean(axis=0))
    assert np.allclose(found["mean"].numpy(), means.mean(axis=0), atol=1e-6)
    assert np.allclose(np.diag(covariance), np.diag(wanted), rtol=1e-5)
    assert np.allclose(covariance, wanted, rtol=1e-5, atol=1e-5) == (components > 6)


def test_divergence_is_that_of_the_distributions() -> None:
    """The divergence from the standard normal distribution is the one that torch's distributions give."""
    mean, deviation = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.linspace(0.1, 2.0, 20).view(5, 4)
    ours = kl_divergence(mean, deviation)
    own, standard = torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    theirs = torch.distributions.kl_divergence(own, standard).sum(dim=1).mean()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": (8, 12)}, "channels must be multiples of 8"),
        ({"codes": 8}, "codes belongs to quantised: true"),
        ({"quantised": True, "kl_weight": 1.0}, "kl_weight belongs to quantised: false"),
        ({"prior": "standard", "components": 4}, "components belongs to prior: fitted"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], problem: str) -> None:
    """An option that would do nothing, or cannot be met, is refused in words."""
    with pytest.raises(ValueError, match=problem):
        Vae(**options)
