"""What every test shares: no network, reproducible examples, and the folders that live outside the repository."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from no_network import forbid
from tiny_audit import Project, copy_project, make_images

settings.register_profile("harness", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("harness")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the checkout: sources of the tests, not where the harness is imported from."""
    return ROOT


def _folder(variable: str, holds: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: the folder with {holds}")
    return Path(value)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder with values that published implementations gave."""
    return _folder("HARNESS_GOLDEN", "values of published implementations")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with public medical images and ratings."""
    return _folder("HARNESS_TEST_DATA", "public medical images and ratings")


@pytest.fixture(scope="session")
def new_environment() -> Callable[..., Path]:
    """Return a function that makes a virtual environment which borrows the packages of this one, and returns its python.

    with_harness: the harness too, as it is installed here; without it, everything else.
    """

    def make(folder: Path, *, with_harness: bool) -> Path:
        venv.create(folder, symlinks=True, with_pip=False)
        python = folder / "bin" / "python"
        lent = Path(sysconfig.get_path("purelib"))
        own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        if with_harness:
            (own / "lent.pth").write_text(f"import site; site.addsitedir({str(lent)!r})\n", encoding="utf-8")
        else:
            for entry in lent.iterdir():
                if not entry.name.startswith(("harness", "audit_harness", "__editable__")) and entry.suffix != ".pth":
                    (own / entry.name).symlink_to(entry)
        return python

    return make


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse everything that would leave the machine: an audit must run offline. What caught the refusal fails all the same."""
    tried = forbid(monkeypatch)
    yield
    assert tried == []


@pytest.fixture(scope="session")
def made_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the phantoms of a small project."""
    folder = tmp_path_factory.mktemp("images")
    make_images(folder)
    return folder


@pytest.fixture
def project(made_images: Path, tmp_path: Path) -> Project:
    """Return a small audit of its own."""
    return copy_project(made_images, tmp_path / "project")
