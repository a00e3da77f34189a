"""Ratings by a model behind a chat-completions service, which here misbehaves in every way that services do."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, ImageSet, InputError, Rating, Scale
from harness.testing import check as conforms
from harness_plugins.llm_checks.openai_compatible import OpenAICompatible
from misbehaving_server import Behaviour, Does, Service, answers, fails, keys, question, says, serving
from no_network import only_loopback

__all__ = ["only_loopback"]
pytestmark = pytest.mark.usefixtures("only_loopback")

CLASS = Scale(name="class", level="nominal", categories=("benign", "malignant"), question="Which class?")
SCORE = Scale(name="score", level="interval", question="Which number?")
KEY = "sk-very-secret-0123456789"
GOOD = answers(**{"class": "benign", "score": 3})


def images(n: int = 2, **more: Any) -> ImageSet:
    """Return n images of noise."""
    rng = np.random.default_rng(7)
    return ImageSet(rng.random((n, 1, 8, 10)).astype(np.float32), tuple(f"i{k}" for k in range(n)), (1.0, 1.0), **more)


def check(**options: Any) -> OpenAICompatible:
    """Return a check that waits hardly at all."""
    return OpenAICompatible(**({"model": "tiny", "base_url_env": "LLM_URL", "wait_s": 0.001, "retries": 2, "timeout_s": 5.0} | options))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context with a folder that survives."""
    (tmp_path / "kept").mkdir()
    return Context(1, tmp_path, checkpoints=tmp_path / "kept")


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch, context: Context) -> Any:
    """Return a function that rates images while a service behaves in some way; it gives the ratings and the service."""

    def run(behaviour: Behaviour, scales: tuple[Scale, ...] = (CLASS,), n: int = 1, **options: Any) -> tuple[list[Rating], Service]:
        with serving(behaviour) as service:
            monkeypatch.setenv("LLM_URL", service.url)
            return list(check(**options).rate(images(n), scales, context)), service

    return run


def test_every_image_repeat_and_scale_is_a_rating(rated: Any, context: Context) -> None:
    """One question asks all scales; repeats are occasions; every call is recorded with its tokens and what the service says it is."""
    found, service = rated(GOOD, (CLASS, SCORE), 2, repeats=2)

    assert [(r.item, r.occasion, r.scale, r.value) for r in found] == [
        (item, occasion, scale, value)
        for item in ("i0", "i1") for occasion in "12" for scale, value in (("class", "benign"), ("score", 3.0))
    ]  # fmt: skip
    assert {(r.rater, r.rater_kind, r.status) for r in found} == {("tiny", "llm", "ok")}
    assert all(r.seconds is not None and r.seconds >= 0 for r in found)
    assert len(service.requests) == len(context.calls) == 4
    assert {(c.scale, c.model, c.prompt_tokens, c.reply_tokens, c.status) for c in context.calls} == {
        ("class,score", "tiny (tiny-1, fp_1)", 100, 20, "ok")
    }
    assert [c.repeat for c in context.calls] == [1, 2, 1, 2]


def test_it_keeps_the_promises_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conformance tests pass."""
    with serving(answers(realism="2", kind="b")) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        conforms(check(), n=4)


def test_scales_can_be_asked_apart(rated: Any) -> None:
    """ask: apart puts one question a scale."""
    found, service = rated(GOOD, (CLASS, SCORE), ask="apart")

    assert [keys(body) for body in service.requests] == [["class"], ["score"]]
    assert [r.value for r in found] == ["benign", 3.0]


def test_what_is_sent(rated: Any, context: Context) -> None:
    """Model, options, schema and one PNG without metadata go out; the stored prompt holds the picture's digest and not the picture."""
    _, service = rated(GOOD, temperature=0.5, seed=10, structured=True, repeats=2, max_tokens=77)

    first, second = service.requests
    assert (first["model"], first["temperature"], first["seed"], first["max_tokens"], second["seed"]) == ("tiny", 0.5, 10, 77, 11)
    schema = first["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"] == {"class": {"type": "string", "enum": ["benign", "malignant"]}}
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    (url,) = [part["image_url"]["url"] for part in first["messages"][1]["content"] if part["type"] == "image_url"]
    png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    assert _chunks(png) == [b"IHDR", b"IDAT", b"IEND"]
    sent = json.loads(context.calls[0].prompt)
    assert sent[1]["pictures"] == [hashlib.sha256(png).hexdigest()]
    assert url[30:80] not in context.calls[0].prompt
    assert service.paths == ["/v1/chat/completions"] * 2


