"""Code of others is called label by label in a process of its own, and its files are taken in the order of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Context, InputError, NotComputable, Request
from harness_plugins.generators.strangers import StrangersGenerator, calls

READS_THE_JOB = "import json, sys; from pathlib import Path; job = json.loads(Path('job.json').read_text()); out = Path(sys.argv[1]); "


class Scribe(StrangersGenerator):
    """Writes a line for each image that a call makes, in a process that needs no library."""

    name = "scribe"
    version = "1"
    program: ClassVar[str] = READS_THE_JOB + (
        "folders = [out / ('%05d' % k) for k in range(len(job['calls']))]; [folder.mkdir() for folder in folders]; "
        "[(folder / ('%d%s.png' % (k, end))).write_text(str((call, job['by_label'], k, end))) "
        "for folder, call in zip(folders, job['calls']) for k in range(job['n']) for end in ('', '_mask')]"
    )
    called: ClassVar[str] = "the scribe"
    warning: ClassVar[str] = "a scribe may write anything"

    def sample(self, request: Request, context: Context) -> Path:
        """Return the folder of the files of calls for eleven images each."""
        made = calls(request, len(self.by_label), 11, context.seed)
        work = self.work_folder(context)
        work.mkdir()
        return self.collect(made, self.in_child({"n": 11}, made, work, request, context), 11, "change its seed")


class Forger(Scribe):
    """Writes the same image whatever its seed."""

    program: ClassVar[str] = Scribe.program.replace("(call, job['by_label'], k, end)", "(k, end)")


class Dropout(Scribe):
    """Ends before it has written anything."""

    program: ClassVar[str] = READS_THE_JOB + "(out / 'note.txt').write_text(''); sys.exit('it has not learned to write')"


class Idler(Scribe):
    """Writes no image."""

    program: ClassVar[str] = READS_THE_JOB + "(out / '00000').mkdir(); (out / '00000' / 'note.txt').write_text('')"


KNOWN: dict[str, Any] = {"trust": True, "image_files": "*.png", "mask_files": "*_mask.png"}
NAMED: dict[str, Any] = {"by_label": ({"hand": "left"}, {"hand": "right"}), "label_names": ("left", "right")}


def ask(generator: StrangersGenerator, folder: Path, n: int = 12, **known: Any) -> Path:
    """Return the folder of the images that the generator makes."""
    folder.mkdir(exist_ok=True)
    return generator.sample(Request(n, **known), Context(1, folder))


def test_calls_are_of_one_label_and_have_their_own_seeds() -> None:
    """Rows are dealt out by label in their order; every call has another seed; more rows leave the first calls as they are."""
    labels = np.array([1, 0, 1, 1])
    made = calls(Request(4, labels=labels), 2, 2, seed=5)
    assert [(call.label, call.rows) for call in made] == [(1, (0, 2)), (1, (3,)), (0, (1,))]
    assert len({call.seed for call in made}) == 3
    assert calls(Request(3), 0, 1, seed=5) == calls(Request(5), 0, 1, seed=5)[:3]


def test_labels_must_be_described() -> None:
    """A label without an entry and data without labels are refused with what to do."""
    with pytest.raises(NotComputable, match="by_label needs labels, and the data declare none"):
        calls(Request(4), 2, 2, 1)
    with pytest.raises(InputError, match="images of label 5 are wanted, and by_label has 2 entries"):
        calls(Request(2, labels=np.array([0, 5])), 2, 2, 1)


def test_files_come_back_under_their_rows_and_labels(tmp_path: Path) -> None:
    """The twelfth image comes after the eleventh, numbers in names count as numbers, and each mask lies beside its image."""
    made = ask(Scribe(path=tmp_path / "pen", **KNOWN), tmp_path / "a")
    assert sorted(p.name for p in made.iterdir()) == [f"{row:05d}{end}.png" for row in range(12) for end in ("", "_mask")]
    assert "[], 10, ''" in (made / "00010.png").read_text()
    assert "[], 0, '_mask'" in (made / "00011_mask.png").read_text()
    generator = Scribe(path=tmp_path / "pen", **KNOWN, **NAMED)
    made = ask(generator, tmp_path / "b", 3, labels=np.array([1, 0, 1]))
    images = [str(p.relative_to(made)) for p in sorted(made.rglob("*")) if p.is_file() and "_mask" not in p.name]
    assert images == ["left/00001.png", "right/00000.png", "right/00002.png"]
    assert "'label': 1" in (made / "right" / "00002.png").read_text()
    assert (Scribe(path=tmp_path, **KNOWN).conditions(), generator.conditions()) == (frozenset(), {"labels"})


@pytest.mark.parametrize(
    ("generator", "what", "more"),
    [
        (Forger, "give the same image, bit by bit", "change its seed"),
        (Dropout, "the scribe ended with exit code 1", "it printed: it has not learned to write"),
        (Idler, r"a call for 11 images left 0 files that fit image_files: '\*.png'; there are note.txt", "correct image_files"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(tmp_path: Path, generator: type[Scribe], what: str, more: str) -> None:
    """A generator with a seed of its own, one that fails, and one that writes other files: each is named with what to do."""
    with pytest.raises(InputError, match=what) as caught:
        ask(generator(path=tmp_path / "pen", **KNOWN), tmp_path / "work")
    assert more in str(caught.value)
    assert str(tmp_path / "pen") in str(caught.value)


def test_folders_must_not_lie_in_each_other(tmp_path: Path) -> None:
    """Emptying the working folder would else empty the user's, of which nothing is touched."""
    path = tmp_path / "package"
    (path / "process").mkdir(parents=True)
    for workdir in (path / "work", path, tmp_path):
        with pytest.raises(InputError, match="working folder lie in each other"):
            Scribe(path=path, trust=True).work_folder(Context(1, workdir))
    assert (path / "process").is_dir()
    (tmp_path / "other" / "process" / "left behind").mkdir(parents=True)
    assert not Scribe(path=path, trust=True).work_folder(Context(1, tmp_path / "other")).exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "a scribe may write anything, and where you trust them write trust: true"),
        ({"trust": True, "by_label": ({}, {})}, "one name for each entry of by_label, got 0 for 2"),
        ({"trust": True, "by_label": ({}, {}), "label_names": ("a", "../b")}, "without slashes"),
        ({"trust": True, "by_label": ({}, {}), "label_names": ("a", "a")}, "each must be another name"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], what: str) -> None:
    """Code of others is not run unasked, and labels that are described need names for their folders."""
    with pytest.raises((ValidationError, ValueError), match=what):
        Scribe(path="pen", **options).require_names()
