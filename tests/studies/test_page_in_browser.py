"""The pages of a reader study in a real browser, driven by its keys and its mouse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.api import Context, InputError, Rating, as_answer
from harness.studies.build import Built, sampled
from harness.studies.intake import take_in
from harness_plugins.importers.study import Study
from reading_desk import Desk

CONTRAST = 4.5
SKILL = {"R1": 1.0, "R2": 0.7, "R3": 0.4}

CONTRASTS = """() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())).map((element) => {
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    return [element.textContent.trim().slice(0, 30), (one + 0.05) / (other + 0.05)];
  });
}"""
FOCUS = """() => {
  const element = document.activeElement, style = [element, element.closest(".option")].filter(Boolean).map((e) => getComputedStyle(e));
  return { id: element.id || element.name || element.tagName + (element.closest("fieldset")?.dataset.name ?? "") + element.type,
    visible: style.some((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2), body: element === document.body };
}"""
CONTROLS = """() => [...document.querySelectorAll("button, input, textarea")].filter((e) => e.checkVisibility() && !e.disabled)
  .map((e) => e.id || e.name || e.tagName + (e.closest("fieldset")?.dataset.name ?? "") + e.type)"""


@pytest.fixture
def sit(browser: Any, built: Built) -> Iterator[Callable[..., Desk]]:
    """Return the function that puts a reader before a page, in a browser of the reader's own."""
    contexts = []

    def down(reader: str = "R1", file: Path | None = None, width: int = 1280, height: int = 800, scale: int = 1) -> Desk:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale, accept_downloads=True,
                                            reduced_motion="reduce"))  # fmt: skip
        contexts[-1].set_default_timeout(8000)
        return Desk(contexts[-1].new_page(), file or built.pages[reader])

    yield down
    for context in contexts:
        context.close()


