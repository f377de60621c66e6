"""How much of a held-out document an answer has, counted by program, in every language."""

import math
from pathlib import Path

import pytest

from schemas.gating import EvaluationConfig, GateConfig
from tasks.evaluation.grounded import correlation, found_in, known_of, weights_of
from tasks.models.gate import decide
from tasks.storage.db import connect
from tasks.storage.store import Store
from tasks.texts.measures import content_words

DOCUMENT = "LHON harms the retina and takes away central vision. Young men lose vision first."
TEXTS = {
    "English": "The don't-care retina, 3.14 or 2026; naïve café",
    "Chinese": "视网膜受到损害，LHON 会使人失去中心视力。",
    "Japanese": "網膜がデータベースで傷つき、視力が失われる。",
    "Korean": "망막이 손상되어 중심 시력을 잃는다.",
    "Thai": "จอประสาทตาเสียหาย",
    "Arabic": "تتضرر الشبكية وتُفقَد الرؤية المركزية",
    "Hindi": "रेटिना को नुकसान पहुँचता है और दृष्टि चली जाती है",
    "Russian": "Сетчатка повреждается, и центральное зрение теряется",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_content_words_are_those_of_the_sql_views(text: str, tmp_path: Path) -> None:
    (found,) = connect(Store(str(tmp_path), "run")).execute("SELECT content_words(?)", [text]).fetchone() or ((),)
    assert content_words(text) == set(found) != set()


def test_the_figures_are_those_of_the_docstring() -> None:
    known = known_of(
        "What is LHON, and how does it affect men?", DOCUMENT, ["it harms the retina", "it is a satellite"]
    )
    weight = weights_of([DOCUMENT])
    beyond = {"harms", "retina", "takes", "away", "central", "vision", "young", "lose", "first"}
    assert known.words == beyond and known.facts == (frozenset({"harms", "retina"}),)  # no satellite in the document
    assert found_in("Central vision is lost to satellites, LHON says.", known, weight) == {
        "words": pytest.approx(2 / 9), "facts": 0.0, "score": pytest.approx(1 / 9),
        "precision": pytest.approx(2 / 5),  # of central, vision, lost, satellites, says
    }  # fmt: skip
    assert found_in(DOCUMENT, known, weight)["score"] == 1.0
    assert found_in("", known, weight) == {"words": 0.0, "facts": 0.0, "score": 0.0, "precision": None}


def test_a_word_of_every_document_weighs_less_than_one_of_its_own() -> None:
    weight = weights_of(["also retina", "also cornea", "also eyelid"])
    assert weight({"also"}) == pytest.approx(math.log(4 / 3))
    assert weight({"retina"}) == pytest.approx(math.log(4))
    assert weight({"never seen"}) == weight({"retina"})


def test_without_a_fact_of_the_document_the_words_alone_are_the_score() -> None:
    known = known_of("What harms vision?", DOCUMENT, [])
    found = found_in("The retina.", known, weights_of([DOCUMENT]))
    assert found["facts"] is None and found["score"] == found["words"] == pytest.approx(1 / len(known.words))


@pytest.mark.parametrize(
    ("document", "good", "bad"),
    [("视网膜受到损害，人会失去中心视力。", "患者的视网膜受到损害。", "这是一颗卫星。"),
     ("망막이 손상되어 중심 시력을 잃는다.", "망막은 손상된다.", "이것은 인공위성이다."),
     ("تتضرر الشبكية وتفقد الرؤية المركزية", "تتضرر الشبكية", "هذا قمر صناعي"),
     ("Сетчатка повреждается, теряется зрение", "Сетчатка теряется", "Это спутник на орбите")],
    ids=["Chinese", "Korean", "Arabic", "Russian"],
)  # fmt: skip
def test_it_tells_answers_apart_in_other_languages(document: str, good: str, bad: str) -> None:
    known, weight = known_of("LHON?", document, []), weights_of([document])
    assert (found_in(good, known, weight)["score"] or 0) > 0.1 > (found_in(bad, known, weight)["score"] or 0)


def test_agreement_is_the_correlation_over_answers() -> None:
    assert correlation([[(1.0, 0.1), (2.0, 0.2)], [(0.0, 0.0)]]) == pytest.approx(1.0)
    assert correlation([[(1.0, 0.2), (2.0, 0.1)]]) == pytest.approx(-1.0)
    assert correlation([[(1.0, 0.2), (1.0, 0.1)]]) is None and correlation([]) is None


def test_the_gate_can_decide_by_it() -> None:
    gate = GateConfig(metric="grounded.difference", guards={"grounded.precision_difference": 0.1}, min_problems=2)
    assert EvaluationConfig(suites=("grounded",)).suites == ("grounded",)
    row = {"model_id": "m", "suite": "grounded", "status": "ok", "reason": None, "n": 40, "value": 0.05, "low": 0.02}
    rows = [row | {"metric": "difference", "high": 0.08}, row | {"metric": "precision_difference", "high": 0.1}]
    assert decide(gate, "m", rows).decision == "promote"
