"""Ratings by a vision-language model behind a chat-completions service, on this machine or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.api import Context

from .asking import AskingCheck, Conversation, Policy, Send, data_url
from .endpoint import Endpoint, address, key_from, opened
from .journal import Budget, Outcome
from .questions import Question


class Prices(BaseModel):
    """What 1,000 tokens cost, in the money that budget_cost counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: float = Field(ge=0.0)
    reply: float = Field(ge=0.0)


class OpenAICompatible(AskingCheck):
    """Asks a vision-language model behind any chat-completions service that takes images.

    base_url_env, key_env: names of the environment variables that hold the address, such as http://127.0.0.1:8000/v1, and the key, where
    one is needed; neither is stored or shown. allow_external: images may leave this machine; without it only addresses of this machine
    are asked. unencrypted: http to another machine. temperature, seed: sent with every question, where given; each repeat has the next
    seed. structured: ask the service to keep to the JSON schema of the reply. concurrency: questions at a time. timeout_s: for one reply.
    retries: further attempts after 429, 5xx, a time-out or a broken connection, after wait_s seconds, then twice that, or as Retry-After
    says. budget_calls, budget_tokens, budget_cost: what may be spent, requests sent again included; then the rest is not asked.
    """

    name = "openai_compatible"
    version = "1"
    base_url_env: str = Field(min_length=1, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds the address")
    key_env: str = Field("", pattern="^([A-Za-z_][A-Za-z0-9_]*)?$", description="environment variable that holds the key")
    allow_external: bool = Field(False, description="images may leave this machine")
    unencrypted: bool = Field(False, description="allow http to another machine")
    temperature: float | None = Field(0.0, ge=0.0, le=2.0, description="sent with every question; null sends none")
    seed: int | None = Field(None, ge=0, description="sent with the first repeat, the next number with the second, ...")
    structured: bool = Field(False, description="ask for replies that keep to the JSON schema")
    max_tokens_key: str = Field("max_tokens", pattern="^max_(completion_)?tokens$", description="what the service calls max_tokens")
    concurrency: int = Field(1, ge=1, le=64, description="questions at a time")
    timeout_s: float = Field(120.0, gt=0.0, description="for one reply, and the longest Retry-After that is waited for")
    retries: int = Field(4, ge=0, le=20, description="further attempts at a request")
    wait_s: float = Field(1.0, gt=0.0, le=3600.0, description="before the second attempt; doubles")
    budget_calls: int | None = Field(None, ge=1, description="requests that may be sent")
    budget_tokens: int | None = Field(None, ge=1, description="tokens that may be used, of prompts and replies")
    budget_cost: float | None = Field(None, gt=0.0, description="money that may be spent; needs price_per_1k")
    price_per_1k: Prices | None = Field(None, description="price of 1,000 tokens: prompt and reply")

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if (self.budget_cost is None) != (self.price_per_1k is None):
            raise ValueError("budget_cost and price_per_1k go together")
        return self

    def _policy(self) -> Policy:
        prices = self.price_per_1k or Prices(prompt=0.0, reply=0.0)
        budget = Budget(self.budget_calls, self.budget_tokens, self.budget_cost, prices.prompt, prices.reply)
        return Policy(budget, self.concurrency, self.retries + 1, self._pause_s)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"temperature": self.temperature, "seed": self.seed, "structured": self.structured}

    def _pause_s(self, attempts: int, outcome: Outcome) -> float:
        return self.wait_s * 2.0 ** (attempts - 1) if outcome.wait_s is None else outcome.wait_s

    @contextmanager
    def _sender(self, context: Context) -> Iterator[Send]:
        key = key_from(self.key_env)
        where = address(self.base_url_env, key, allow_external=self.allow_external, unencrypted=self.unencrypted)
        with opened(where, key, self.timeout_s, self.concurrency) as client:
            endpoint = Endpoint(
                client, where, self.base_url_env, self.key_env, self.timeout_s, self.retries + 1,
                lambda attempts: self.wait_s * 2.0 ** (attempts - 1),
            )  # fmt: skip
            yield lambda talk, question, repeat: endpoint.ask(self._body(talk, question, repeat))

    def _body(self, talk: Conversation, question: Question, repeat: int) -> dict[str, Any]:
        """Return what is sent: the conversation, the pictures as PNG in data URLs, and the options."""
        body: dict[str, Any] = {"model": self.model, "messages": [], self.max_tokens_key: self.max_tokens}
        for message in talk:
            pictures = [{"type": "image_url", "image_url": {"url": data_url(png)}} for png in message.pictures]
            content: Any = [{"type": "text", "text": message.text}, *pictures] if pictures else message.text
            body["messages"].append({"role": message.role, "content": content})
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed + repeat - 1
        if self.structured:
            schema = {"name": "answers", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body