def scripted(reader: str, key: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a reader of this skill answers, by slot and question; less skill is more often wrong."""
    rng = np.random.default_rng([ord(letter) for letter in reader])
    script = {}
    for slot, entry in key["readers"][reader]["slots"].items():
        facts, right = entry["facts"], bool(rng.random() < SKILL[reader])
        if "positions" in entry:
            real = entry["positions"].index("real") + 1
            script[slot] = {"which_real": real if right else real % len(entry["positions"]) + 1}
            continue
        noticed = right if "planted" in facts else not right
        script[slot] = {
            "class": facts["label"] if right else ({"benign", "malignant"} - {facts["label"]}).pop(),
            "plausible": "no" if noticed else "yes",
            "mask_fit": str(rng.integers(1, 6)),
            "confidence": float(rng.integers(0, 101)),
            "remarks": f"seen by {reader}: 100 % – “ü”, <b>" if rng.random() < 0.5 else None,
        }
        if noticed:
            script[slot]["failed"] = [word for word in ("shape", "texture", "noise") if rng.random() < 0.5]
    return script


def by_keys(desk: Desk, answers: dict[str, Any], key: dict[str, Any]) -> None:
    """Answer the slot on screen with keys alone: each answer leads to the next question."""
    for name in [q["name"] for q in key["questions"] if answers.get(q["name"]) is not None]:
        assert desk.page.evaluate("activeName()") == name
        value, words = answers[name], next(q["categories"] for q in key["questions"] if q["name"] == name)
        if name == "confidence":
            desk.page.keyboard.type(f"{value:g}")
            if answers["remarks"] is not None:
                desk.key("Tab", "Tab")
        elif name == "remarks":
            desk.page.keyboard.type(value)
        elif name == "failed":
            desk.key(*([str(words.index(word) + 1) for word in value] or [str(len(words) + 1)]), "Enter")
        else:
            desk.key(str(value if name in ("which_real", "mask_fit") else words.index(value) + 1))


def by_mouse(desk: Desk, answers: dict[str, Any], key: dict[str, Any]) -> None:
    """Answer the slot on screen with the mouse, the keyboard for what is written."""
    for name in [q["name"] for q in key["questions"] if q["name"] in answers]:
        value, box = answers[name], desk.page.locator(f'[data-name="{name}"]')
        if name == "which_real":
            desk.page.locator(".tile").nth(value - 1).click()
        elif name == "confidence":
            box.locator('input[type="number"]').fill(f"{value:g}")
        elif name == "remarks":
            box.locator("textarea").fill(value or "")
        else:
            for word in (value or ["None of these"]) if name == "failed" else [value]:
                box.locator(".option", has_text=word).first.click()


def wanted(script: dict[str, dict[str, Any]], reader: str, key: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Return the values of the ratings that the answers mean, by item, reader, scale and occasion."""
    found = {}
    for slot, answers in script.items():
        entry = key["readers"][reader]["slots"][slot]
        for name, value in answers.items():
            if name == "which_real":
                value = entry["positions"][value - 1]  # noqa: PLW2901
            found[entry["item"], reader, name, entry["occasion"]] = as_answer(value) if isinstance(value, list) else value
    return found


@pytest.mark.slow
def test_three_readers_answer_and_every_rating_is_what_they_answered(
    sit: Callable[..., Desk], built: Built, study: Path, tmp_path: Path
) -> None:
    """Three readers of different skill answer by keys and mouse; saved, taken in and imported, their answers are the ratings, exactly."""
    key = json.loads((study / "key.json").read_text())
    expected: dict[tuple[str, ...], Any] = {}
    files = []
    for reader, answer in (("R1", by_keys), ("R2", by_mouse), ("R3", by_keys)):
        script = scripted(reader, key)
        desk = sit(reader)
        desk.begin()
        for number in range(len(script)):
            answer(desk, script[desk.slot()], key)
            if number == len(script) // 2:
                before = desk.slot()
                desk.page.reload()
                desk.page.wait_for_selector(".question")
                assert desk.slot() == before
            last = answer is by_keys and not desk.page.evaluate("document.activeElement.matches('textarea')")
            desk.turn("Enter" if last else "Control+Enter")
        assert desk.page.locator("#end-title").inner_text() == "Every question is answered"
        files.append(desk.saved(tmp_path))
        assert not desk.errors
        assert {url.split(":", 1)[0] for url in desk.requests} <= {"file", "data", "blob"}
        expected |= wanted(script, reader, key)
    taken = take_in(study, files)
    assert [path.name for path in taken.taken] == ["answers-R1.json", "answers-R2.json", "answers-R3.json"]
    ratings = list(Study(path=study).read(Context(0, tmp_path)))
    assert {(r.item, r.rater, r.scale, r.occasion): r.value for r in ratings} == expected
    assert all((r.status == "missing") == (r.value is None) and r.seconds is not None and r.seconds > 0 for r in ratings)
    assert _hit_rate(ratings, "R1") == 1.0


def _hit_rate(ratings: list[Rating], reader: str) -> float:
    """Return the share of grids in which a reader found the real image."""
    picked = [rating.value for rating in ratings if rating.rater == reader and rating.scale == "which_real"]
    return picked.count("real") / len(picked)


def test_a_change_of_mind_is_kept_and_counted(sit: Callable[..., Desk], tmp_path: Path) -> None:
    """Going back and answering otherwise keeps the last answer and counts one change; the first answer counts none."""
    desk = sit()
    desk.begin()
    first = desk.slot()
    desk.key("1")
    desk.turn("ArrowRight")
    desk.turn("ArrowLeft")
    assert desk.page.locator('[data-name="class"] input:checked').get_attribute("value") == "benign"
    desk.page.locator('[data-name="class"] .option').nth(1).click()
    saved = json.loads(desk.saved(tmp_path).read_text())
    answer = saved["slots"][first]["answers"]["class"]
    assert (answer["value"], answer["changes"]) == ("malignant", 1)
    assert (saved["complete"], saved["answered"], saved["slots"][first]["visits"]) == (False, 1, 2)
    assert "Chrom" in saved["user_agent"]


def test_an_answer_that_closes_a_question_takes_its_answer_out_of_the_file(sit: Callable[..., Desk], tmp_path: Path) -> None:
    """Criteria that failed are asked only of what is not plausible: they go once the reader finds it plausible after all."""
    desk = sit()
    desk.begin()
    desk.key("1", "2")
    assert "failed" in desk.questions()
    desk.key("1")
    desk.page.locator('[data-name="plausible"] .option').first.click()
    assert "failed" not in desk.questions()
    saved = json.loads(desk.saved(tmp_path).read_text())
    assert set(saved["slots"][desk.slot()]["answers"]) == {"class", "plausible"}


def test_a_reader_goes_on_in_another_browser_with_the_saved_file(sit: Callable[..., Desk], tmp_path: Path) -> None:
    """A saved file brings the answers into another browser; that of another reader, or no such file, is refused in words."""
    desk = sit()
    desk.begin()
    desk.key("2")
    path = desk.saved(tmp_path)
    other = sit()
    other.page.set_input_files("#load-file", path)
    other.page.wait_for_selector(".question")
    assert other.page.locator('[data-name="class"] input:checked').get_attribute("value") == "malignant"
    stranger = sit("R2")
    stranger.page.set_input_files("#load-file", path)
    stranger.page.wait_for_selector("#notice:not([hidden])")
    assert stranger.page.locator("#notice").inner_text() == "These answers belong to another study or page."
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[1]")
    stranger.page.set_input_files("#load-file", nothing)
    stranger.page.wait_for_function("byId('notice').textContent === 'This is not a file of saved answers.'")


def test_time_runs_only_while_the_page_is_visible(sit: Callable[..., Desk]) -> None:
    """Seconds of an image grow while the page is visible and stand still while it is hidden."""
    desk = sit()
    desk.begin()
    become = """(state) => { Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange")); answers.tick(); return answers.slot(sheet.slots[0].id).seconds; }"""
    desk.page.wait_for_timeout(120)
    before = desk.page.evaluate(become, "hidden")
    desk.page.wait_for_timeout(300)
    after = desk.page.evaluate(become, "visible")
    assert 0.1 <= before <= after < before + 0.05
    desk.page.wait_for_timeout(100)
    assert desk.page.evaluate(become, "hidden") >= after + 0.09


def test_leaving_with_answers_that_no_file_holds_is_warned_of(sit: Callable[..., Desk], tmp_path: Path) -> None:
    """The browser asks before it leaves a page with answers that were not saved as a file, and not after they were."""
    desk = sit()
    asked = []
    desk.page.on("dialog", lambda dialog: asked.append(dialog.type))
    desk.begin()
    desk.key("1")
    desk.page.reload()
    assert asked == ["beforeunload"]
    desk.page.wait_for_selector(".question")
    desk.saved(tmp_path)
    desk.page.reload()
    assert asked == ["beforeunload"]


def test_a_browser_that_keeps_nothing_says_so(sit: Callable[..., Desk]) -> None:
    """Where the browser's storage fails, the reader is told to save a file before closing the page."""
    desk = sit()
    desk.page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })")
    desk.page.reload()
    desk.page.wait_for_selector("#notice:not([hidden])")
    assert "does not keep your answers" in desk.page.locator("#notice").inner_text()


