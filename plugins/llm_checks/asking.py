"""What all checks share that ask a model: questions, one repair attempt, what is recorded, and how a killed run goes on."""

from __future__ import annotations

import base64
import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.api import Context, ImageSet, LLMCheck, ModelCall, Rating, Scale

from . import concepts
from .answers import Reading, read_reply
from .journal import Budget, Estimate, Journal, Outcome, SpentError
from .prompt_sets import PromptSet, found, load, shipped
from .questions import Question, looked_up, questions, unasked, unmet
from .rendering import picture, size_of

JOURNAL = "calls.jsonl"
_PATCH_PX = 28
_BYTES_PER_TOKEN = 3


@dataclass(frozen=True)
class Message:
    """One message of a conversation: who speaks, what, and the PNG pictures with it."""

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[bytes, ...] = ()


Conversation = tuple[Message, ...]
Send = Callable[[Conversation, Question, int], Outcome]


@dataclass(frozen=True)
class Policy:
    """How hard a model may be asked: what may be spent, how many questions at a time, how often one request is sent.

    pause_s: seconds to wait after so many attempts, the last of which ended like this.
    """

    budget: Budget = field(default_factory=Budget)
    threads: int = 1
    attempts: int = 1
    pause_s: Callable[[int, Outcome], float] = lambda attempts, outcome: 0.0


@dataclass
class _Found:
    """What one image and one repeat gave: values and failures by scale, and the calls."""

    values: dict[str, str | float] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    calls: list[ModelCall] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class AskingCheck(LLMCheck):
    """A check that puts the questions of a prompt set to a model, image by image.

    model: its name, under which its ratings are kept. prompts: a prompt set, by its name or as a file. ask: all scales in one question
    (together), or one question a scale (apart). repeats: how often each question is asked, as occasions 1, 2, ... image_px: longer side
    of the pictures that are shown, at most. max_tokens: of one reply. system_role: what a model is told first is a message of its own;
    false puts it before the question, for models that know no such message.
    """

    model: str = Field(min_length=1, description="name of the model")
    prompts: Path = Field(Path("classification"), description="a shipped prompt set by its name, or a file")
    ask: Literal["together", "apart"] = Field("together", description="all scales in one question, or one question a scale")
    repeats: int = Field(1, ge=1, le=100, description="times that each question is asked")
    image_px: int | None = Field(512, ge=16, le=4096, description="longer side of the pictures, at most")
    max_tokens: int = Field(1000, ge=1, description="longest reply")
    system_role: bool = Field(True, description="send what a model is told first as a message of its own")

    @classmethod
    def prompt_sets(cls) -> dict[str, Path]:
        """Return the prompt sets that come with the harness: name -> file."""
        return shipped()

    def inputs(self) -> tuple[Path, ...]:
        """Return the file of the prompt set."""
        return (found(self.prompts),)

    @abstractmethod
    def _sender(self, context: Context) -> AbstractContextManager[Send]:
        """Lend the function that sends one conversation for the given repeat and returns how that ended."""

    def _policy(self) -> Policy:
        """Return how hard the model may be asked."""
        return Policy()

    def _settings(self) -> dict[str, Any]:
        """Return what decides a reply beside the conversation; a kept reply counts only for the same settings."""
        return {"model": self.model, "max_tokens": self.max_tokens}

    def rate(self, images: ImageSet, scales: tuple[Scale, ...], context: Context) -> Iterator[Rating]:
        """Yield one rating per image, repeat and scale, in that order.

        Questions and replies are kept in `calls.jsonl` of the folder for checkpoints as they come, so that a killed run asks no question
        twice whose answer it had. `InputError` where the prompt set does not cover the scales, or the model cannot be asked at all.
        """
        prompts = load(self.prompts)
        concepts.require_known((s for s in scales if looked_up(s)), prompts.vocabulary, str(self.prompts))
        asked = [s for s in scales if not looked_up(s) and not unasked(s, images.masks is not None)]
        plan = questions(prompts, asked, self.ask)
        folder = context.checkpoints or context.workdir
        tasks = [(row, repeat) for row in range(len(images)) for repeat in range(1, self.repeats + 1)]
        policy = self._policy()
        with Journal(folder / JOURNAL, policy.budget) as journal, self._sender(context) as send:
            run = _Run(self, policy, self._settings(), prompts, plan, images, journal, send)
            with closing(_in_order(run, tasks)) as answers:
                for done, ((row, repeat), answered) in enumerate(zip(tasks, answers, strict=True), start=1):
                    for call in answered.calls:
                        context.asked(call)
                    for scale in scales:
                        yield self._rating(images, row, repeat, scale, answered, prompts)
                    context.progress(done, len(tasks))

    def _rating(self, images: ImageSet, row: int, repeat: int, scale: Scale, answered: _Found, prompts: PromptSet) -> Rating:
        base: dict[str, Any] = {"item": images.ids[row], "rater": self.model, "scale": scale.name, "rater_kind": "llm",
                                "occasion": str(repeat), "value": None}  # fmt: skip
        on = scale.describes if looked_up(scale) else scale.name
        base["seconds"] = answered.seconds.get(on)
        if on in answered.values:
            value = answered.values[on]
            if looked_up(scale) and prompts.vocabulary is not None:
                value = concepts.answer(str(value), scale, prompts.vocabulary)
            return Rating(**(base | {"value": value}))
        status, reason = answered.failures.get(on, ("missing", unasked(scale, images.masks is not None)))
        if looked_up(scale):
            reason = f"no description on {on}: {reason or 'it is no scale of this audit'}"
        return Rating(**base, status=status, reason=reason)


