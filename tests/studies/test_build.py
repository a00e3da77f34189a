"""A study on disk: blinded pages, a key that stays behind, and refusals that say everything at once."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError, SpecError
from harness.images import ImageSet
from harness.records import AuditRow
from harness.studies.build import Built, build, lines, sampled
from harness.studies.page import bits_needed
from harness_plugins.perturbations.gaussian_noise import GaussianNoise
from tiny_audit import MODEL

SINGLE = [{"name": "class", "level": "nominal", "categories": ["benign", "malignant"], "truth": "label", "alarm": ["malignant"]}]
NOTHING = {"planted": None, "grids": None, "repeats": None}


def key_of(built: Built) -> dict[str, Any]:
    """Return the key of a study."""
    return dict(json.loads((built.folder / "key.json").read_text()))


def blocks(path: Path) -> dict[str, Any]:
    """Return the data of a page by the id of the element that holds them."""
    return {i: json.loads(text) for i, text in re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', path.read_text())}


def refusal(maker: Any, **changes: Any) -> list[str]:
    """Return the lines with which a study is refused."""
    with pytest.raises(InputError) as caught:
        maker(folder="refused", **changes)
    assert not (maker.project.folder / "refused").exists()
    return caught.value.lines()


def test_a_study_has_a_page_per_reader_and_a_key(built: Built) -> None:
    """Each reader has a page; key, design, and the same for Label Studio lie beside them, and the counts are those of the rule."""
    assert sorted(p.name for p in built.folder.iterdir()) == ["key.json", "label_studio", "pages", "study.json"]
    assert sorted(path.name for path in built.pages.values()) == ["R1.html", "R2.html", "R3.html"]
    assert {use: sum(n.values()) for use, n in built.counts.items()} == {"real": 2, "synthetic": 2, "planted gaussian_noise": 1, "grids": 2}
    assert any("keep" in line and "key.json" in line for line in lines(built))


def test_pages_tell_nothing(built: Built, maker: Any) -> None:
    """No page holds an id, a file name, a patient, an origin or a label of an image, a planted fault, or what answers are right."""
    images = sampled(maker.project.audit())
    known = {*images.real.ids, *images.synthetic.ids, *(images.real.patients or ()), *(images.synthetic.patients or ())}
    names = {path.stem for path in maker.project.folder.rglob("*.png")}
    for path in built.pages.values():
        page = blocks(path)
        text = json.dumps({name: body for name, body in page.items() if name == "design"})
        for slot in (body for name, body in page.items() if name != "design"):
            assert set(slot) == {"pictures", "description"}
            assert all(set(picture) == {"pixels", "mask"} for picture in slot["pictures"])
        assert not [word for word in known | names | {"gaussian_noise", "planted", "alarm", "truth", "grid-001", "stratum"} if word in text]
        assert set(page["design"]["slots"][0]) == {"id", "kind"}
        shell = re.sub(r'<script type="application/json".*?</script>', "", path.read_text())
        assert not [word for word in known | names if word in shell]
        assert str(maker.project.folder) not in path.read_text()


def test_pages_allow_nothing_from_outside(built: Built) -> None:
    """The policy of a page allows no source but data and the two texts whose digests it names, and no address is in it."""
    text = built.pages["R1"].read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; font-src data:; style-src 'sha256-[^']{44}'; script-src 'sha256-[^']{44}'", policy[1]
    )
    assert not re.search(r"https?://|<!--[A-Z]+-->|\bsrc=|\bhref=", text)


def test_text_of_the_user_cannot_break_out_of_its_element(maker: Any) -> None:
    """Instructions and questions with markup are data, whatever they hold."""
    nasty = "</script><script>alert(1)</script><!-- é \u2028 &amp;"
    scales = [{"name": "class", "level": "nominal", "categories": ["</style>", "b"], "question": nasty}]
    text = maker(folder="nasty", scales=scales, instructions=nasty, **NOTHING).pages["R1"]
    design = blocks(text)["design"]
    assert design["instructions"] == design["questions"][0]["question"] == nasty
    assert "alert(1)</script>" not in text.read_text()


def test_pixels_and_masks_are_those_of_the_audit(built: Built, maker: Any) -> None:
    """What a page holds is the image of the key's item to the stored depth, and its mask; the fault changes the planted ones alone."""
    images = sampled(maker.project.audit())
    entries, page = key_of(built)["readers"]["R2"]["slots"], blocks(built.pages["R2"])
    assert page["design"]["bits"] == 16
    sides = {"real": images.real, "synthetic": images.synthetic}
    for slot, entry in entries.items():
        if "positions" in entry:
            assert all(picture["mask"] is None for picture in page[f"slot-{slot}"]["pictures"])
            continue
        side = sides[entry["facts"]["origin"]]
        row = side.ids.index(entry["item"])
        picture = page[f"slot-{slot}"]["pictures"][0]
        pixels = np.frombuffer(zlib.decompress(base64.b64decode(picture["pixels"])), "<u2").reshape(side.images.shape[1:]) / 65535
        off = np.abs(pixels - side.images[row]).max()
        assert off > 0.1 if "planted" in entry["facts"] else off < 1 / 65535
        assert np.array_equal(np.frombuffer(zlib.decompress(base64.b64decode(picture["mask"])), np.uint8), side.masks[row].ravel())