def test_an_edited_page_says_so_and_its_answers_are_refused(sit: Callable[..., Desk], built: Built, study: Path, tmp_path: Path) -> None:
    """A page whose data were changed is noticed by the page itself and by whoever reads its answers."""
    path = tmp_path / "R1.html"
    path.write_text(built.pages["R1"].read_text().replace("Which class is it?", "Which class is it really?"))
    desk = sit(file=path)
    desk.page.wait_for_selector("#notice:not([hidden])")
    desk.begin()
    desk.key("1")
    with pytest.raises(InputError, match="older, newer, or was edited"):
        take_in(study, [desk.saved(tmp_path)])


def test_pixels_reach_the_screen_as_they_are(sit: Callable[..., Desk], built: Built, maker: Any) -> None:
    """Every intensity is painted as the audit has it, the outline is where the mask ends, and a narrow window tells levels apart."""
    desk = sit()
    desk.begin()
    key = json.loads((built.folder / "key.json").read_text())
    entries = key["readers"]["R1"]["slots"]
    place = next(
        i for i, entry in enumerate(entries.values()) if entry["facts"].get("origin") == "real" and "planted" not in entry["facts"]
    )
    slot = list(entries)[place]
    desk.page.evaluate(f"go({place})")
    desk.page.wait_for_function("(slot) => document.querySelector('.question')?.dataset.slot === slot", arg=slot)
    images = sampled(maker.project.audit()).real
    row = images.ids.index(entries[slot]["item"])
    painted = """() => { viewer.paint(viewer.tiles[0]); const d = viewer.tiles[0].drawn;
      return [...d.getContext("2d").getImageData(0, 0, d.width, d.height).data].filter((_, i) => i % 4 === 0); }"""
    plain = images.images[row, 0]
    assert np.abs(np.array(desk.page.evaluate(painted)).reshape(plain.shape) - plain * 255).max() <= 0.51
    desk.page.evaluate("viewer.set({ level: 0.5, width: 0.01 })")
    narrow = np.array(desk.page.evaluate(painted)).reshape(plain.shape)
    stored = np.rint(plain * 65535) / 65535
    assert np.abs(narrow - np.clip((stored - 0.495) / 0.01, 0, 1) * 255).max() <= 0.51
    assert desk.page.evaluate("[...viewer.tiles[0].mask]") == images.masks[row].ravel().tolist()


