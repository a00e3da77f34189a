"""Concepts in a description: what is asserted, doubted and denied."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.api import InputError, Scale
from harness_plugins.llm_checks.concepts import Vocabulary, answer, concepts, mentions, require_known
from harness_plugins.llm_checks.prompt_sets import load

SHIPPED = load("concepts_chest_xray").vocabulary
assert SHIPPED is not None
CONCEPTS = Scale(name="concepts", level="set", categories=tuple(SHIPPED.concepts), describes="findings")
LABELS = Scale(name="labels", level="set", categories=tuple(SHIPPED.labels), describes="findings")
YES, NO, MAYBE = "present", "denied", "uncertain"


def small(**more: object) -> Vocabulary:
    """Return a vocabulary of two concepts."""
    known = {
        "concepts": {"cyst": ["cyst", "cystic lesion"], "mass": ["mass"]},
        "negation": {"before": ["no"], "ends": ["but"], "window": 2},
        "uncertain": {"before": ["possible"], "counts": "absent"},
    }
    return Vocabulary.model_validate(known | more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Right pleural effusion.", [("pleural fluid", YES)]),
        ("No effusion or pneumothorax.", [("pleural fluid", NO), ("pleural air", NO)]),
        (
            "No pleural effusion, pneumothorax, or focal consolidation is seen.",
            [("pleural fluid", NO), ("pleural air", NO), ("consolidation", NO)],
        ),
        ("Neither effusion nor pneumothorax.", [("pleural fluid", NO), ("pleural air", NO)]),
        ("There is no evidence of a large left pleural effusion.", [("pleural fluid", NO)]),
        (
            "No evidence of a mass, nodule, cavity, consolidation, or large left pleural effusion.",
            [("mass", NO), ("nodule", NO), ("cavity", NO), ("consolidation", NO), ("pleural fluid", NO)],
        ),
        ("Cardiomegaly without effusion.", [("enlarged heart", YES), ("pleural fluid", NO)]),
        ("No effusion but consolidation at the left base.", [("pleural fluid", NO), ("consolidation", YES)]),
        ("No effusion; however, there is cardiomegaly.", [("pleural fluid", NO), ("enlarged heart", YES)]),
        ("No effusion and the heart is enlarged.", [("pleural fluid", NO), ("enlarged heart", YES)]),
        ("No pneumothorax. Small right effusion.", [("pleural air", NO), ("pleural fluid", YES)]),
        ("No pneumothorax\n- effusion on the right", [("pleural air", NO), ("pleural fluid", YES)]),
        ("Effusion, pneumothorax and consolidation are not seen.", [("pleural fluid", NO), ("pleural air", NO), ("consolidation", NO)]),
        ("Large effusion, pneumothorax is not seen.", [("pleural fluid", YES), ("pleural air", NO)]),
        ("Effusion is seen and pneumothorax is not seen.", [("pleural fluid", YES), ("pleural air", NO)]),
        ("The pneumothorax has resolved.", [("pleural air", NO)]),
        ("Effusion: none. Pneumothorax: no. Opacity: left base.", [("pleural fluid", NO), ("pleural air", NO), ("opacity", YES)]),
        ("No change in the large pleural effusion.", [("pleural fluid", YES)]),
        ("Not only effusion but also pneumothorax.", [("pleural fluid", YES), ("pleural air", YES)]),
        ("Pneumonia cannot be excluded.", [("consolidation", MAYBE)]),
        ("Findings suspicious for pneumonia.", [("consolidation", MAYBE)]),
        ("Possible pneumonia versus effusion.", [("consolidation", MAYBE), ("pleural fluid", MAYBE)]),
        ("Cardiomegaly with possible effusion.", [("enlarged heart", YES), ("pleural fluid", MAYBE)]),
        ("Cannot exclude a small pneumothorax.", [("pleural air", MAYBE)]),
        ("No acute cardiopulmonary disease.", [("unremarkable", YES)]),
        ("MASSIVE EFFUSION", [("pleural fluid", YES)]),
        ("pleural-effusion, nodular  opacity", [("pleural fluid", YES), ("nodule", YES)]),
        ("A hilar mass.", [("hilar enlargement", YES)]),
        ("The opacity measures 3.5 cm.", [("opacity", YES)]),
        ("Noted: amass, effusional changes.", []),
        ("", []),
    ],
)
def test_each_mention_is_told(text: str, expected: list[tuple[str, str]]) -> None:
    """Coordination, lists before and after the denying word, ends of scope, doubt, and whole words in any case."""
    assert SHIPPED is not None
    assert mentions(text, SHIPPED) == expected


def test_one_assertion_is_enough() -> None:
    """A concept that is denied on one side and asserted on the other is there, once."""
    assert SHIPPED is not None
    text = "No effusion on the left. Effusion on the right; the right effusion is large."

    assert concepts(text, SHIPPED) == ("pleural fluid",)


def test_doubt_counts_as_declared() -> None:
    """`counts` decides whether a doubted concept is there."""
    assert concepts("possible cyst", small()) == ()
    assert concepts("possible cyst", small(uncertain={"before": ["possible"], "counts": "present"})) == ("cyst",)


def test_what_counts_alone_gives_way() -> None:
    """`unremarkable` is dropped beside any other concept."""
    assert SHIPPED is not None
    assert concepts("The heart is unremarkable. Large effusion.", SHIPPED) == ("pleural fluid",)
    assert concepts("Unremarkable. No effusion.", SHIPPED) == ("unremarkable",)


def test_the_window_is_counted_in_words() -> None:
    """Two words may lie between the denying word and the phrase, and a list goes on from each denied phrase."""
    assert concepts("no very large cyst", small()) == ()
    assert concepts("no such very large cyst", small()) == ("cyst",)
    assert concepts("no cyst or large mass", small()) == ()


def test_the_longest_phrase_counts() -> None:
    """`cystic lesion` is one mention."""
    assert mentions("a cystic lesion", small()) == [("cyst", "present")]


def test_answers_name_categories_in_their_order() -> None:
    """Concepts and labels both may be categories; nothing found is the answer `none`."""
    assert SHIPPED is not None
    text = "There is a nodule. Cardiomegaly. Small effusion with blunting of the left costophrenic angle."

    assert answer(text, CONCEPTS, SHIPPED) == "pleural fluid; costophrenic blunting; enlarged heart; nodule"
    assert answer(text, LABELS, SHIPPED) == "Pleural Effusion; Cardiomegaly; Suspicious Malignancy"
    assert answer("Lungs are clear.", LABELS, SHIPPED) == "No Relevant Finding"
    assert answer("A portable radiograph.", CONCEPTS, SHIPPED) == "none"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"concepts": {"cyst": []}}, "the concept cyst has no phrase"),
        ({"concepts": {"cyst": ["Cyst"], "mass": ["cyst"]}}, "means both cyst and mass"),
        ({"alone": ["nothing"]}, "'nothing' is not among the concepts"),
        ({"labels": {"L": ["lump"]}}, "'lump' is not among the concepts"),
        ({"labels": {"cyst": ["mass"]}}, "'cyst' is a concept and a label"),
        ({"concepts": {}}, "at least 1 item"),
        ({"negation": {"befor": []}}, "Extra inputs"),
        ({"uncertain": {"counts": "perhaps"}}, "'present' or 'absent'"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(more: dict[str, object], words: str) -> None:
    """Phrases have one owner, and whatever is named exists."""
    with pytest.raises(ValidationError, match=words):
        small(**more)


def test_scales_must_be_covered() -> None:
    """A category that is neither a concept nor a label is named, and so is a missing vocabulary."""
    require_known([CONCEPTS, LABELS], SHIPPED, "here")
    with pytest.raises(InputError, match="'rib fracture' of the scale s is neither a concept nor a label"):
        require_known([Scale(name="s", level="set", categories=("rib fracture",), describes="d")], SHIPPED, "here")
    with pytest.raises(InputError, match="there is no vocabulary"):
        require_known([CONCEPTS], None, "here")
    require_known([], None, "here")