@dataclass(frozen=True)
class _Run:
    """The questions about a set of images, put by one check."""

    check: AskingCheck
    policy: Policy
    settings: Mapping[str, Any]
    prompts: PromptSet
    plan: Sequence[Question]
    images: ImageSet
    journal: Journal
    send: Send

    def answer(self, row: int, repeat: int) -> _Found:
        """Put every question about one image once."""
        found = _Found()
        for question in self.plan:
            skipped = {scale.name: unmet(scale, found.values) for scale in question.scales} if len(question.scales) == 1 else {}
            if any(skipped.values()):
                found.failures |= {name: ("missing", why) for name, why in skipped.items()}
                continue
            self._put(question, row, repeat, found)
        return found

    def _put(self, question: Question, row: int, repeat: int, found: _Found) -> None:
        """Put one question, and once more with what was wrong where the reply cannot be used."""
        talk = self._opening(question, row)
        reading = self._exchange(talk, question, row, repeat, found)
        if reading is None:
            return
        found.values |= reading.values
        errors = self._errors(reading, question, found)
        if errors and not reading.refused:
            errors = self._repair(talk, question, row, repeat, found, errors)
        for scale in question.scales:
            if why := unmet(scale, found.values):
                found.values.pop(scale.name, None)
                found.failures[scale.name] = ("missing", why)
            elif scale.name not in found.values:
                wrong = errors.get(scale.name) or errors.get("") or "; ".join(errors.values())
                told = ("refused", reading.refused) if reading.refused else ("unusable", wrong)
                found.failures.setdefault(scale.name, told)

    def _errors(self, reading: Reading, question: Question, found: _Found) -> dict[str, str]:
        """Return what is wrong with a reply: where a scale has a condition, a wrong answer or none matters only if it holds."""
        errors = dict(reading.errors)
        for scale in question.scales:
            if scale.only_if and unmet(scale, found.values):
                errors.pop(scale.name, None)
            elif scale.only_if and scale.name not in found.values and "" not in errors:
                errors.setdefault(scale.name, f"the key {scale.name} is null, although {scale.only_if}")
        return {name: wrong for name, wrong in errors.items() if name not in found.values}

    def _repair(
        self, talk: Conversation, question: Question, row: int, repeat: int, found: _Found, errors: dict[str, str]
    ) -> dict[str, str]:
        """Ask once more, told what is wrong; what was right the first time stays. Return what is still wrong."""
        said = "; ".join(dict.fromkeys(errors.values()))
        last = found.calls[-1].reply
        again = (*talk, *((Message("assistant", last),) if last else ()), Message("user", question.repair(said)))
        before = dict(found.failures)
        reading = self._exchange(again, question, row, repeat, found)
        if reading is None:
            # The first reply came and was unusable; why the second did not come is told beside it.
            why = next((reason for name, (_, reason) in found.failures.items() if name not in before), "it was not answered")
            found.failures = before
            return {key: f"{wrong}; asked once more: {why}" for key, wrong in errors.items()}
        if reading.refused:
            return {key: f"{wrong}; asked once more, the model refused" for key, wrong in errors.items()}
        found.values |= {name: value for name, value in reading.values.items() if name not in found.values}
        still = self._errors(reading, question, found)
        return {key: f"{wrong} (after one repair attempt)" for key, wrong in still.items()}

    def _opening(self, question: Question, row: int) -> Conversation:
        image, longest = self.images.images[row], self.check.image_px
        pictures = [picture(image, longest)]
        if question.shows_mask and self.images.masks is not None:
            pictures.append(picture(image, longest, self.images.masks[row]))
        told = " ".join(self.prompts.system.split())
        if not told or not self.check.system_role:
            return (Message("user", f"{told}\n\n{question.text}".strip(), tuple(pictures)),)
        return (Message("system", told), Message("user", question.text, tuple(pictures)))

    def _exchange(self, talk: Conversation, question: Question, row: int, repeat: int, found: _Found) -> Reading | None:
        """Send one conversation, or take its answer from the journal; record every request; None where no reply came.

        Where none came, the scales of the question have failed, or are missing because nothing more is sent.
        """
        prompt = canonical(talk)
        key = hashlib.sha256(json.dumps([self.settings, self.images.ids[row], repeat, prompt]).encode()).hexdigest()
        outcomes, stopped = self._outcomes(key, talk, question, repeat)
        base: dict[str, Any] = {"item": self.images.ids[row], "scale": question.names, "repeat": repeat, "prompt": prompt}
        for outcome in outcomes[:-1]:
            found.calls.append(ModelCall(**base, **self._told(outcome), status="failed", reason=outcome.reason))
        spent = sum(outcome.seconds or 0.0 for outcome in outcomes)
        found.seconds |= {scale.name: found.seconds.get(scale.name, 0.0) + spent for scale in question.scales} if outcomes else {}
        if not outcomes or outcomes[-1].status != "ok" or stopped:
            status, reason = ("missing", stopped) if not outcomes else (outcomes[-1].status, outcomes[-1].reason)
            if outcomes:
                found.calls.append(ModelCall(**base, **self._told(outcomes[-1]), status=status, reason=reason))
                reason += f" ({len(outcomes)} attempts)" if len(outcomes) > 1 else ""
                reason += f"; it was not sent again, because {stopped}" if stopped else ""
            found.failures |= {s.name: (status, reason) for s in question.scales if s.name not in found.values}
            return None
        last = outcomes[-1]
        if last.model and last.model != self.journal.first_model:
            changed = f"the service answers as {last.model}, before as {self.journal.first_model}"
            self.journal.stop(changed)
            found.calls.append(ModelCall(**base, **self._told(last), status="unusable", reason=changed))
            found.failures |= {s.name: ("unusable", changed) for s in question.scales if s.name not in found.values}
            return None
        reading = read_reply(last.text, question.scales, question.form, [m.text for m in talk if m.role == "user"], cut_off=last.cut_off)
        status = "refused" if reading.refused else "unusable" if reading.errors else "ok"
        reason = f"the model refused: {reading.refused}" if reading.refused else reading.said()
        found.calls.append(ModelCall(**base, **self._told(last), status=status, reason=reason))
        return Reading(reading.values, reading.errors, reason if reading.refused else "")

    def _outcomes(self, key: str, talk: Conversation, question: Question, repeat: int) -> tuple[list[Outcome], str]:
        """Return how each request of a conversation ended, new ones after those of the journal, and why no more are sent if so."""
        outcomes, fresh = self.journal.ended(key), False
        while not outcomes or (outcomes[-1].again and len(outcomes) < self.policy.attempts):
            try:
                if fresh:
                    self.journal.pause(self.policy.pause_s(len(outcomes), outcomes[-1]))
                number = self.journal.book(key, estimate(talk, self.check.max_tokens))
            except SpentError as error:
                return outcomes, str(error)
            try:
                outcome = self.send(talk, question, repeat)
            except BaseException as error:
                self.journal.release(number)
                self.journal.stop(type(error).__name__)
                raise
            self.journal.settle(number, key, outcome)
            outcomes, fresh = [*outcomes, outcome], True
        return outcomes, ""

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        """Return what a call says of the model and of its use."""
        own = self.check.model
        more = [word for word in (outcome.model if outcome.model != own else "", outcome.fingerprint) if word]
        return {
            "model": f"{own} ({', '.join(more)})" if more else own, "reply": outcome.text, "prompt_tokens": outcome.prompt_tokens,
            "reply_tokens": outcome.reply_tokens, "seconds": outcome.seconds,
        }  # fmt: skip


