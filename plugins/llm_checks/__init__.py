"""LLM checks: ratings by language models."""

from harness.api import LLMCheck, hookimpl

from .recorded import Recorded


@hookimpl
def harness_llm_checks() -> list[type[LLMCheck]]:
    """Offer the checks of this folder."""
    return [Recorded]
