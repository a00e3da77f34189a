"""One reader before one page of a study, in a real browser, with keys and mouse."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Desk:
    """One reader before one page."""

    page: Any
    file: Path
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.goto(self.file.as_uri())

    def key(self, *names: str) -> None:
        """Press keys one after the other."""
        for name in names:
            self.page.keyboard.press(name)

    def begin(self) -> None:
        """Leave the first screen."""
        self.key("Enter")
        self.page.wait_for_selector(".question")

    def slot(self) -> str:
        """Return the slot on screen."""
        return str(self.page.locator(".question").first.get_attribute("data-slot"))

    def questions(self) -> list[str]:
        """Return the questions on screen."""
        return list(self.page.eval_on_selector_all(".question", "all => all.map((e) => e.dataset.name)"))

    def turn(self, key: str) -> None:
        """Press a key that leads to another slot, and wait for it."""
        before = self.slot()
        self.key(key)
        self.page.wait_for_function("(before) => byId('reading').hidden || document.querySelector('.question').dataset.slot !== before",
                                    arg=before)  # fmt: skip

    def saved(self, folder: Path) -> Path:
        """Save the answers and return the file."""
        with self.page.expect_download() as download:
            self.key("s")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path
