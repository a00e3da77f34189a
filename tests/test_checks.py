"""Before anything runs, `model.yaml` is held against the installed components and against itself."""

import copy
from typing import Any

import pytest

from harness.errors import HarnessError, SpecError
from tiny_audit import MODEL, Project


def criterion(**changes: Any) -> dict[str, Any]:
    """Return purposes with the criterion changed."""
    purposes = copy.deepcopy(MODEL["purposes"])
    base = purposes["augment"]["criteria"][0]
    purposes["augment"]["criteria"][0] = {k: v for k, v in (base | changes).items() if v is not None}
    return {"purposes": purposes}


def data(**changes: Any) -> dict[str, Any]:
    """Return data with keys changed, None = left out."""
    return {"data": {k: v for k, v in (copy.deepcopy(MODEL["data"]) | changes).items() if v is not None}}


TASKS = {"components": ["classification"], "mixes": [[1, 0], [1, 1]], "repeats": 2}

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"metrics": ["frechett", "manifold", "memorisation"]}, "no metric is called 'frechett'\n  did you mean frechet?"),
    ({"metrics": ["fid", "manifold", "memorisation"]}, "did you mean frechet (offers fid)?"),
    (
        {"metrics": [{"frechet": {"agianst": "test"}}, "memorisation"]},
        "frechet has no option 'agianst'\n  did you mean against?",
    ),
    ({"metrics": [{"frechet": {"against": "moon"}}, "memorisation"]}, "frechet: against = 'moon'"),
    ({"metrics": ["memorisation", "memorisation"]}, "memorisation is listed twice"),
    ({"perturbations": ["gausian_noise"]}, "did you mean gaussian_noise?"),
    ({"perturbations": [{"gaussian_noise": {"doses": [0.5, 0.25]}}]}, "doses must rise within (0, 1]"),
    ({"perturbations": [{"gaussian_noise": {"doses": [0.1], "dose_of_concern": 0.2}}]}, "dose_of_concern 0.2 is not among"),
    ({"extractors": []}, "memorisation needs features, and the data have none\n  list an extractor"),
    ({"tasks": TASKS} | data(labels=None), "classification needs labels, and the data have none"),
    ({"generator": {"folder": {"path": "nowhere"}}}, "check the path"),
    (
        criterion(quantity="memorisation.copied"),
        "unknown quantity 'memorisation.copied'\n  did you mean memorisation.copied_share?",
    ),
    (criterion(quantity="copied_share"), "did you mean memorisation.copied_share?"),
    (criterion(at_most=None, at_least=0.1), "at_least contradicts memorisation.copied_share, of which lower is better"),
    (criterion(extractor="inception"), "extractor 'inception' is not used by memorisation\n  known: pixels"),
    ({"extractors": ["pixels", "random_conv"]}, "memorisation is measured with 2 extractors"),
    (criterion(qualified_by=["duplicaton"]), "qualified_by names 'duplicaton', which is not under perturbations"),
    (criterion(guards=["C9"]), "guard 'C9' is not another criterion of this purpose"),
    (criterion(mix=[1, 1]), "mix and gain_at_least belong to tasks"),
    (
        {"tasks": TASKS} | criterion(quantity="classification.accuracy", at_most=None, at_least=0.5, mix=[0, 1]),
        "is not among tasks.mixes",
    ),
    (
        criterion(quantity="memorisation.authpct", at_most=None, at_least=60),
        "no bound on memorisation.authpct says how much is copied\n  AuthPct depends on dimension and n; use memorisation.copied_share",
    ),
    ({"ratings": {"scales": [{"name": "grade", "level": "ordinal"}]}}, "the ordinal scale grade has no order: list its categories"),
    ({"ratings": {"scales": [{"name": "why", "only_if": "plausble=no"}]}}, "why: no scale is answered 'plausble=no'"),
    (
        {"ratings": {"scales": [{"name": "a", "categories": ["yes", "no"]}, {"name": "b", "only_if": "a=perhaps"}]}},
        "b: no scale is answered",
    ),
    (
        {
            "ratings": {
                "scales": [{"name": "fits", "level": "ordinal", "categories": ["1", "2"], "shows": "description", "describes": "wrds"}]
            }
        },
        "fits: describes names no text scale: wrds",
    ),
    (
        {"ratings": {"scales": [{"name": "a", "categories": ["yes", "no"], "gates": {"experts": {"kripendorff": 0.6}, "because": "b"}}]}},
        "a: gates.experts cannot ask for kripendorff",
    ),
    (
        {"ratings": {"scales": [{"name": "a", "categories": ["yes", "no"], "gates": {"models": {"cohen_kappa": 0.6}, "because": "b"}}]}},
        "a model is held against experts",
    ),
    ({"ratings": {"scales": [{"name": "a", "level": "set", "categories": ["none", "x"]}]}}, "none means no category"),
    (criterion(strata=["scanner"]), "no stratum is called 'scanner'\n  known: label, probe"),
    (criterion(quantity="ratings.realism.krippendorff_alpha", at_most=None, at_least=0.4), "unknown quantity 'ratings.realism"),
]


@pytest.mark.parametrize(("change", "expected"), FAULTS, ids=[words[:40] for _, words in FAULTS])
def test_each_fault_is_refused_with_line_and_advice(project: Project, change: dict[str, Any], expected: str) -> None:
    """What is wrong, in which line, what to do: at most three lines per problem, nothing stored."""
    project.write(**change)

    with pytest.raises(HarnessError) as caught:
        project.parts()

    text = "\n".join(caught.value.lines())
    assert expected in text, text
    assert all(problem.where.startswith("model.yaml:") for problem in caught.value.problems)
    assert all(len(problem.lines()) <= 3 for problem in caught.value.problems)
    assert not (project.folder / "results.duckdb").exists()


def test_faults_of_components_are_reported_together(project: Project) -> None:
    """Two unknown names and a bad option are three problems of one error."""
    project.write(metrics=["frechett", {"manifold": {"kk": 3}}, "memorisation"], perturbations=["blurr"])

    with pytest.raises(SpecError) as caught:
        project.parts()

    assert len(caught.value.problems) == 3


def test_a_component_is_known_by_its_bytes_not_by_its_path(project: Project) -> None:
    """The same images under another name have the same identity but for the option that names them."""
    before = project.parts().generator
    (project.folder / "synthetic").rename(project.folder / "moved")
    project.write(generator={"folder": {"path": "moved"}})
    after = project.parts().generator

    assert before.files_sha256 == after.files_sha256
    next((project.folder / "moved").rglob("*.png")).unlink()
    assert project.parts().generator.files_sha256 != after.files_sha256
