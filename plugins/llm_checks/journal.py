"""What was asked and what came back, kept as it comes: a killed run asks nothing twice, and a budget counts what was spent before."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.api import InputError, Problem


class Outcome(BaseModel):
    """How one request ended. again: it may succeed if it is sent again; wait_s: how long the service asks to wait before.

    model, fingerprint: what the service says of itself. tokens: as the service counts them, None where it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    status: Literal["ok", "refused", "failed"] = "ok"
    text: str = ""
    reason: str = ""
    cut_off: bool = False
    again: bool = False
    free: bool = False
    wait_s: float | None = None
    model: str = ""
    fingerprint: str = ""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Budget:
    """What may be spent: requests, tokens, money; None is without limit. Prices are for 1,000 tokens of prompt and of reply."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    prompt_price: float = 0.0
    reply_price: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Tokens that a request is expected to use at most, before it is sent."""

    prompt: int = 0
    reply: int = 0


class SpentError(Exception):
    """No further request is sent; the text says why."""


class Journal:
    """The requests of one cell in a file of JSON lines, each on the disk before the next step, and the budget that they draw on.

    A line `sent` is written before a request goes out, a line `got` when it has ended, so that a request in flight when the run was
    killed counts as spent. Threads share one journal; use it as a context manager. `InputError` where the file is damaged.
    """

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path, self._budget = path, budget
        self._turn = threading.Condition()
        self._ended: dict[str, list[Outcome]] = {}
        self._open: dict[int, Estimate] = {}
        self._calls, self._tokens, self._cost = 0, 0, 0.0
        self._largest_prompt, self._next = 0, 0
        self._stopped, self.first_model = "", ""
        whole = self._replay()
        self._stream: BufferedRandom = path.open("r+b") if path.exists() else path.open("w+b")
        self._stream.truncate(whole)
        self._stream.seek(whole)
        # What a killed run had sent without an answer will never be answered: it is paid for.
        for estimate in self._open.values():
            self._pay(estimate.prompt, estimate.reply)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop("the run is over")
        self._stream.close()

    @property
    def calls(self) -> int:
        """Requests sent so far, those of killed runs too."""
        return self._calls

    def ended(self, key: str) -> list[Outcome]:
        """Return how the requests of this question ended, in the order in which they were sent."""
        with self._turn:
            return list(self._ended.get(key, ()))

    def stop(self, why: str) -> None:
        """Let no further request be sent."""
        with self._turn:
            self._stopped = self._stopped or why
            self._turn.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait; `SpentError` at once where no further request will be sent."""
        with self._turn:
            self._turn.wait_for(lambda: bool(self._stopped), timeout=seconds)
            if self._stopped:
                raise SpentError(self._stopped)

    def book(self, key: str, estimate: Estimate) -> int:
        """Reserve what a request may use and return its number; `SpentError` where the budget does not allow it.

        While the tokens of requests are limited and none has been counted yet, one request is in flight at a time; and before the budget
        is called spent, what is in flight is waited for, which may use less than was reserved.
        """
        with self._turn:
            limited = self._budget.tokens is not None or self._budget.cost is not None
            while not self._stopped:
                reserved = Estimate(max(estimate.prompt, self._largest_prompt), estimate.reply)
                short = self._short_of(reserved)
                if not short and not (limited and self._open and not self._largest_prompt):
                    break
                if short and not self._open:
                    self._stopped = f"the budget of {short} was spent"
                    self._turn.notify_all()
                    break
                self._turn.wait()
            if self._stopped:
                raise SpentError(self._stopped)
            number, self._next = self._next, self._next + 1
            self._write({"sent": number, "key": key, "prompt": reserved.prompt, "reply": reserved.reply})
            self._calls += 1
            self._open[number] = reserved
            return number

    def settle(self, number: int, key: str, outcome: Outcome) -> None:
        """Keep how a request ended and count what it used: its own figures, or what was reserved where it has none."""
        with self._turn:
            self._write({"got": number, "key": key, "outcome": outcome.model_dump(mode="json", exclude_defaults=True)})
            self._count(number, key, outcome)
            self._turn.notify_all()

    def release(self, number: int) -> None:
        """End the reservation of a request that stopped the run: it was sent, and its question stays open."""
        with self._turn:
            reserved = self._open.pop(number)
            self._pay(reserved.prompt, reserved.reply)
            self._turn.notify_all()

    def _count(self, number: int, key: str, outcome: Outcome) -> None:
        reserved = self._open.pop(number)
        self._ended.setdefault(key, []).append(outcome)
        self.first_model = self.first_model or outcome.model
        if outcome.prompt_tokens is not None:
            self._largest_prompt = max(self._largest_prompt, outcome.prompt_tokens)
        if not outcome.free:
            prompt, reply = outcome.prompt_tokens, outcome.reply_tokens
            self._pay(reserved.prompt if prompt is None else prompt, reserved.reply if reply is None else reply)

    def _pay(self, prompt: int, reply: int) -> None:
        self._tokens += prompt + reply
        self._cost += self._price(prompt, reply)

    def _price(self, prompt: int, reply: int) -> float:
        return (prompt * self._budget.prompt_price + reply * self._budget.reply_price) / 1000

    def _short_of(self, more: Estimate) -> str:
        """Return which budget does not cover one more request beside those in flight; empty where all do."""
        booked = (more, *self._open.values())
        tokens = self._tokens + sum(e.prompt + e.reply for e in booked)
        cost = self._cost + sum(self._price(e.prompt, e.reply) for e in booked)
        budget = self._budget
        if budget.calls is not None and self._calls + 1 > budget.calls:
            return f"{budget.calls:,} calls"
        if budget.tokens is not None and tokens > budget.tokens:
            return f"{budget.tokens:,} tokens"
        if budget.cost is not None and cost > budget.cost * (1 + 1e-9):
            return f"{budget.cost:g} in money"
        return ""

    def _write(self, entry: dict[str, Any]) -> None:
        self._stream.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _replay(self) -> int:
        """Take up what the file holds and return how many of its bytes are whole lines; a kill may have torn the last one."""
        if not self._path.exists():
            return 0
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, ValidationError) as error:
                fix = "remove the file; its questions will be asked again"
                raise InputError(Problem(f"is damaged: {type(error).__name__}", f"{self._path}:{number}", fix)) from error
        return whole

    def _take(self, entry: dict[str, Any]) -> None:
        if "sent" in entry:
            self._calls += 1
            self._open[int(entry["sent"])] = Estimate(int(entry["prompt"]), int(entry["reply"]))
            self._next = max(self._next, int(entry["sent"]) + 1)
        else:
            self._count(int(entry["got"]), str(entry["key"]), Outcome.model_validate(entry["outcome"]))