def _chunks(png: bytes) -> list[bytes]:
    """Return the names of the chunks of a PNG."""
    place, names = 8, []
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        names.append(png[place + 4 : place + 8])
        place += 12 + size
    return names


def test_nothing_optional_is_sent_unasked(rated: Any) -> None:
    """Without a temperature, a seed and a schema the request holds none, and the limit is called what the service calls it."""
    _, service = rated(GOOD, temperature=None, max_tokens_key="max_completion_tokens")

    assert set(service.requests[0]) == {"model", "messages", "max_completion_tokens"}
    assert "Authorization" not in service.headers[0]


def test_masks_are_shown_as_a_second_picture(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    """A scale that shows the mask is a question of its own with two pictures; without masks it is missing with a reason."""
    mask = Scale(name="mask", level="ordinal", categories=("1", "2"), question="How good?", shows="mask")
    with serving(answers(**{"class": "benign", "mask": 2})) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        found = list(check().rate(images(1, masks=np.ones((1, 8, 10), np.uint8)), (CLASS, mask), context))
        without = list(check().rate(images(2).take([1]), (CLASS, mask), context))

    assert [r.value for r in found] == ["benign", "2"]
    assert [sum(p["type"] == "image_url" for p in body["messages"][1]["content"]) for body in service.requests] == [1, 2, 1]
    assert (without[1].status, without[1].reason) == ("missing", "the scale shows the mask, and the images have none")


@pytest.mark.parametrize(
    ("does", "status", "words", "requests"),
    [
        (says('{"class": "benign'), "unusable", "no JSON object with the keys asked for (after one repair attempt)", 2),
        (says('{"class": "ben', finish="length"), "unusable", "cut off at max_tokens", 2),
        (says('{"class": "normal"}'), "unusable", '"normal" is not on the scale class; it must be one of benign, malignant', 2),
        (says('{"kind": "benign"}'), "unusable", "no JSON object", 2),
        (says('{"class": "benign", "class": "malignant"}'), "unusable", "a key twice", 2),
        (says('{"class": "benign"} or {"class": "malignant"}'), "unusable", "2 different answers", 2),
        (says(""), "unusable", "the reply is empty", 2),
        (says(None), "unusable", "the reply is empty", 2),
        (says(None, refusal="I cannot help with that."), "refused", "the model refused: I cannot help", 1),
        (says("I'm sorry, but I can't assist with medical images."), "refused", "the model refused: I'm sorry", 1),
        (says("partly", finish="content_filter"), "refused", "the service filtered the reply", 1),
        (fails(400, "bad picture"), "failed", "HTTP 400: bad picture", 1),
        (fails(400, "no", "content_filter"), "refused", "the service filters the question", 1),
        (fails(500, "boom"), "failed", "HTTP 500: boom (3 attempts)", 3),
        (fails(429, "slow down"), "failed", "HTTP 429: slow down (3 attempts)", 3),
        (fails(429, "slow down", Retry_After="0"), "failed", "HTTP 429", 3),
        (Does(b"<html><body>Sign in</body></html>", headers={"Content-Type": "text/html"}), "failed", "answers with HTML", 1),
        (Does(b'{"choices": ['), "failed", "answers with no JSON", 1),
        (Does(b"[]"), "failed", "without a message", 1),
        (Does(b'{"error": {"message": "overloaded"}}'), "failed", "without a message: overloaded", 1),
        (Does(drop=True), "failed", "the connection broke off", 3),
        (Does(b"no gzip", headers={"Content-Encoding": "gzip"}), "failed", "the connection broke off (DecodingError)", 3),
    ],
)
def test_every_failure_is_a_counted_rating(
    rated: Any, context: Context, does: Does, status: str, words: str, requests: int
) -> None:  # fmt: skip
    """Each ends as a rating with a status and a reason, and every request is recorded; one repair is tried where a reply was unusable."""
    (found,), service = rated(lambda number, body: does)

    assert (found.status, found.value) == (status, None)
    assert words in found.reason
    assert len(service.requests) == len(context.calls) == requests
    assert all(call.status != "ok" and call.reason for call in context.calls)


def test_a_slow_service_is_given_up(rated: Any) -> None:
    """A reply that takes longer than timeout_s is a failure."""
    (found,), service = rated(lambda number, body: says("{}", wait=1.0), timeout_s=0.1, retries=1)

    assert (found.status, found.reason) == ("failed", "no reply within 0.1 s (2 attempts)")
    assert len(service.requests) == 2


def test_a_reply_that_repeats_the_question_is_unusable(rated: Any) -> None:
    """The form in the question is not taken for an answer, and an answer after the repeated question is read."""
    (found,), _ = rated(lambda number, body: says(question(body)))
    assert (found.status, "repeats the question" in found.reason) == ("unusable", True)

    (found,), _ = rated(lambda number, body: says(question(body) + '\n{"class": "malignant"}'), model="other")
    assert found.value == "malignant"


def test_one_repair_tells_what_was_wrong(rated: Any, context: Context) -> None:
    """The second question holds the first reply and the error; what was right the first time stays."""
    first = json.dumps({"class": "cancer", "score": 4})
    found, service = rated(lambda number, body: says(first if number == 1 else '{"class": "malignant", "score": 9}'), (CLASS, SCORE))

    assert [r.value for r in found] == ["malignant", 4.0]
    assert [m["role"] for m in service.requests[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert service.requests[1]["messages"][2]["content"] == first
    assert '"cancer" is not on the scale class; it must be one of benign, malignant' in question(service.requests[1])
    assert [call.status for call in context.calls] == ["unusable", "ok"]


def test_a_usable_part_of_a_reply_counts(rated: Any) -> None:
    """One wrong answer of two makes one unusable rating, not two."""
    found, _ = rated(lambda number, body: says('{"class": "cancer", "score": 4}'), (CLASS, SCORE))

    assert [(r.status, r.value) for r in found] == [("unusable", None), ("ok", 4.0)]


def test_a_service_recovers_within_the_retries(rated: Any, context: Context) -> None:
    """After 429 and 500 the third attempt counts; the failed ones are recorded as calls."""
    behaviour = [fails(429, Retry_After="0.01"), fails(503), says('{"class": "benign"}')]
    (found,), _ = rated(lambda number, body: behaviour[number - 1])

    assert found.value == "benign"
    assert [(call.status, call.reason) for call in context.calls] == [("failed", "HTTP 429: no"), ("failed", "HTTP 503: no"), ("ok", "")]


def test_retry_after_is_waited_for(rated: Any) -> None:
    """The pause is what the service asks for, not wait_s."""
    behaviour = [fails(429, Retry_After="0.3"), says('{"class": "benign"}')]
    (found,), service = rated(lambda number, body: behaviour[number - 1])

    assert found.value == "benign"
    assert found.seconds is not None
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("does", "variable", "words"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}"), "LLM_KEY", "refuses the key"),
        (fails(403), "LLM_KEY", "refuses access"),
        (fails(404, "no model tiny"), "LLM_URL", "knows no such address or model (HTTP 404: no model tiny)"),
        (fails(307, Location="http://192.0.2.1/v1/chat/completions"), "LLM_URL", "redirects (307), which is not followed"),
        (fails(301, Location="https://example.org/"), "LLM_URL", "redirects (301)"),
        (fails(429, Retry_After="86400"), "LLM_URL", "asks to wait 86400 s"),
    ],
)
def test_what_every_question_would_meet_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, context: Context, does: Does, variable: str, words: str
) -> None:  # fmt: skip
    """The stop names the environment variable and no secret; what was answered before is kept and not asked again."""
    monkeypatch.setenv("LLM_KEY", KEY)
    with serving(lambda number, body: GOOD(number, body) if number == 1 else does) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        ratings = check(key_env="LLM_KEY").rate(images(3), (CLASS,), context)
        assert next(ratings).value == "benign"
        with pytest.raises(InputError) as caught:
            next(ratings)
        service.behaviour = GOOD
        again = list(check(key_env="LLM_KEY").rate(images(3), (CLASS,), context))

    text = str(caught.value)
    assert f"the environment variable {variable} " in text
    assert words in text
    assert KEY not in text
    assert service.url not in text
    assert [r.value for r in again] == ["benign"] * 3
    assert len(service.requests) == 2 + 2


