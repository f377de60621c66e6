"""The preference pair of a problem: the widest that passes the filters, whatever the order, and a reason for none."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.preferences import PairingConfig
from tasks.judging.pairs import Rated, choose, cutoff_of
from tasks.pair import pair, preferences, trained_on
from tests.samples import Row, an_answer, config, plan_of, problem

few = settings(max_examples=100, deadline=None)
SCORES = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), st.floats(0, 2))
RATED = st.lists(st.tuples(SCORES, st.integers(1, 200), st.sampled_from(["same", ""])), max_size=8).map(
    lambda drawn: [Rated(f"a{n}", text or f"text {n}", words, score) for n, (score, words, text) in enumerate(drawn)]
)
CONFIGS = st.builds(
    PairingConfig, min_answers=st.integers(2, 4), min_deviation=st.sampled_from([0.0, 0.001, 0.3]),
    min_margin=st.sampled_from([0.0, 0.05, 1.0]), max_length_gap_words=st.sampled_from([0, 40, 1000]),
)  # fmt: skip
PLAN = plan_of(config())


def rated(*answers: tuple[float, int]) -> list[Rated]:
    """Answers by score and words, with different texts."""
    return [Rated(f"a{n}", f"text {n}", words, score) for n, (score, words) in enumerate(answers)]


def status_of(answers: list[Rated], **settings_: Any) -> str:
    """What comes of the answers; its reason is a sentence unless it is ok."""
    (outcome,) = choose(answers, PairingConfig(**settings_))
    assert outcome.status == "ok" or outcome.reason
    return outcome.status


@few
@given(RATED, CONFIGS, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(answers: list[Rated], settings_: PairingConfig, order: Any) -> None:
    before = choose(answers, settings_)
    shuffled = list(answers)
    order.shuffle(shuffled)
    assert choose(shuffled, settings_) == before


@few
@given(RATED, CONFIGS)
def test_a_pair_that_is_ok_keeps_every_filter(answers: list[Rated], settings_: PairingConfig) -> None:
    (outcome,) = choose(answers, settings_)
    if outcome.two is not None:
        assert outcome.two[0].score >= outcome.two[1].score
        assert outcome.two[0].answer_id != outcome.two[1].answer_id
    if outcome.status != "ok":
        return
    assert outcome.two is not None
    best, worst = outcome.two
    assert best.score - worst.score >= max(settings_.min_margin, 1e-12)
    assert abs(best.words - worst.words) <= settings_.max_length_gap_words
    assert best.final != worst.final
    assert len(answers) >= settings_.min_answers
    for a in answers:  # and no wider pair would
        for b in answers:
            if abs(a.words - b.words) <= settings_.max_length_gap_words and a.final != b.final:
                assert a.score - b.score <= best.score - worst.score


def test_each_way_to_no_pair_has_its_status() -> None:
    assert status_of(rated((2.0, 10))) == "few_answers"
    assert status_of(rated((1.0, 10), (1.0, 20))) == "tie"
    assert status_of(rated((1.0, 10), (1.0, 20)), min_deviation=0.0) == "tie"
    assert status_of(rated((1.01, 10), (1.0, 20)), min_margin=0.1) == "low_margin"
    assert status_of(rated((2.0, 500), (0.0, 20))) == "length_gap"
    assert status_of([Rated("a", "x", 1, 2.0), Rated("b", " x ", 1, 0.0)]) == "duplicate"
    assert status_of([Rated("a", "It is X.", 3, 2.0), Rated("b", "it  is\nｘ.", 3, 0.0)]) == "duplicate"
    assert status_of(rated((2.0, 10), (0.0, 110))) == "ok"
    assert status_of(rated((2.0, 10), (0.0, 111))) == "length_gap"


def test_of_pairs_as_wide_the_nearer_in_length_is_taken_then_the_lower_id() -> None:
    (outcome,) = choose(rated((2.0, 10), (0.0, 60), (2.0, 50), (0.0, 60)), PairingConfig())
    assert outcome.two and [answer.answer_id for answer in outcome.two] == ["a2", "a1"]


# Rows


def rows_of(answers: list[Row], scores: dict[str, float | None], rubric: str = "ok") -> list[Row]:
    """The pair rows of one problem; answers whose score is None have a rating that failed."""
    ratings = [
        {"answer_id": name, "score": value, "status": "malformed" if value is None else "ok"}
        for name, value in scores.items()
    ]
    return pair(PLAN, [problem()], answers, [{"problem_id": "p0", "status": rubric}], ratings)


def test_an_answer_that_could_not_be_rated_is_never_the_worst() -> None:
    answers = [an_answer(name, rollout=n) for n, name in enumerate("abcd")]
    (row,) = rows_of(answers, {"a": 2.0, "b": 1.0, "c": None})  # d was not rated at all
    assert (row["chosen_answer_id"], row["rejected_answer_id"]) == ("a", "b")


def test_the_reference_answer_is_never_paired() -> None:
    answers = [an_answer("ref", rollout=-1), an_answer("a"), an_answer("b", rollout=1)]
    (row,) = rows_of(answers, {"ref": 2.0, "a": 1.0, "b": 0.5})
    assert (row["chosen_answer_id"], row["rejected_answer_id"]) == ("a", "b")
    (row,) = rows_of(answers[:2], {"ref": 2.0, "a": 0.0})
    assert row["status"] == "few_answers"


def test_a_problem_without_a_rubric_has_a_row_that_says_so() -> None:
    (row,) = rows_of([an_answer("a"), an_answer("b", rollout=1)], {}, rubric="truncated")
    assert row["status"] == "no_rubric"
    assert "truncated" in row["reason"]
    assert row["chosen_answer_id"] is row["chosen_score"] is row["margin"] is None


def test_every_ok_problem_has_one_row_and_no_other_has() -> None:
    problems = [problem(0), problem(1, status="leaky"), problem(2)]
    found = pair(PLAN, problems, [], [], [])
    assert [(row["problem_id"], row["status"]) for row in found] == [("p0", "no_rubric"), ("p2", "no_rubric")]


def test_pair_ids_name_the_two_answers_and_the_settings() -> None:
    answers = [an_answer("a"), an_answer("b", rollout=1)]
    (one,), (other,) = rows_of(answers, {"a": 2.0, "b": 0.0}), rows_of(answers, {"a": 0.0, "b": 2.0})
    assert one["pair_id"] != other["pair_id"]
    assert rows_of(answers[::-1], {"b": 0.0, "a": 2.0}) == [one]


def test_only_ok_pairs_are_trained_on_and_with_the_texts_that_were_judged() -> None:
    answers = [an_answer("a", final="Good.", text="<think>x</think>Good."), an_answer("b", rollout=1, final="Bad.")]
    pairs = rows_of(answers, {"a": 2.0, "b": 0.0}) + rows_of(answers, {"a": 1.0, "b": 1.0})
    (row,) = preferences(PLAN, [problem()], answers, pairs)
    assert row["prompt"] == [{"role": "user", "content": "Why is the sky blue?"}]
    assert row["chosen"] == [{"role": "assistant", "content": "Good."}]
    assert row["rejected"] == [{"role": "assistant", "content": "Bad."}]
    assert row["pair_id"] == pairs[0]["pair_id"]


# Strategies and controls


FIVE = rated((2.0, 10), (1.5, 20), (1.0, 30), (1.0, 400), (0.0, 40))


def test_the_next_best_pair_is_tried_before_a_problem_is_given_up() -> None:
    (outcome,) = choose(rated((2.0, 300), (1.5, 50), (0.0, 40)), PairingConfig())
    assert outcome.two and [answer.answer_id for answer in outcome.two] == ["a1", "a2"]
    assert (outcome.status, outcome.reason) == ("ok", "wider pairs left out: 1 length_gap")


def test_all_above_margin_keeps_every_pair_and_counts_what_it_leaves_out() -> None:
    found = choose(FIVE, PairingConfig(strategy="all_above_margin", min_margin=1.0))
    kept = [[a.answer_id for a in outcome.two] for outcome in found if outcome.two]
    # 2-0, 1.5-0, 2-1 and 1-0 are a point or more apart; a3 is too long for any other
    assert kept == [["a0", "a4"], ["a1", "a4"], ["a2", "a4"], ["a0", "a2"]]
    assert {outcome.status: outcome.reason for outcome in found if not outcome.two} == {
        "length_gap": "2 pairs too different in length", "low_margin": "4 pairs closer than 1.0",
    }  # fmt: skip
    bounded = choose(FIVE, PairingConfig(strategy="all_above_margin", min_margin=1.0, max_pairs_per_problem=2))
    assert [o.status for o in bounded] == ["ok", "ok", "length_gap", "low_margin", "surplus"]


def test_top_fraction_keeps_the_share_of_problems_with_the_widest_margins() -> None:
    assert cutoff_of([0.1, 0.5, 0.3, 0.9, 0.2], 0.4) == 0.5
    assert cutoff_of([0.1, 0.5, 0.3], 0.4) == 0.3  # rounded up: two of three
    assert cutoff_of([], 0.4) is None
    config_ = PairingConfig(strategy="top_fraction")
    (below,), (at,) = choose(FIVE, config_, cutoff=2.1), choose(FIVE, config_, cutoff=2.0)
    assert (below.status, at.status) == ("low_margin", "ok")
    assert "top 40%" in (below.reason or "")


def test_a_length_gap_can_be_bounded_in_characters() -> None:
    two = [Rated("a", "心" * 90, 1, 2.0), Rated("b", "心", 1, 0.0)]
    assert status_of(two) == "ok"
    assert status_of(two, max_length_gap_characters=50) == "length_gap"


@few
@given(RATED, CONFIGS, st.integers(0, 99))
def test_a_random_pair_is_one_that_could_be_and_the_better_one_is_chosen(
    answers: list[Rated], settings_: PairingConfig, lot: int
) -> None:
    by_lot = settings_.model_copy(update={"control": "random"})
    (outcome,) = choose(answers, by_lot, lot)
    if outcome.status == "ok":
        assert outcome.two
        assert outcome.two[0].score > outcome.two[1].score
        assert abs(outcome.two[0].words - outcome.two[1].words) <= settings_.max_length_gap_words
    assert choose(answers[::-1], by_lot, lot) == [outcome]


def test_the_controls_differ_from_the_real_thing() -> None:
    answers = [an_answer(name, rollout=n) for n, name in enumerate("abcdef")]
    ratings = [{"answer_id": name, "score": n / 3, "status": "ok"} for n, name in enumerate("abcdef")]

    def chosen(control: str) -> list[tuple[str, str]]:
        plan = plan_of(config(pairing={"control": control}))
        found = []
        for n in range(20):
            mine = [row | {"problem_id": f"p{n}"} for row in answers]
            rubric = [{"problem_id": f"p{n}", "status": "ok"}]
            found += pair(plan, [problem(n)], mine, rubric, ratings)
        assert all(row["margin"] == row["chosen_score"] - row["rejected_score"] for row in found)
        return [(row["chosen_answer_id"], row["rejected_answer_id"]) for row in found]

    assert set(chosen("none")) == {("f", "a")}
    assert set(chosen("shuffled")) == {("f", "a"), ("a", "f")}
    assert len(set(chosen("random"))) > 5


def test_a_thinking_model_is_trained_on_what_was_judged_or_with_its_thoughts_before_it() -> None:
    answer = {"text": "<think>hm</think>Good. And cut off here", "final": "Good."}
    assert trained_on(answer, "final") == "Good."
    assert trained_on(answer, "text") == "<think>hm</think>\n\nGood."
    assert trained_on({"text": "Good. And", "final": "Good."}, "text") == "Good."