def canonical(talk: Conversation) -> str:
    """Return a conversation as JSON with sorted keys, each picture replaced by the SHA-256 of its bytes."""
    told: list[Mapping[str, Any]] = [
        {"role": m.role, "text": m.text, "pictures": [hashlib.sha256(png).hexdigest() for png in m.pictures]} for m in talk
    ]
    return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def data_url(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def estimate(talk: Conversation, max_tokens: int) -> Estimate:
    """Return what a request may use before anything is known of the model: a token for 3 bytes of text and for 28 x 28 pixels."""
    text = sum(len(message.text.encode()) for message in talk)
    sizes = [size_of(png) for message in talk for png in message.pictures]
    patches = sum(-(-width // _PATCH_PX) * -(-height // _PATCH_PX) for width, height in sizes)
    return Estimate(-(-text // _BYTES_PER_TOKEN) + patches, max_tokens)


def _in_order(run: _Run, tasks: Sequence[tuple[int, int]]) -> Generator[_Found, None, None]:
    """Yield the answers in the order of the tasks, so many being asked at a time; where one stops the run, no other is begun."""
    if run.policy.threads == 1:
        yield from (run.answer(row, repeat) for row, repeat in tasks)
        return
    pool = ThreadPoolExecutor(run.policy.threads)
    try:
        waiting: list[Future[_Found]] = [pool.submit(run.answer, row, repeat) for row, repeat in tasks]
        for future in waiting:
            yield future.result()
    finally:
        run.journal.stop("the run is over")
        pool.shutdown(wait=True, cancel_futures=True)