def test_real_images_are_test_images(built: Built, maker: Any) -> None:
    """No real image of a study is one that the generator may have learned from; labels and strata are named in the key."""
    images = sampled(maker.project.audit())
    entries = [entry for page in key_of(built)["readers"].values() for entry in page["slots"].values()]
    real = {entry["item"] for entry in entries if entry["facts"].get("origin") == "real"}
    assert real <= set(images.real.ids)
    assert not real & set(images.train.ids)
    assert {entry["facts"]["label"] for entry in entries if "positions" not in entry} <= {"benign", "malignant"}
    grid = next(entry for entry in entries if "positions" in entry)
    assert sorted(grid["positions"]) == ["real", "synthetic", "synthetic"]
    design = json.loads((built.folder / "study.json").read_text())
    assert all(words[0].removeprefix("real: ") in images.real.ids for words in design["grids"].values())


def test_the_same_audit_gives_the_same_study(built: Built, maker: Any) -> None:
    """Built again, every file has the same bytes; another study does not take its folder."""
    before = {path: path.read_bytes() for path in built.folder.rglob("*") if path.is_file()}
    again = maker(folder="shared")
    assert again.study == built.study
    assert {path: path.read_bytes() for path in built.folder.rglob("*") if path.is_file()} == before
    with pytest.raises(InputError, match=r"the folder holds another study \(study-"):
        maker(folder="shared", real=1)
    assert {path: path.read_bytes() for path in built.folder.rglob("*") if path.is_file()} == before


def test_only_images_are_made(maker: Any) -> None:
    """A study leaves nothing in the results file, and the run afterwards finds its images in the cache."""
    maker(folder="cells")
    attempt = maker.project.audit()
    drawn = attempt.draw()
    done = [key for key in drawn.cells if attempt.cache.load(key) is not None]
    assert set(done) == set(drawn.images)
    assert attempt.store.audits() == []
    assert attempt.store.rows(AuditRow, attempt.id) == []


def test_the_design_says_what_can_be_expected(built: Built) -> None:
    """study.json justifies the size of the study: the owner's words, and the half-widths that it leads to."""
    design = json.loads((built.folder / "study.json").read_text())
    assert (design["study"], design["seed"], design["counts"]["real"]) == (built.study, 7, dict(built.counts["real"]))
    assert design["sample_size"]["because"] == "a test"
    found = design["sample_size"]["expected"]
    agreement = [row for row in found if row["question"] == "plausible"]
    assert [(row["items"], row["raters"]) for row in agreement] == [(4, 3), (4, 3)]
    assert agreement[0]["half_width"][0] > agreement[1]["half_width"][0] > 0.2
    accuracy = next(row for row in found if row["question"] == "class" and "accuracy" in row["what"])
    assert accuracy["half_width"][0] == pytest.approx(0.29, abs=0.05)
    assert next(row for row in found if row["question"] == "which_real")["grids"] == 2
    assert design["readers"]["R1"] == {"showings": 8, "second_showings": 1}
    assert design["sha256"]["key"] == key_of(built)["sha256"]


def test_a_study_must_be_declared(maker: Any) -> None:
    """Without ratings.study there is nothing to build, and without a generator nothing to compare."""
    maker.project.write(ratings={"scales": SINGLE})
    with pytest.raises(SpecError, match="no reader study is declared"):
        build(maker.project.audit(), maker.project.folder / "none")


