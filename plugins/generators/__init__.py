"""Generators: what makes synthetic images."""

from harness.api import Generator, hookimpl

from .command import Command
from .ddpm import Ddpm
from .diffusers_pipeline import Diffusers
from .folder import Folder
from .gan import Gan
from .http import Http
from .latent_diffusion import LatentDiffusion
from .medigan import Medigan
from .monai_bundle import MonaiBundle
from .vae import Vae


@hookimpl
def harness_generators() -> list[type[Generator]]:
    """Offer the generators of this folder."""
    return [Command, Ddpm, Diffusers, Folder, Gan, Http, LatentDiffusion, Medigan, MonaiBundle, Vae]