def test_the_image_is_zoomed_moved_and_windowed_by_mouse_and_keys(sit: Callable[..., Desk]) -> None:
    """Wheel and keys zoom, dragging moves, right dragging windows, the outline is switched, and a double click resets."""
    desk = sit()
    desk.begin()
    state = "() => [viewer.zoom, viewer.x, viewer.y, viewer.level, viewer.width].map((v) => Math.round(v * 1000) / 1000)"
    box = desk.page.locator(".tile canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse = desk.page.mouse
    mouse.move(*middle)
    mouse.wheel(0, -200)
    desk.page.wait_for_function("viewer.zoom > 1.5")
    mouse.down()
    mouse.move(middle[0] + 40, middle[1] + 20, steps=3)
    mouse.up()
    _, x, y, level, width = desk.page.evaluate(state)
    assert x > 0.03
    assert y > 0.01
    assert (level, width) == (0.5, 1)
    mouse.down(button="right")
    mouse.move(middle[0] + 100, middle[1] - 30, steps=3)
    mouse.up(button="right")
    *_, level, width = desk.page.evaluate(state)
    assert level > 0.5
    assert width > 1
    mouse.dblclick(*middle)
    assert desk.page.evaluate(state) == [1, 0, 0, 0.5, 1]
    desk.key("+", "Shift+ArrowRight", "]", "}")
    zoom, x, _, level, width = desk.page.evaluate(state)
    assert (zoom, x, level, width) == (1.25, 0.06, 0.52, 1.04)
    assert desk.page.evaluate("viewer.outline")
    desk.key("r", "m")
    assert desk.page.evaluate(state) == [1, 0, 0, 0.5, 1]
    assert not desk.page.evaluate("viewer.outline")


@pytest.mark.parametrize(("width", "height", "scale"), [(1280, 800, 1), (1920, 1080, 1), (640, 400, 2)])
def test_every_screen_can_be_read_and_reached_by_keys(sit: Callable[..., Desk], width: int, height: int, scale: int) -> None:
    """At both widths and at 200 % zoom nothing overflows, text has a contrast of 4.5, and Tab reaches all controls with a visible focus."""
    desk = sit(width=width, height=height, scale=scale)
    slots = desk.page.evaluate("sheet.slots.length")
    for screen in (-1, 0, slots - 1, slots):
        desk.page.evaluate(f"go({screen})")
        if 0 <= screen < slots:
            slot = desk.page.evaluate(f"sheet.slots[{screen}].id")
            desk.page.wait_for_function("(slot) => document.querySelector('.question')?.dataset.slot === slot", arg=slot)
            desk.key("1", "2")
        assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        contrasts = desk.page.evaluate(CONTRASTS)
        assert len(contrasts) > 5
        assert [pair for pair in contrasts if pair[1] < CONTRAST] == []
        _reach_all(desk)
    desk.key("?")
    assert [pair for pair in desk.page.evaluate(CONTRASTS) if pair[1] < CONTRAST] == []
    assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not desk.errors


def _reach_all(desk: Desk) -> None:
    """Walk through a screen with Tab: every control comes, each with a visible focus."""
    controls = desk.page.evaluate(CONTROLS)
    reached = set()
    for _ in range(len(controls) + 6):
        desk.key("Tab")
        found = desk.page.evaluate(FOCUS)
        assert found["visible"] or found["body"], f"the focus on {found['id']} cannot be seen"
        reached.add(found["id"])
    assert set(controls) <= reached


def test_a_volume_is_leafed_through(sit: Callable[..., Desk], tmp_path: Path) -> None:
    """The slices of a volume are reached by keys, slider and Shift with the wheel, and are painted as they are; colours are too."""
    from harness.quantities import Scale
    from harness.studies import page

    rng = np.random.default_rng(0)
    scale = Scale(name="plausible", level="nominal", categories=("yes", "no"))
    for name, shape in (("volume", (1, 5, 12, 16)), ("colour", (3, 12, 16))):
        pixels = np.rint(rng.random(shape) * 255).astype(np.float32) / np.float32(255)
        spacing = (2.0, 1.0, 1.0) if name == "volume" else (1.0, 1.0)
        sheet = page.Sheet("study-0", "", (scale,), page.bits_needed([pixels]), spacing)
        assert sheet.bits == 8
        text, _ = page.html(sheet, "R1", [page.Showing("a1", (page.Picture(pixels),))])
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        desk = sit(file=path)
        desk.begin()
        painted = """() => { viewer.paint(viewer.tiles[0]); const d = viewer.tiles[0].drawn;
          return [...d.getContext("2d").getImageData(0, 0, d.width, d.height).data]; }"""
        colours = np.array(desk.page.evaluate(painted)).reshape(12, 16, 4)[..., :3]
        if name == "colour":
            assert np.array_equal(colours, np.moveaxis(np.rint(pixels * 255), 0, -1))
            assert not desk.page.locator("#slice").is_visible()
            continue
        assert np.array_equal(colours[..., 0], np.rint(pixels[0, 2] * 255))
        desk.key("PageDown")
        assert desk.page.evaluate("viewer.slice") == 3
        desk.page.locator("#slice").fill("1")
        assert desk.page.evaluate("viewer.slice") == 0
        desk.page.locator(".tile canvas").hover()
        desk.page.keyboard.down("Shift")
        desk.page.mouse.wheel(0, 100)
        desk.page.keyboard.up("Shift")
        desk.page.wait_for_function("viewer.slice === 1")
        colours = np.array(desk.page.evaluate(painted)).reshape(12, 16, 4)
        assert np.array_equal(colours[..., 0], np.rint(pixels[0, 1] * 255))
        assert not desk.errors


def test_no_copy_of_a_study_is_needed_to_open_a_page(sit: Callable[..., Desk], built: Built, tmp_path: Path) -> None:
    """A page works alone, wherever it lies: under another name, in an empty folder."""
    alone = tmp_path / "a stick" / "page é.html"
    alone.parent.mkdir()
    shutil.copyfile(built.pages["R2"], alone)
    desk = sit(file=alone)
    desk.begin()
    desk.key("1")
    assert desk.page.locator("#progress").inner_text().startswith("Image 1 of")
    assert not desk.errors
    assert {url.split(":", 1)[0] for url in desk.requests} <= {"file", "data", "blob"}