def test_a_service_that_is_not_there_stops_the_run(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    """A refused connection names the variable, and nothing counts as asked."""
    with serving(GOOD) as service:
        monkeypatch.setenv("LLM_URL", service.url)
    with pytest.raises(InputError, match=r"LLM_URL leads to a service that cannot be reached \(3 attempts\)"):
        list(check().rate(images(), (CLASS,), context))
    assert context.calls == []


def test_another_model_behind_the_name_ends_the_asking(rated: Any) -> None:
    """The reply of a model that calls itself differently is unusable, and what is left is not asked; what came before stands."""
    found, service = rated(lambda number, body: says('{"class": "benign"}', model="tiny-1" if number < 3 else "tiny-2"), n=4)

    assert [r.status for r in found] == ["ok", "ok", "unusable", "missing"]
    assert {r.reason for r in found[2:]} == {"the service answers as tiny-2, before as tiny-1"}
    assert len(service.requests) == 3


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_budget_of_calls_is_kept_to_the_request(rated: Any, concurrency: int) -> None:
    """Requests that are sent again count; what is left is missing with the budget as the reason."""
    found, service = rated(
        lambda number, body: fails(500) if number == 2 else GOOD(number, body), n=12, budget_calls=7, concurrency=concurrency
    )

    assert len(service.requests) == 7
    assert len(found) == 12
    said = [r.status for r in found]
    # Side by side, others may spend the budget before the request that failed is sent again.
    assert (said.count("ok"), said.count("failed")) == (6, 0) or (concurrency > 1 and (said.count("ok"), said.count("failed")) == (6, 1))
    assert {r.reason for r in found if r.status == "missing"} == {"the budget of 7 calls was spent"}


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    ("options", "allowed", "words"),
    [
        ({"budget_tokens": 1000}, 8, "1,000 tokens"),
        # A request costs 100 x 2 + 20 x 10 = 400 per thousand.
        ({"budget_cost": 2.0, "price_per_1k": {"prompt": 2.0, "reply": 10.0}}, 5, "2 in money"),
    ],
)
def test_budgets_of_tokens_and_money_are_kept_to_the_request(
    rated: Any, options: dict[str, Any], allowed: int, words: str, concurrency: int
) -> None:  # fmt: skip
    """A request goes out only if its reply, at its longest, still fits; one more would not have."""
    found, service = rated(GOOD, n=12, max_tokens=20, concurrency=concurrency, prompts=_short_prompts(), **options)

    assert len(service.requests) == allowed
    assert [r.status for r in found].count("missing") == 12 - allowed
    assert found[-1].reason == f"the budget of {words} was spent"


