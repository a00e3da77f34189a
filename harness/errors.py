"""What can go wrong and whose turn it is to act.

`HarnessError` is a mistake that the user can mend: it is caught once, in `cli.main`, shown without a traceback, and ends the
command with exit code 2. `NotComputable` is a component's honest answer that it has no number; it becomes a row with a reason.
Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, where (file and line, or a path) and what to do about it; at most three printed lines."""

    what: str
    where: str = ""
    fix: str = ""

    def lines(self) -> list[str]:
        """Return the printed lines, the empty ones left out."""
        first = f"{self.where}: {self.what}" if self.where else self.what
        return [first, *([f"  {self.fix}"] if self.fix else [])]


class HarnessError(Exception):
    """Something that the user can mend; carries every problem found, not only the first."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: tuple[Problem, ...] = tuple(p if isinstance(p, Problem) else Problem(p) for p in problems)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return the lines to print: the first twenty problems, then a count of the rest."""
        shown = [line for problem in self.problems[:SHOWN_PROBLEMS] for line in problem.lines()]
        rest = len(self.problems) - SHOWN_PROBLEMS
        return [*shown, f"... and {rest} more problems"] if rest > 0 else shown

    def __reduce__(self) -> tuple[type[HarnessError], tuple[Problem, ...]]:
        return type(self), self.problems


class SpecError(HarnessError):
    """`model.yaml` says something that cannot be carried out."""


class InputError(HarnessError):
    """Images, masks, labels or ratings cannot be used as they are."""


class PluginError(HarnessError):
    """A plugin clashes with another, is broken, or does not keep its promise."""


class StoreError(HarnessError):
    """The results file cannot be read or written."""


class NotComputable(Exception):
    """A component cannot answer on these inputs: `raise NotComputable("needs 50 images, got 12")`."""


def raise_if(problems: Iterable[Problem], kind: type[HarnessError] = SpecError) -> None:
    """Raise one error that carries all problems, if there are any."""
    found = tuple(problems)
    if found:
        raise kind(*found)
