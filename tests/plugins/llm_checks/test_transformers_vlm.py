"""Ratings by a vision-language model in a local folder: a tiny one with random weights, and one that has learnt a single reply."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, ImageSet, InputError, Scale
from harness_plugins.llm_checks.transformers_vlm import TransformersVLM
from no_network import only_loopback

__all__ = ["only_loopback"]
pytestmark = pytest.mark.usefixtures("only_loopback")

CLASS = Scale(name="k", level="nominal", categories=("a", "b"), question="Which?")
REPLY = '{"k":"b"}'
PROMPTS = Path(__file__).parent / "short_prompts.yaml"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}:{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
installed = all(importlib.util.find_spec(name) for name in ("transformers", "safetensors"))
with_transformers = pytest.mark.skipif(not installed, reason="transformers is not installed: an optional extra")


def images(n: int = 1) -> ImageSet:
    """Return n images of noise."""
    rng = np.random.default_rng(7)
    return ImageSet(rng.random((n, 1, 8, 10)).astype(np.float32), tuple(f"i{k}" for k in range(n)), (1.0, 1.0))


def save_model(folder: Path, **more: Any) -> Any:
    """Save a LLaVA of a few thousand weights with a tokenizer of bytes, and return model and processor."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate([*letters, "<pad>", "</s>", "<image>"])}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "extra_special_tokens": {"image_token": "<image>"}}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **marks)
    sees = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8)
    talks = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=4096, pad_token_id=words["<pad>"], eos_token_id=words["</s>"], bos_token_id=None,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=sees, text_config=talks, image_token_index=words["<image>"], image_seq_length=4, vision_feature_layer=-1
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = words["</s>"], words["<pad>"]
    shown = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    sizes = {"patch_size": 8, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    processor = LlavaProcessor(shown, tokenizer, chat_template=TEMPLATE, **sizes)
    model.save_pretrained(folder, **more)
    processor.save_pretrained(folder)
    return model, processor


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that has learnt nothing."""
    folder = tmp_path_factory.mktemp("random")
    save_model(folder)
    return folder


@pytest.fixture(scope="module")
def taught_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that answers the question of these tests: it was trained on nothing else."""
    import torch

    folder = tmp_path_factory.mktemp("taught")
    model, processor = save_model(folder)
    context = Context(1, tmp_path_factory.mktemp("asked"))
    list(TransformersVLM(model="tiny", path=folder, prompts=PROMPTS, max_tokens=1).rate(images(), (CLASS,), context))
    asked = f"user:<image>{json.loads(context.calls[0].prompt)[0]['text']}\nassistant:"
    given = processor(text=[asked + REPLY + "</s>"], images=[np.zeros((8, 10, 3), np.uint8)], return_tensors="pt")
    labels = given["input_ids"].clone()
    labels[:, : labels.shape[1] - len(REPLY) - 1] = -100
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        given["pixel_values"] = torch.randn_like(given["pixel_values"])
        loss = model(**given, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() < 0.005:
            break
    model.save_pretrained(folder)
    return folder


@with_transformers
def test_a_taught_model_rates(taught_model: Path, tmp_path: Path) -> None:
    """Its reply is read, counted and recorded, and a second run asks nothing."""
    context = Context(1, tmp_path)
    check = TransformersVLM(model="tiny", path=taught_model, prompts=PROMPTS, max_tokens=60)

    found = list(check.rate(images(2), (CLASS,), context))
    before = (tmp_path / "calls.jsonl").read_bytes()
    again = list(check.rate(images(2), (CLASS,), context))

    assert [(r.status, r.value, r.rater) for r in found] == [("ok", "b", "tiny")] * 2
    assert [r.value for r in again] == ["b"] * 2
    assert (tmp_path / "calls.jsonl").read_bytes() == before
    assert context.calls[0].reply == REPLY
    assert context.calls[0].reply_tokens == len(REPLY) + 1
    assert (context.calls[0].prompt_tokens or 0) > 50
    assert len(json.loads(context.calls[0].prompt)[0]["pictures"][0]) == 64


@with_transformers
def test_a_model_that_has_learnt_nothing_is_unusable(random_model: Path, tmp_path: Path) -> None:
    """Its babble is cut off, asked for once more, and counted; the same seed babbles the same, another seed otherwise."""

    def replies(seed: int, name: str) -> list[str]:
        context = Context(seed, tmp_path / name)
        (tmp_path / name).mkdir()
        check = TransformersVLM(model="tiny", path=random_model, prompts=PROMPTS, max_tokens=12, temperature=1.0, repeats=2)
        found = list(check.rate(images(), (CLASS,), context))
        assert [(r.status, r.occasion) for r in found] == [("unusable", "1"), ("unusable", "2")]
        assert all("after one repair attempt" in r.reason for r in found)
        assert len(context.calls) == 4
        return [call.reply for call in context.calls]

    first = replies(1, "a")
    assert first == replies(1, "b")
    assert first != replies(2, "c")
    assert first[0] != first[2]


@with_transformers
def test_a_chat_template_without_a_system_message(random_model: Path, tmp_path: Path) -> None:
    """The stop says which option helps, and with it the model is asked."""
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    (folder / "chat_template.jinja").write_text(template)
    check = TransformersVLM(model="tiny", path=folder, max_tokens=4)
    with pytest.raises(InputError, match=r"refuses the question: no system\n.*system_role: false"):
        list(check.rate(images(), (CLASS,), Context(1, tmp_path)))
    found = list(check.model_copy(update={"system_role": False}).rate(images(), (CLASS,), Context(1, tmp_path)))
    assert found[0].status == "unusable"


@with_transformers
def test_pickled_weights_are_not_opened(random_model: Path, tmp_path: Path) -> None:
    """A folder whose weights are only pickled is refused, and so is one whose safetensors are torn."""
    import torch

    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((random_model / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin is not safetensors"):
        list(TransformersVLM(model="tiny", path=tmp_path).rate(images(), (CLASS,), Context(1, tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot be loaded"):
        list(TransformersVLM(model="tiny", path=tmp_path).rate(images(), (CLASS,), Context(1, tmp_path)))


def test_folders_that_are_no_model_are_refused(tmp_path: Path) -> None:
    """A missing folder, one without config.json, one that brings code, and one without weights."""

    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            list(TransformersVLM(model="tiny", path=path).rate(images(), (CLASS,), Context(1, tmp_path)))
        return str(caught.value)

    assert "no such folder" in refusal(tmp_path / "none")
    assert "holds no config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "holds no weights" in refusal(tmp_path)
    (tmp_path / "modeling_own.py").write_text("")
    assert "brings Python code, modeling_own.py" in refusal(tmp_path)


@pytest.mark.skipif(installed, reason="transformers is installed")
def test_the_missing_package_is_named(tmp_path: Path) -> None:
    """Without the optional extra the check says how to install it."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"needs a package that is missing: transformers\n.*pip install"):
        list(TransformersVLM(model="tiny", path=tmp_path).rate(images(), (CLASS,), Context(1, tmp_path)))


def test_the_folder_decides_the_result(tmp_path: Path) -> None:
    """The bytes of the model and of the prompt set are inputs."""
    assert TransformersVLM(model="tiny", path=tmp_path, prompts=PROMPTS).inputs() == (tmp_path, PROMPTS)