def _short_prompts() -> Path:
    """Return a prompt set of a few words, whose first request is estimated at less than what the service counts."""
    return Path(__file__).parent / "short_prompts.yaml"


def test_unknown_use_is_counted_as_the_most_that_was_allowed(rated: Any) -> None:
    """Where the service counts no tokens, a request counts with its estimate and max_tokens."""
    behaviour: Behaviour = lambda number, body: says('{"class": "benign"}', used=None)  # noqa: E731
    found, service = rated(behaviour, n=12, max_tokens=400, budget_tokens=1000, prompts=_short_prompts())

    assert len(service.requests) == 2
    assert [r.status for r in found].count("missing") == 10


def test_no_repair_beyond_the_budget(rated: Any) -> None:
    """The unusable reply says that it could not be asked again, and why."""
    (found,), service = rated(lambda number, body: says("what?"), budget_calls=1)

    assert (found.status, len(service.requests)) == ("unusable", 1)
    assert found.reason.endswith("asked once more: the budget of 1 calls was spent")


def test_questions_are_put_side_by_side_and_answered_in_order(rated: Any) -> None:
    """concurrency limits how many are in flight; ratings keep the order of the images."""
    gate = threading.Event()

    def together(number: int, body: dict[str, Any]) -> Does:
        if number == 3:
            gate.set()
        return says('{"class": "benign"}', wait=gate)

    found, service = rated(together, n=6, concurrency=3)

    assert [r.item for r in found] == [f"i{k}" for k in range(6)]
    assert service.busiest == 3