def test_images_that_cannot_be_had_are_said(maker: Any) -> None:
    """What keeps the images from being read, or the generator from making any, is the reason that is given, with its place."""
    study = {"readers": ["R1"], "real": 1, "because": "a test"}
    broken = maker.project.folder / "broken" / "benign" / "P1_linear_1.png"
    broken.parent.mkdir(parents=True)
    broken.write_text("no picture")
    maker.project.write(generator={"folder": {"path": "broken"}}, ratings={"scales": SINGLE, "study": study})
    with pytest.raises(InputError, match=r"model\.yaml:\d+: 60 images from folder: "):
        build(maker.project.audit(), maker.project.folder / "none")
    maker.project.write(ratings={"scales": SINGLE, "study": study}, data=MODEL["data"] | {"window": [0, 1], "outside": "refuse"})
    with pytest.raises(InputError, match=r"read the real images: "):
        build(maker.project.audit(), maker.project.folder / "none")


def test_everything_that_is_wrong_is_said_at_once(maker: Any) -> None:
    """Too few images, an unknown stratum, unknown questions and grids that nobody asks about are one refusal, with lines of model.yaml."""
    said = refusal(maker, scales=SINGLE, real=50, synthetic=61, strata=["label", "scanner"], questions=["class", "shape"], grids=1,
                   planted={"scratches": 1})  # fmt: skip
    text = "\n".join(said)
    assert "50 real images and 1 with a planted fault, which are others, are asked for, and the test set has 36" in text
    assert "no perturbation is called 'scratches'" in text
    assert "61 synthetic images are asked for, and there are 60" in text
    assert text.count("have no stratum 'scanner'") == 2
    assert "strata of these images: label, probe" in text
    assert "the study asks 'shape', which is no scale" in text
    assert "the study shows grids, and no scale asks about them" in text
    assert re.search(r"^model\.yaml:\d+: 50 real images", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"real": 30, "planted": {"gaussian_noise": 7}}, "30 real images and 7 with a planted fault, which are others, are asked for"),
        ({"planted": {"gaussian_nois": 1}}, "no perturbation is called 'gaussian_nois'"),
        ({"planted": {"resave": 1}}, "it is a negative control and does no harm"),
        ({"planted": {"label_swap": 2}}, "2 of 2 images look as before"),
        ({"scales": SINGLE, "questions": ["class", "class"], **NOTHING}, "the study asks a question twice"),
        ({"scales": [{"name": "c", "level": "nominal", "categories": ["a"]}], "grids": None}, "no answer says that one was noticed"),
        ({"scales": [{"name": "c", "level": "nominal"}], **NOTHING}, "lists no categories to choose from"),
        (
            {"scales": [SINGLE[0] | {"categories": ["malignant"]}], **NOTHING},
            "class asks for the label, and 'benign' is none of its answers",
        ),
        ({"scales": [{"name": "c", "level": "interval", "categories": ["x"]}], **NOTHING}, "'x' is no number"),
        ({"scales": [{"name": "d", "level": "text", "only_if": "class=benign"}, *SINGLE], **NOTHING}, "does not ask class before it"),
        ({"real": None, "synthetic": None, "planted": None}, "repeats are of single images, and the study shows none"),
        ({"grid_of": 12, "scales": None}, None),
        ({"scales": SINGLE, "questions": ["class"], "planted": None}, "the study shows grids, and no scale asks about them"),
        ({"questions": ["which_real"], "repeats": None, "planted": None}, "the study shows single images, and no scale asks about them"),
        ({"questions": ["class", "which_real"], "grids": None, "planted": None}, "asked about images that the study does not show"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(maker: Any, changes: dict[str, Any], words: str | None) -> None:
    """Each mistake is named; a large grid is none."""
    if words is None:
        assert maker(folder="large_grids", **changes).study.startswith("study-")
        shutil.rmtree(maker.project.folder / "large_grids")
        return
    assert words in "\n".join(refusal(maker, **changes))


def test_masks_are_needed_where_a_question_shows_them(maker: Any) -> None:
    """A question about outlines of images without masks is refused for each origin that lacks them."""
    data = {"train": "train", "test": "test", "labels": "folder", "files": "**/*[0-9].png", "window": [0, 255]}
    scales = [{"name": "fit", "level": "ordinal", "categories": ["1", "2"], "shows": "mask"}]
    maker.project.write(data=data, ratings={"scales": scales, "study": {"readers": ["R1"], "real": 1, "synthetic": 1, "because": "a test"}})
    with pytest.raises(InputError) as caught:
        build(maker.project.audit(), maker.project.folder / "refused")
    text = str(caught.value)
    assert "fit shows masks, and the real images have none" in text
    assert "fit shows masks, and the synthetic images have none" in text


def test_a_fault_is_planted_with_the_options_of_the_audit(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A perturbation is applied at full severity with the training images beside it; one that loses images is refused."""
    calls = []
    apply = GaussianNoise.apply

    def watched(self: GaussianNoise, images: ImageSet, train: ImageSet, severity: float, context: Any) -> ImageSet:
        calls.append((len(images), len(train), severity))
        return apply(self, images, train, severity, context)

    monkeypatch.setattr(GaussianNoise, "apply", watched)
    maker(folder="watched", planted={"gaussian_noise": 2, "blur": 1})
    assert calls == [(2, 96, 1.0)]
    monkeypatch.setattr(GaussianNoise, "apply", lambda self, images, train, severity, context: images.take([0]))
    assert "it does not give every image back" in "\n".join(refusal(maker, planted={"gaussian_noise": 2}))


def described(maker: Any, answers: list[dict[str, Any]], folder: str) -> Built:
    """Build a study whose readers judge the descriptions that a model gave of every image, after these answers."""
    file = maker.project.folder / "descriptions.jsonl"
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    agree = {"name": "agree", "level": "ordinal", "categories": ["1", "2", "3"], "shows": "description", "describes": "findings"}
    scales = [{"name": "findings", "level": "text"}, agree]
    study = {"readers": ["R1"], "real": 2, "synthetic": 2, "questions": ["agree"], "because": "a test"}
    maker.project.write(ratings={"scales": scales, "llm_checks": [{"recorded": {"path": str(file)}}], "study": study})
    return build(maker.project.audit(), maker.project.folder / folder)


def test_descriptions_are_shown_beside_the_images_that_they_describe(maker: Any) -> None:
    """Each image comes with what the model said of it; an image without, or a second model, is refused."""
    maker.project.write()
    images = sampled(maker.project.audit())
    ids = [*images.real.ids, *images.synthetic.ids]
    answers = [{"item": name, "scale": "findings", "model": "m1", "answer": f"an image, number {k}"} for k, name in enumerate(ids)]
    built = described(maker, answers, "described")
    page = blocks(built.pages["R1"])
    for slot, entry in key_of(built)["readers"]["R1"]["slots"].items():
        assert page[f"slot-{slot}"]["description"] == f"an image, number {ids.index(entry['item'])}"
    shown = {entry["item"] for entry in key_of(built)["readers"]["R1"]["slots"].values()}
    assert set(json.loads((built.folder / "descriptions.json").read_text())) == shown
    with pytest.raises(InputError, match="the folder holds another study"):
        described(maker, [answer | {"answer": f"{answer['answer']}, seen again"} for answer in answers], "described")
    lost = min(shown)
    with pytest.raises(InputError, match=f"1 of the 4 images have no description on findings, such as {lost}"):
        described(maker, [answer for answer in answers if answer["item"] != lost], "refused")
    with pytest.raises(InputError, match="m1 and m2 both answer findings"):
        described(maker, [*answers, *[answer | {"model": "m2"} for answer in answers]], "refused")


def test_descriptions_need_a_model(maker: Any) -> None:
    """Without a model that describes, the build says what is missing."""
    agree = {"name": "agree", "level": "ordinal", "categories": ["1", "2"], "shows": "description", "describes": "words"}
    said = "\n".join(refusal(maker, scales=[*SINGLE, {"name": "words", "level": "text"}, agree], **NOTHING))
    assert "no language model answers words" in said


def test_one_depth_for_all_images() -> None:
    """Images of 256 levels are stored in eight bits; one image with more makes it sixteen for all, so that depth tells no origin."""
    coarse = np.arange(16, dtype=np.float32).reshape(1, 4, 4) / np.float32(255)
    assert bits_needed([coarse, coarse]) == 8
    assert bits_needed([coarse, coarse + np.float32(0.001)]) == 16
