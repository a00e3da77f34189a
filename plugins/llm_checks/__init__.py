"""LLM checks: ratings by language models."""

from harness.api import LLMCheck, hookimpl

from .openai_compatible import OpenAICompatible
from .recorded import Recorded
from .transformers_vlm import TransformersVLM


@hookimpl
def harness_llm_checks() -> list[type[LLMCheck]]:
    """Offer the checks of this folder."""
    return [OpenAICompatible, Recorded, TransformersVLM]
