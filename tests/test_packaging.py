"""The distribution: what is listed is what is in the tree, what is built is what is listed, and what is built works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import harness
from harness.hookspecs import HOOKS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("packaging")  # what is built is built once
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
RESOURCES = (".sql", ".j2", ".css", ".json", ".woff2", ".ttf", ".otf", ".txt", ".typed", ".html", ".js", ".yaml")
SOURCES = ("harness", "plugins", "report_templates", "schemas")


def _folder(package: str) -> Path:
    """Return the folder that the longest matching entry of `package-dir` gives a package."""
    parts = package.split(".")
    for length in range(len(parts), 0, -1):
        mapped = SETUPTOOLS["package-dir"].get(".".join(parts[:length]))
        if mapped is not None:
            return Path(mapped, *parts[length:])
    raise AssertionError(f"{package} is not below any entry of package-dir")


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what a build needs, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, "pyproject.toml", "README.md", "LICENSE"):
        original = ROOT / name
        files = [original] if original.is_file() else [f for f in original.rglob("*") if f.is_file() and f.suffix != ".pyc"]
        for file in files:
            target = copy / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return copy


@pytest.fixture(scope="session")
def built(source: Path) -> Path:
    """Return the folder with the sdist and the wheel that was built from that sdist."""
    _run(sys.executable, "-m", "build", "--no-isolation", source, "--outdir", source / "dist", cwd=source)
    return source / "dist"


@pytest.fixture(scope="session")
def wheel(built: Path) -> zipfile.ZipFile:
    """Return the wheel, opened."""
    return zipfile.ZipFile(next(built.glob("*.whl")))


def test_every_package_of_the_tree_is_listed() -> None:
    """A folder of modules that is not listed imports from a checkout and is missing from the wheel."""
    listed = {_folder(package) for package in SETUPTOOLS["packages"]}
    in_tree = {f.parent.relative_to(ROOT) for name in SOURCES for f in (ROOT / name).rglob("*.py")}
    assert listed == in_tree


def test_every_folder_of_plugins_is_an_entry_point() -> None:
    """Built-in components enter through the same door as a stranger's, one line per folder."""
    folders = {f.parent.name for f in (ROOT / "plugins").glob("*/__init__.py")}
    assert PYPROJECT["project"]["entry-points"]["harness"] == {name: f"harness_plugins.{name}" for name in folders}


def test_the_wheel_holds_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """A top-level `plugins`, `schemas` or `tests` would collide with other people's packages."""
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"harness", "harness_plugins"}


def test_the_wheel_holds_every_module_and_every_resource(wheel: zipfile.ZipFile) -> None:
    """Templates, style sheets, SQL, schemas and fonts travel with the code that reads them."""
    packaged = {_folder(package): package.replace(".", "/") for package in SETUPTOOLS["packages"]}
    expected = set()
    for name in SOURCES:
        for file in (ROOT / name).rglob("*"):
            if file.suffix in (".py", *RESOURCES):
                inside = file.relative_to(ROOT)
                package = next(folder for folder in inside.parents if folder in packaged)
                expected.add(f"{packaged[package]}/{inside.relative_to(package).as_posix()}")
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_sdist_builds_the_same_wheel(source: Path, wheel: zipfile.ZipFile) -> None:
    """A wheel built from the tree holds the files of the wheel built from the sdist, byte for byte."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source, "--outdir", source / "direct", cwd=source)
    direct = zipfile.ZipFile(next((source / "direct").glob("*.whl")))
    of_the_tree, of_the_sdist = ({i.filename: i.CRC for i in w.infolist() if "RECORD" not in i.filename} for w in (direct, wheel))
    assert of_the_tree == of_the_sdist


def test_one_version_everywhere(built: Path, wheel: zipfile.ZipFile) -> None:
    """`harness.__version__` is the only place where the version is written."""
    version = harness.__version__
    described = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    assert f"\nVersion: {version}\n" in described
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        assert sdist.getnames()[0].split("/")[0] == f"audit_harness-{version}"
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


WHAT_WORKS = """
import importlib.resources, json, sys
import harness_plugins
from harness import host
installed = host.Host.discover()
print(json.dumps({
    "core": host.__file__,
    "plugins": harness_plugins.__file__,
    "kinds": sorted({offer.kind for offer in installed.offers.values()}),
    "distributions": sorted({offer.distribution for offer in installed.offers.values()}),
    "refused": [refusal.reason for refusal in installed.refused],
    "resources": [f.name for p in ("schemas", "report_templates") for f in importlib.resources.files(f"harness.{p}").iterdir()],
    "torch": "torch" in sys.modules,
}))
"""


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_an_installed_harness_finds_its_plugins(
    how: str, source: Path, built: Path, tmp_path: Path, new_environment: Callable[..., Path]
) -> None:
    """Installed from a wheel or editable and started elsewhere, it finds its seven kinds and its resources, without torch."""
    python = new_environment(tmp_path / "environment", with_harness=False)
    what = ["--editable", source] if how == "editable" else [next(built.glob("*.whl"))]
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    _run(*install, "--no-build-isolation", "--force-reinstall", *what, cwd=tmp_path)
    found = json.loads(_run(python, "-c", WHAT_WORKS, cwd=tmp_path))
    home = source if how == "editable" else tmp_path / "environment"
    assert Path(found["core"]).is_relative_to(home)
    assert Path(found["plugins"]).is_relative_to(home)
    assert found["kinds"] == sorted(kind.kind for kind in HOOKS.values())
    assert found["distributions"] == ["audit-harness"]
    assert found["refused"] == []
    assert {"results.sql", "dossier.html.j2"} <= set(found["resources"])
    assert not found["torch"]


def test_the_tests_run_on_what_is_installed() -> None:
    """In tox the wheel is imported, not the checkout; in a development environment the checkout is."""
    installed = next(iter(metadata.distributions(name="audit-harness", path=[sysconfig.get_path("purelib")])))
    editable = json.loads(installed.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable", False)
    assert Path(harness.__file__).is_relative_to(ROOT / "harness") == editable
