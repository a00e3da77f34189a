"""`model.yaml` is read with lines, every problem at once, and nothing in it can run or explode."""

from pathlib import Path

import pytest

from harness import specfile
from harness.errors import SpecError

GOOD = """\
audit: demo
data: {train: a, test: b, labels: folder}
generator: {folder: {path: s}}
samples: 10
metrics: [frechet, {kernel: {degree: 3}}]
purposes:
  augment:
    context_of_use: adds to real images
    criteria:
      - {id: C1, claim: no copies, quantity: memorisation.copied_share, at_most: 0.01, because: memo 4}
"""


def write(folder: Path, text: str) -> Path:
    """Write model.yaml."""
    path = folder / "model.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> list[str]:
    """Return what a user reads when the file is refused."""
    with pytest.raises(SpecError) as caught:
        specfile.read(write(folder, text))
    return caught.value.lines()


def test_a_reference_is_a_name_or_a_name_with_options(tmp_path: Path) -> None:
    """Both forms of a reference are read, and every key knows its line."""
    file = specfile.read(write(tmp_path, GOOD))

    assert [(r.name, r.options) for r in file.spec.metrics] == [("frechet", {}), ("kernel", {"degree": 3})]
    assert file.where("purposes", "augment", "criteria", 0, "quantity") == "model.yaml:10"
    assert file.spec.data.labels is not None
    assert file.spec.data.labels.folder == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("samples: 10", "sample: 10"), ["model.yaml:4: unknown key 'sample'", "  did you mean samples?"]),
        (("at_most: 0.01", "at_most: 0.01, at_least: 0"), ["got at_least, at_most"]),
        (("at_most: 0.01", "between: [2, 1]"), ["a lower bound below the upper one"]),
        ((", because: memo 4", ""), ["model.yaml:10: purposes.augment.criteria.0.because is missing"]),
        (("samples: 10", "samples: many"), ["model.yaml:4: samples: Input should be a valid integer"]),
        (("labels: folder", "labels: {folder: 1, pattern: x}"), ["exactly one of folder, pattern, column, header"]),
        (("samples: 10", "samples: 10\nsamples: 11"), ["model.yaml:5: the key 'samples' occurs twice"]),
        (("    context_of_use", "\t  context_of_use"), ["model.yaml:8: a tab is used for indentation"]),
        (("samples: 10", "samples: &n 10"), ["anchors (&) and aliases (*) are not allowed"]),
        (("samples: 10", "samples: !!python/object/apply:os.getcwd []"), ["model.yaml:4: the tag"]),
        (("{train: a", "{train: [a"), ["is not valid YAML"]),
        (("audit: demo", "- audit"), ["is not valid YAML"]),
    ],
)
def test_each_fault_names_its_line(tmp_path: Path, change: tuple[str, str], expected: list[str]) -> None:
    """What is wrong, where, and what to do, in at most three lines."""
    text = "\n".join(refused(tmp_path, GOOD.replace(*change)))

    assert all(words in text for words in expected), text


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    """Three faults in three places are three problems, in the order of their lines."""
    text = GOOD.replace("samples: 10", "samples: x").replace("labels: folder", "lables: folder").replace("id: C1", "id: ' '")

    lines = [line for line in refused(tmp_path, text) if line.startswith("model.yaml")]

    assert [line.split(":")[1] for line in lines] == ["2", "4", "10"]


def test_duplicate_criterion_ids_are_refused(tmp_path: Path) -> None:
    """Two criteria of a purpose cannot share an id."""
    twice = GOOD + GOOD.splitlines()[-1] + "\n"

    assert "C1 occurs more than once" in "\n".join(refused(tmp_path, twice))


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    """An alias bomb is refused before anything is expanded."""
    bomb = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True))

    assert "anchors" in refused(tmp_path, bomb)[0]


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """A thousand brackets are a problem with a line, not a crash."""
    assert "nested too deeply" in refused(tmp_path, "a: " + "[" * 1000 + "]" * 1000)[0]


def test_a_file_of_a_hundred_megabytes_is_refused_unread(tmp_path: Path) -> None:
    """Size is looked at before content."""
    path = tmp_path / "model.yaml"
    with path.open("wb") as stream:
        stream.truncate(100_000_000)

    with pytest.raises(SpecError, match="is 100,000,000 bytes"):
        specfile.read(path)


def test_a_missing_file_and_a_folder_say_what_to_do(tmp_path: Path) -> None:
    """No such file: how to make one. A folder: name the file in it."""
    with pytest.raises(SpecError, match="harness init"):
        specfile.read(tmp_path / "nothing.yaml")
    with pytest.raises(SpecError, match="is a folder"):
        specfile.read(tmp_path)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    """Latin-1 is not UTF-8, and a control character is not YAML."""
    path = tmp_path / "model.yaml"
    path.write_bytes(b"audit: \xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        specfile.read(path)
    path.write_bytes(b"audit: \x00")
    with pytest.raises(SpecError, match="character"):
        specfile.read(path)


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    """`no` is a word and `1e3` a number."""
    file = specfile.read(write(tmp_path, GOOD.replace("memo 4", "no").replace("0.01", "1e-2")))
    criterion = file.spec.purposes["augment"].criteria[0]

    assert (criterion.because, criterion.at_most) == ("no", 0.01)


def test_the_plan_leaves_out_the_generator_and_free_words(tmp_path: Path) -> None:
    """Another generator is judged by the same plan; another bound is another plan."""
    digest = specfile.read(write(tmp_path, GOOD)).spec.plan_sha256()

    assert specfile.read(write(tmp_path, GOOD.replace("path: s", "path: t"))).spec.plan_sha256() == digest
    assert specfile.read(write(tmp_path, GOOD + "title: Demo\n")).spec.plan_sha256() == digest
    assert specfile.read(write(tmp_path, GOOD.replace("0.01", "0.02"))).spec.plan_sha256() != digest
