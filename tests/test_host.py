"""The host finds what is installed, refuses what clashes, and says who is to blame."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.api import Metric, Perturbation, Quantity, hookimpl
from harness.errors import HarnessError, PluginError, SpecError
from harness.host import Host, expand, resolve


def metric(called: str = "edge", promises: tuple[str, ...] = ("gap",)) -> type[Metric]:
    """Return a metric class."""

    class Edge(Metric):
        """Edge gap."""

        name = called
        version = "1"
        quantities = tuple(Quantity(name=q, better="lower") for q in promises)
        side: int = 3
        folder: Path = Path("x")

        def measure(self, comparison: Any, context: Any) -> dict[str, float]:
            return {"gap": 0.0}

    return Edge


def plugin(*classes: Any) -> Any:
    """Return a plugin that offers these classes as metrics."""

    @hookimpl
    def harness_metrics() -> list[Any]:
        return list(classes)

    return SimpleNamespace(harness_metrics=harness_metrics)


def host_of(**plugins: Any) -> Host:
    """Return a host with these plugins, by distribution."""
    host = Host()
    for distribution, module in plugins.items():
        host.register(module, "main", distribution.replace("_", "-"))
    return host


def words(error: HarnessError) -> str:
    """Return what a user reads."""
    return "\n".join(error.lines())


def test_a_component_is_found_by_kind_and_name() -> None:
    """What a plugin offers is listed with its distribution and version."""
    offer = host_of(edges=plugin(metric())).find("metric", "edge")

    assert (offer.distribution, offer.version, [q.name for q in offer.promises]) == ("edges", "1", ["gap"])


def test_two_components_of_one_name_are_an_error_that_names_both_distributions() -> None:
    """Neither wins; asking for it says whose plugins clash, and everything else still works."""
    host = host_of(edges=plugin(metric()), other_edges=plugin(metric(), metric("fine")))

    with pytest.raises(PluginError) as caught:
        host.find("metric", "edge", "model.yaml:5")

    assert "model.yaml:5: two metrics are called 'edge': by edges and other-edges" in words(caught.value)
    assert host.find("metric", "fine").distribution == "other-edges"


def test_three_of_one_name_leave_none() -> None:
    """A third claimant does not win because the first two cancelled out."""
    host = host_of(a=plugin(metric()), b=plugin(metric()), c=plugin(metric()))

    assert ("metric", "edge") not in host.offers


def test_a_misspelt_hook_is_an_error_with_a_suggestion() -> None:
    """pluggy would ignore it; here the plugin is refused with the right name."""

    @hookimpl
    def harness_metric() -> list[Any]:
        return []

    host = host_of(edges=SimpleNamespace(harness_metric=harness_metric))

    assert host.refused[0].reason == "there is no hook harness_metric; did you mean harness_metrics?"
    assert host.refused[0].distribution == "edges"


def test_a_plugin_that_cannot_be_imported_is_kept_with_its_reason() -> None:
    """It does not stop the host, and is named when something is missing."""

    class Entry:
        name = "main"

        def load(self) -> None:
            raise ImportError("No module named 'tensorflow'")

    host = host_of(edges=plugin(metric()))
    host.load(Entry(), "broken-thing")  # type: ignore[arg-type]

    assert host.find("metric", "edge")
    with pytest.raises(SpecError) as caught:
        host.find("metric", "vendi")
    assert "broken-thing (cannot be imported: ImportError: No module named 'tensorflow')" in words(caught.value)


def test_a_hook_that_raises_is_refused_and_named() -> None:
    """A hook that does work and fails is the plugin's fault, in words."""

    @hookimpl
    def harness_metrics() -> list[Any]:
        raise RuntimeError("no weights")

    host = host_of(edges=SimpleNamespace(harness_metrics=harness_metrics))

    assert "edges" in host.refused[0].problem().lines()[0]
    assert host.refused[0].reason == "harness_metrics raises RuntimeError: no weights"


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (object, "as a Metric, which it is not"),
        (metric(called="Edge Gap"), "names are lower case"),
        (metric(promises=()), "must promise quantities"),
        (metric(promises=("a", "a")), "must promise quantities with different names"),
        (type("Bare", (Metric,), {"quantities": (Quantity(name="q", better="lower"),)}), "has no name"),
        (
            type("Idle", (Metric,), {"name": "idle", "version": "1", "quantities": (Quantity(name="q", better="lower"),)}),
            "lacks measure",
        ),
    ],
)
def test_a_class_that_does_not_keep_the_contract_is_refused(offered: Any, reason: str) -> None:
    """Each fault of an offered class is said in words that name it."""
    host = host_of(edges=plugin(offered))

    assert reason in host.refused[0].reason
    assert not host.offers


def test_a_perturbation_must_say_what_it_plants() -> None:
    """Without failure mode and full severity there is nothing to qualify."""
    silent = type("Silent", (Perturbation,), {"name": "silent", "version": "1", "apply": lambda *a: None})

    @hookimpl
    def harness_perturbations() -> list[Any]:
        return [silent]

    host = host_of(edges=SimpleNamespace(harness_perturbations=harness_perturbations))

    assert "failure_mode and full_severity" in host.refused[0].reason


def test_an_unknown_name_gets_a_suggestion() -> None:
    """A near miss, and the quantity of a family, both point to the component."""
    host = host_of(edges=plugin(metric("frechet", ("fid",))))

    with pytest.raises(SpecError, match="did you mean frechet"):
        host.find("metric", "frechett")
    with pytest.raises(SpecError, match=r"did you mean frechet \(offers fid\)"):
        host.find("metric", "fid")


def test_options_are_checked_and_every_fault_is_reported() -> None:
    """Unknown option with a suggestion and wrong type, together."""
    host = host_of(edges=plugin(metric()))

    with pytest.raises(SpecError) as caught:
        host.build("metric", "edge", {"sied": 1, "side": "wide"}, Path(), "model.yaml:7")

    text = words(caught.value)
    assert "model.yaml:7: edge has no option 'sied'\n  did you mean side?" in text
    assert "edge: side = 'wide'" in text
    assert len(caught.value.problems) == 2


def test_paths_in_options_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths and environment variables are resolved; an unset variable is a problem."""
    monkeypatch.setenv("IMAGES", str(tmp_path / "elsewhere"))
    host = host_of(edges=plugin(metric()))

    assert host.build("metric", "edge", {"folder": "data"}, tmp_path).folder == tmp_path / "data"  # type: ignore[attr-defined]
    assert host.build("metric", "edge", {"folder": "${IMAGES}/a"}, tmp_path).folder == tmp_path / "elsewhere" / "a"  # type: ignore[attr-defined]
    assert expand("$IMAGES") == str(tmp_path / "elsewhere")
    assert resolve("../x", tmp_path / "y") == tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARBY", "./near")
    assert resolve("${NEARBY}/b", tmp_path / "y") == tmp_path / "near" / "b"
    with pytest.raises(SpecError, match="NOWHERE is not set"):
        host.build("metric", "edge", {"folder": "${NOWHERE}/a"}, tmp_path)


def test_the_built_in_components_come_through_the_same_door() -> None:
    """Every kind has at least one component, from this distribution, none of them refused."""
    host = Host.discover()

    own = [o for o in host.offers.values() if o.distribution == "audit-harness"]
    assert {o.kind for o in own} == {"generator", "extractor", "perturbation", "metric", "task", "rating_importer", "llm_check"}
    assert not [r for r in host.refused if r.distribution == "audit-harness"]
