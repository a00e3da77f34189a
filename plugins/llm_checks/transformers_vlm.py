"""Ratings by a vision-language model of the library transformers, from a local folder."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.api import Context, InputError, Problem

from ..tasks.training import deterministic
from .asking import AskingCheck, Conversation, Send, canonical
from .journal import Outcome
from .rendering import pixels

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
_INSTALL = 'pip install "audit-harness[transformers]", or pip install transformers safetensors'
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY")


class TransformersVLM(AskingCheck):
    """Asks a vision-language model in a local folder, with the library transformers (optional extra).

    The folder is what save_pretrained of a model of the kind image-text-to-text wrote, with its processor and a chat template. Weights
    are safetensors; pickled weights and code are refused, and nothing is downloaded. temperature: 0 takes the most probable word each
    time. dtype: of the weights. Every question has a random state of its own, from the audit's seed, the repeat and the question.
    """

    name = "transformers_vlm"
    version = "1"
    path: Path = Field(description="folder of the model")
    temperature: float = Field(0.0, ge=0.0, le=2.0, description="0: the most probable word each time")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the weights")

    def inputs(self) -> tuple[Path, ...]:
        """Return the folder of the model and the file of the prompt set."""
        return (self.path, *super().inputs())

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"temperature": self.temperature, "dtype": self.dtype}

    @contextmanager
    def _sender(self, context: Context) -> Iterator[Send]:
        self._require_safe()
        with _offline():
            model = self._loaded(context)
        yield lambda talk, question, repeat: model.reply(talk, repeat, context)

    def _require_safe(self) -> None:
        """Raise `InputError` where the folder is no model, brings code, or holds weights that are only pickled."""
        if not (self.path / "config.json").is_file():
            what = "holds no config.json" if self.path.is_dir() else "no such folder"
            raise InputError(Problem(what, str(self.path), "name the folder that save_pretrained of a vision-language model wrote"))
        code = sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*.py"))
        if code:
            fix = "only models that transformers itself knows are loaded; serve others with openai_compatible"
            raise InputError(Problem(f"brings Python code, {code[0]}", str(self.path), fix))
        if not any(self.path.glob("*.safetensors")):
            pickled = sorted(path.name for path in self.path.iterdir() if path.suffix in _PICKLED)
            what = f"{pickled[0]} is not safetensors" if pickled else "holds no weights (*.safetensors)"
            fix = "a pickle can run any code when it is opened: save the model with safe_serialization=True"
            raise InputError(Problem(what, str(self.path), fix))

    def _loaded(self, context: Context) -> _Model:
        """Return the model with its processor. `InputError` where the library is missing or the folder cannot be loaded."""
        torch, transformers = _package("torch"), _package("transformers")
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        folder = str(self.path.resolve())
        known: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = transformers.AutoProcessor.from_pretrained(folder, **known)
            network = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, use_safetensors=True, dtype=getattr(torch, self.dtype), **known
            )
        except (OSError, ValueError, ImportError, AttributeError, RuntimeError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            fix = f"save model and processor again with transformers {transformers.__version__}"
            raise InputError(Problem(f"the model cannot be loaded: {said}", str(self.path), fix)) from error
        if not getattr(processor, "chat_template", None) or not getattr(processor, "image_processor", None):
            fix = "save the processor of an instruction-tuned vision-language model beside it"
            raise InputError(Problem("has no processor with a chat template and pictures", str(self.path), fix))
        return _Model(processor, network.to(context.device).eval(), self.temperature, self.max_tokens, self.path)


@dataclass(frozen=True)
class _Model:
    """A network with its processor, asked one question at a time."""

    processor: Any
    network: Any
    temperature: float
    max_tokens: int
    path: Path

    def reply(self, talk: Conversation, repeat: int, context: Context) -> Outcome:
        """Return the reply to a conversation, decided by the context's seed, the repeat and the conversation."""
        torch = _package("torch")
        begun = time.monotonic()
        words = f"{context.seed}|{repeat}|{canonical(talk)}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:7])
        prompt = self._prompt(talk)
        try:
            with deterministic(replace(context, seed=seed)), torch.inference_mode():
                pictures = [pixels(png) for message in talk for png in message.pictures]
                given = self.processor(text=[prompt], images=pictures, return_tensors="pt").to(context.device)
                given = given.to(self.network.dtype) if hasattr(given, "to") else given
                made = self.network.generate(**given, **self._generation())[0]
        except torch.OutOfMemoryError as error:
            fix = "lower image_px or max_tokens, or choose a smaller dtype; what was answered is kept"
            raise InputError(Problem("the memory of the accelerator does not hold a question", str(self.path), fix)) from error
        except (RuntimeError, ValueError, IndexError) as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return Outcome(status="failed", reason=f"the model cannot answer: {said}", seconds=time.monotonic() - begun)
        asked = int(given["input_ids"].shape[1])
        new = made[asked:]
        ends = self.network.generation_config.eos_token_id
        ended = len(new) > 0 and int(new[-1]) in (ends if isinstance(ends, list) else [ends])
        return Outcome(
            text=self.processor.decode(new, skip_special_tokens=True), cut_off=len(new) >= self.max_tokens and not ended,
            prompt_tokens=asked, reply_tokens=len(new), seconds=time.monotonic() - begun,
        )  # fmt: skip

    def _generation(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {"max_new_tokens": self.max_tokens, "num_beams": 1}
        return chosen | ({"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False})

    def _prompt(self, talk: Conversation) -> str:
        """Return the conversation as the model's chat template writes it."""
        messages = [
            {"role": m.role, "content": [*({"type": "image"} for _ in m.pictures), {"type": "text", "text": m.text}]} for m in talk
        ]  # fmt: skip
        try:
            return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        except importlib.import_module("jinja2").TemplateError as error:
            fix = "write system_role: false if it knows no system message"
            raise InputError(Problem(f"the chat template refuses the question: {error}", str(self.path), fix)) from error


def _package(name: str) -> Any:
    """Return an optional package; `InputError` with the way to install it where it is missing."""
    with _offline():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise InputError(Problem(f"transformers_vlm needs a package that is missing: {error.name or error}", "", _INSTALL)) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries of Hugging Face off the network; the environment is put back afterwards."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
