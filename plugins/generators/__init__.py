"""Generators: what makes synthetic images."""

from harness.api import Generator, hookimpl

from .command import Command
from .folder import Folder


@hookimpl
def harness_generators() -> list[type[Generator]]:
    """Offer the generators of this folder."""
    return [Command, Folder]
