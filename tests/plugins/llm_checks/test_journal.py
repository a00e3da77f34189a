"""The journal of requests and the budget that they draw on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.api import InputError
from harness_plugins.llm_checks.journal import Budget, Estimate, Journal, Outcome, SpentError

SMALL = Estimate(10, 5)


def ask(journal: Journal, key: str, outcome: Outcome | None = None, estimate: Estimate = SMALL) -> None:
    """Book and settle one request."""
    number = journal.book(key, estimate)
    journal.settle(number, key, outcome or Outcome(text=key, prompt_tokens=10, reply_tokens=5))


def test_what_ended_is_there_again(tmp_path: Path) -> None:
    """A second journal on the file knows every outcome, in order, and how many requests were sent."""
    path = tmp_path / "calls.jsonl"
    torn = Outcome(status="failed", reason="HTTP 500", again=True, free=True, wait_s=1.5)
    good = Outcome(text="naïve \N{SNOWMAN}\n{}", model="m", fingerprint="f", prompt_tokens=1, reply_tokens=2, seconds=0.5, cut_off=True)
    with Journal(path, Budget()) as journal:
        ask(journal, "k", torn)
        ask(journal, "k", good)

    with Journal(path, Budget()) as journal:
        assert journal.ended("k") == [torn, good]
        assert journal.ended("other") == []
        assert (journal.calls, journal.first_model) == (2, "m")


def test_a_line_that_a_kill_tore_is_cut_away(tmp_path: Path) -> None:
    """What follows is written on a line of its own."""
    path = tmp_path / "calls.jsonl"
    with Journal(path, Budget()) as journal:
        ask(journal, "a")
    path.write_bytes(path.read_bytes() + b'{"sent":1,"key":"b","pro')
    with Journal(path, Budget()) as journal:
        ask(journal, "b")
    with Journal(path, Budget()) as journal:
        assert [journal.ended(key)[0].text for key in "ab"] == ["a", "b"]
        assert journal.calls == 2


@pytest.mark.parametrize("line", ["what", "{}", '{"got":5,"key":"a","outcome":{}}', '{"sent":0,"key":"a"}', "[]"])
def test_a_damaged_file_is_refused(tmp_path: Path, line: str) -> None:
    """The line is named; nothing is guessed."""
    path = tmp_path / "calls.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"calls\.jsonl:1: is damaged"):
        Journal(path, Budget())


def test_a_request_in_flight_at_the_kill_is_paid_for(tmp_path: Path) -> None:
    """It was sent, so it counts, with the most that it may have used."""
    path = tmp_path / "calls.jsonl"
    with Journal(path, Budget()) as journal:
        ask(journal, "a")
        journal.book("b", Estimate(10, 50))
    with Journal(path, Budget(tokens=95)) as journal:
        assert journal.calls == 2
        assert journal.ended("b") == []
        ask(journal, "b")
        with pytest.raises(SpentError, match="the budget of 95 tokens was spent"):
            journal.book("c", SMALL)


def test_a_request_that_is_free_costs_a_call_only(tmp_path: Path) -> None:
    """An error of the service uses no tokens."""
    with Journal(tmp_path / "j", Budget(calls=3, tokens=15)) as journal:
        for _ in range(2):
            ask(journal, "a", Outcome(status="failed", reason="HTTP 500", again=True, free=True))
        ask(journal, "a")
        with pytest.raises(SpentError, match="the budget of 3 calls was spent"):
            journal.book("a", SMALL)


def test_prompts_are_expected_as_long_as_the_longest_so_far(tmp_path: Path) -> None:
    """Where the service counts more than was estimated, the next request is reserved at that."""
    with Journal(tmp_path / "j", Budget(tokens=250)) as journal:
        ask(journal, "a", Outcome(prompt_tokens=100, reply_tokens=5))
        ask(journal, "b", Outcome(prompt_tokens=100, reply_tokens=5))
        with pytest.raises(SpentError):
            journal.book("c", SMALL)


def test_the_first_request_goes_alone_where_tokens_are_limited(tmp_path: Path) -> None:
    """Until one has been counted, nobody knows what a prompt uses."""
    with Journal(tmp_path / "j", Budget(tokens=1000)) as journal:
        number = journal.book("a", SMALL)
        second = threading.Thread(target=lambda: ask(journal, "b"))
        second.start()
        second.join(0.1)
        assert second.is_alive()
        journal.settle(number, "a", Outcome(prompt_tokens=20, reply_tokens=1))
        second.join(5)
        assert not second.is_alive()
        assert journal.calls == 2


def test_what_is_in_flight_is_waited_for_before_the_budget_is_spent(tmp_path: Path) -> None:
    """A reply that was shorter than reserved leaves room for another request."""
    with Journal(tmp_path / "j", Budget(cost=1.0, prompt_price=0.0, reply_price=10.0)) as journal:
        ask(journal, "a", Outcome(prompt_tokens=1, reply_tokens=0))
        number = journal.book("b", Estimate(1, 90))
        done: list[int] = []
        other = threading.Thread(target=lambda: done.append(journal.book("c", Estimate(1, 90))))
        other.start()
        other.join(0.1)
        assert other.is_alive()
        journal.settle(number, "b", Outcome(prompt_tokens=1, reply_tokens=5))
        other.join(5)
        assert done == [2]


def test_a_stop_wakes_who_waits(tmp_path: Path) -> None:
    """No request goes out afterwards, and pauses end."""
    with Journal(tmp_path / "j", Budget()) as journal:
        timer = threading.Timer(0.05, journal.stop, ["the end"])
        timer.start()
        with pytest.raises(SpentError, match="the end"):
            journal.pause(30)
        timer.join()
        with pytest.raises(SpentError, match="the end"):
            journal.book("a", SMALL)


def test_a_released_request_leaves_its_question_open(tmp_path: Path) -> None:
    """The run was stopped by it: it was sent, and will be asked again."""
    path = tmp_path / "j"
    with Journal(path, Budget()) as journal:
        journal.release(journal.book("a", SMALL))
    with Journal(path, Budget()) as journal:
        assert (journal.calls, journal.ended("a")) == (1, [])