def test_a_killed_run_asks_nothing_twice(monkeypatch: pytest.MonkeyPatch, context: Context, tmp_path: Path) -> None:
    """After SIGKILL in the middle only the question that was in flight is asked again; the budget counts what went before."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        import numpy as np
        from harness.api import Context, ImageSet, Scale
        from harness_plugins.llm_checks.openai_compatible import OpenAICompatible
        rng = np.random.default_rng(7)
        images = ImageSet(rng.random((6, 1, 8, 10)).astype(np.float32), tuple(f"i{k}" for k in range(6)), (1.0, 1.0))
        scale = Scale(name="class", level="nominal", categories=("benign", "malignant"), question="Which class?")
        check = OpenAICompatible(model="tiny", base_url_env="LLM_URL", budget_calls=6)
        list(check.rate(images, (scale,), Context(1, Path(sys.argv[1]), checkpoints=Path(sys.argv[1]) / "kept")))
    """)
    held = threading.Event()
    with serving(lambda number, body: says('{"class": "benign"}', wait=held if number == 4 else 0.0)) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        killed = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        service.wait_for(4)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(30) == -signal.SIGKILL
        held.set()
        found = list(check(budget_calls=6).rate(images(6), (CLASS,), context))

    sent = [hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest() for body in service.requests]
    assert len(service.requests) == 6
    assert [sent.count(digest) for digest in dict.fromkeys(sent)] == [1, 1, 1, 2, 1]
    assert [r.status for r in found] == ["ok"] * 5 + ["missing"]
    assert found[5].reason == "the budget of 6 calls was spent"
    assert len(context.calls) == 5


def test_one_journal_serves_every_set_of_images(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    """The budget runs on over several calls of one cell, and a call tells only its own questions."""
    with serving(GOOD) as service:
        monkeypatch.setenv("LLM_URL", service.url)
        asking = check(budget_calls=3)
        first = list(asking.rate(images(2), (CLASS,), context))
        rest = list(asking.rate(images(4).take([2, 3]), (CLASS,), context))

    assert [r.status for r in first + rest] == ["ok", "ok", "ok", "missing"]
    assert [call.item for call in context.calls] == ["i0", "i1", "i2"]


def test_secrets_are_nowhere(rated: Any, monkeypatch: pytest.MonkeyPatch, context: Context, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor address is in options, ratings, calls, the journal or the log, even where the service repeats them."""
    monkeypatch.setenv("LLM_KEY", KEY)

    def repeats(number: int, body: dict[str, Any]) -> Does:
        url = os.environ["LLM_URL"]
        return fails(400, f"{KEY} at {url}") if number == 1 else says(f'{{"class": "{KEY} {url}"}}', model=f"m {KEY}")

    with caplog.at_level(logging.DEBUG):
        found, service = rated(repeats, n=2, key_env="LLM_KEY")

    assert service.headers[0]["Authorization"] == f"Bearer {KEY}"
    kept = (context.checkpoints or Path()) / "calls.jsonl"
    text = "".join([repr(check(key_env="LLM_KEY")), repr(found), repr(context.calls), kept.read_text(), caplog.text])
    assert KEY not in text
    assert service.url not in text
    assert service.url.split("/")[2] not in text


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        (None, {}, "LLM_URL is not set"),
        ("ftp://127.0.0.1/v1", {}, "LLM_URL holds no address"),
        ("http://127.0.0.1:99999/v1", {}, "LLM_URL holds no address"),
        ("http://user:secret@127.0.0.1/v1", {}, "LLM_URL holds a user, a password"),
        ("http://192.0.2.7/v1", {}, "LLM_URL leads to another machine"),
        ("https://192.0.2.7/v1", {}, "LLM_URL leads to another machine"),
        ("http://[2001:db8::1]/v1", {}, "LLM_URL leads to another machine"),
        ("http://192.0.2.7/v1", {"allow_external": True}, "LLM_URL sends images and key in the clear"),
        ("http://127.0.0.1/v1", {"key_env": "LLM_KEY"}, "LLM_KEY holds no key"),
    ],
)
def test_an_address_that_may_not_be_asked_is_refused(
    monkeypatch: pytest.MonkeyPatch, context: Context, url: str | None, options: dict[str, Any], words: str
) -> None:  # fmt: skip
    """The message names the variable and never shows its value, and nothing is sent."""
    monkeypatch.setattr("socket.getaddrinfo", lambda host, port, **more: [(None, None, 0, "", (host, port or 0))])
    monkeypatch.delenv("LLM_KEY", raising=False)
    monkeypatch.delenv("LLM_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("LLM_URL", url)
    with pytest.raises(InputError, match=words) as caught:
        list(check(**options).rate(images(), (CLASS,), context))
    assert "192.0.2.7" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"budget_cost": 1.0},
        {"price_per_1k": {"prompt": 1.0, "reply": 1.0}},
        {"base_url_env": "http://127.0.0.1"},
        {"key_env": "sk-1"},
        {"repeats": 0},
        {"concurrency": 0},
        {"max_tokens_key": "tokens"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    """A budget in money needs prices; a variable is a name and not an address or a key."""
    with pytest.raises(ValidationError):
        check(**options)
