"""Every face of the odd server has its right result: a right row, a row that says what came, or one clear line.

A face that only looks odd must give the very rows that a good server gives.
"""

from collections.abc import Iterator

import pytest

from tests.engine.odd_asking import outcome
from tests.engine.odd_server import KNOWN, OddServer
from tests.samples import Row

ANY_TEXT = ("answers", "sheets", "words")
SAME, BAD = "same", "malformed"  # SAME: ok, and the rows of a good server
# What is asked for, what comes of it, what the row's reason or the error says, and the faces
TABLE: list[tuple[str, str, str, str]] = [
    # thoughts are split off, wherever they stand, and never judged
    *((work, SAME, "", "think think_noopen think_other think_mistral think_cohere think_minimax harmony harmony_bare "
       "reasoning_content reasoning reasoning_obj parts") for work in ANY_TEXT),
    ("answers", "empty", "nothing is left after the thoughts",
     "think_unclosed harmony_cut reasoning_all reasoning_all_empty reasoning_twice cut_thought_stop"),
    ("sheets", BAD, "not JSON", "think_unclosed harmony_cut reasoning_all reasoning_twice cut_thought_stop"),
    ("answers", "truncated", "max_tokens", "cut_thought reasoning_null finish_LENGTH finish_max_tokens"),
    ("sheets", "truncated", "max_tokens", "cut_thought reasoning_null finish_LENGTH finish_max_tokens"),
    # only what is known to be whole counts
    *((work, SAME, "", "finish_eos") for work in ANY_TEXT),
    *((work, "unfinished", word, face) for work in ("answers", "sheets") for face, word in {
        "finish_null": "none", "finish_missing": "none", "finish_NULL": "null", "finish_abort": "abort",
        "finish_error": "error", "finish_repetition": "repetition", "finish_list": "stop",
        "tool": "tool_calls"}.items()),
    ("words", BAD, "", "finish_null finish_abort finish_error finish_filter finish_safety tool"),
    ("answers", "refused", "content filter", "finish_filter finish_filter_half finish_safety azure"),
    ("answers", "refused", "SAFETY", "finish_safety"), ("answers", "refused", "stopped by a content filter", "azure"),
    ("answers", "refused", "I can't help with that", "refusal"), ("sheets", "refused", "I can't help", "refusal"),
    ("answers", "empty", "wrote nothing", "empty null blank content_missing"),
    ("sheets", "empty", "wrote nothing", "empty null blank content_missing"), ("sheets", BAD, "", "nul surrogate"),
    ("sheets", BAD, "not JSON", "finish_stop_half"), ("answers", "ok", "", "nul surrogate"),
    # what stands around the text
    ("answers", SAME, "", "two_choices no_usage null_usage empty_usage part_usage str_usage text_usage float_usage "
     "neg_usage null_fields list_usage other_model no_temp small_ctx gone_later quota_later http401_later "
     "good"),
    ("answers", "Fault", "does not answer as an OpenAI-compatible server does",
     "no_choices null_choices lost_choices dict_choices no_message str_choice text200 null200"),
    ("answers", "Fault", "the provider failed", "err200"), ("answers", "Fault", "not JSON", "empty200"),
    # sheets and rubrics: nothing is guessed, clamped or filled in
    ("sheets", SAME, "", "fence fence_upper bom c_reordered t_after"), ("sheets", "ok", "", "c_swapped t_empty"),
    ("sheets", BAD, "not JSON", "fence_text fence_one before after twice trailing comments single smart"),
    ("sheets", BAD, "", "wrapped listed stringified extra_key schema_echo dup_key nan t_long t_null t_none t_list"),
    ("sheets", BAD, "rating", "r_str r_of r_float r_20 r_na r_true r_neg r_10 r_null r_list r_full"),
    ("sheets", BAD, "mark", "c_renamed c_upper c_missing c_doubled c_quoted c_weight"),
    ("rubrics", BAD, "", "w_str w_0 w_pct w_nan inf huge crit_dup crit_none crit_many"),
    ("words", SAME, "", "word_bold word_cap"), ("words", BAD, "", "word_sentence word_two word_not"),
    # no rating from nothing
    ("digits", SAME, "", "quiet5"), ("digits", "ok", "", "lp_gpt lp_full lp_legacy lp_9999 lp_greedy lp_ruled_out"),
    ("digits", BAD, "no log-probabilities", "no_logprobs lp_list lp_null_top"),
    ("digits", BAD, "is no log-probability", "lp_null_value lp_pos lp_prob"), ("digits", BAD, "add up to", "lp_over"),
    ("digits", BAD, "at least 0.5", "lp_one lp_noise lp_word lp_10"),
    ("digits", BAD, "not listed", "lp_zero_051 lp_bytes lp_str"), ("digits", BAD, "", "quiet1"),
    ("facts", SAME, "", "pl_noindex pl_reversed pl_index0 tok_nocount"),
    ("facts", "TooManyFailures", "gave no log-probabilities", "pl_null pl_drop pl_short pl_other pl_one_null"),
    ("facts", "TooManyFailures", "no log-probability", "pl_pos"), ("facts", "TooManyFailures", "0 nats", "pl_zero"),
    ("facts", "UserError", "/tokenize",
     "tok404 tok401 tok400 tok_null tok_empty tok_html tok_llama tok_text"),
    ("facts", "Fault", "/tokenize 500", "tok_500"), ("facts", "Fault", "slow down", "tok429"),
    ("facts", "Fault", "too slow", "tok408"),
    # refusals, by what they say
    ("answers", "TooManyFailures", "400", "no_max_tokens no_top_p"), ("answers", "TooManyFailures", "seed", "no_seed"),
    ("sheets", "rejected", "no json_schema", "no_format"),
    ("digits", "TooManyFailures", "structured_outputs", "no_extra"),
    ("digits", "TooManyFailures", "5 at most", "cap5"), ("answers", "too_long", "413", "http413"),
    ("answers", "QuotaUsedUp", "the quota is used up", "quota"), ("answers", "QuotaUsedUp", "no balance", "http402"),
    ("answers", "UserError", "refuses the API key", "http401"), ("answers", "UserError", "blocked by", "http403"),
    ("answers", "UserError", "/v1", "http404"), ("answers", "TooManyFailures", "", "http405 http418 redir302"),
    ("answers", "Fault", "keeps failing", "http500 http500ra http409 half reset"),
    ("answers", SAME, "", "http502 http503ra http429 http429ra redir307"),
    ("answers", "Fault", "slow down", "http429zero http429neg http429day http429bad http429nan http429past"),
    # the connection
    ("answers", SAME, "", "gzip chunked close10 closequiet hangonce delay"),
    ("answers", "Fault", "no answer in time", "hang loris"),
]  # fmt: skip
CONTEXT = "mod404 mod401 mod500 mod_html mod_list mod_data_null mod_empty mod_strings mod_other mod_str mod_text no_len"
CASES = [(work, kind, says, face) for work, kind, says, faces in TABLE for face in faces.split()]


@pytest.fixture(scope="module")
def odd() -> Iterator[OddServer]:
    """The server."""
    with OddServer() as server:
        yield server


@pytest.fixture(scope="module")
def good(odd: OddServer) -> dict[str, list[Row]]:
    """The rows that a server without a fault is good for."""
    made = {work: outcome(work, odd.url("good"))[1] for work in {work for work, *_ in CASES}}
    return {work: rows for work, rows in made.items() if isinstance(rows, list)}


def content(rows: list[Row]) -> list[tuple[object, ...]]:
    """What a row says, without what tells one server from another."""
    return [tuple(row.get(name) for name in ("final", "score", "ratings", "criteria", "status")) for row in rows]


@pytest.mark.parametrize(("work", "kind", "says", "face"), CASES, ids=lambda value: str(value)[:20])
def test_a_face_has_its_right_result(
    odd: OddServer, good: dict[str, list[Row]], work: str, kind: str, says: str, face: str
) -> None:
    quick = {"engine": {"timeout_sec": 1.0 if kind == "Fault" else 3.0}}
    found, rows = outcome(work, odd.url(face), **quick)
    assert found == kind.replace(SAME, "ok"), rows
    if isinstance(rows, str):
        assert says in rows and "\n" not in rows and len(rows) < 700
        return
    assert all(says in str(row["reason"]) for row in rows)
    assert found == "ok" or all(row.get("score") is row.get("final") is None for row in rows)
    assert kind != SAME or content(rows) == content(good[work])
    assert sum(odd.counts.values()) < 60


@pytest.mark.parametrize("face", CONTEXT.split())
def test_an_odd_list_of_models_stops_nothing(odd: OddServer, face: str) -> None:
    kind, rows = outcome("answers", odd.url(face), engine={"max_model_len": None})
    assert kind == "ok", rows


def test_a_context_that_is_too_small_is_told_before_a_request_is_sent(odd: OddServer) -> None:
    kind, rows = outcome("answers", odd.url("mod_small"), engine={"max_model_len": None})
    assert kind == "too_long" and "the context is 100" in str(rows)


@pytest.mark.parametrize(
    ("work", "face"),
    [("answers", "azure"), ("answers", "finish_abort"), ("answers", "parts"), ("answers", "str_usage"),
     ("sheets", "finish_error"), ("digits", "lp_null_value"), ("answers", "dict_choices")],
)  # fmt: skip
def test_an_odd_reply_costs_its_own_row(odd: OddServer, work: str, face: str) -> None:
    changes = {"sampling": {"answers": 24}, "engine": {"max_retries": 0, "max_failed_share": 0.4}}
    whole = outcome(work, odd.url("good"), **changes)[1]
    _, rows = outcome(work, odd.url(f"{face}@0.15"), **changes)
    assert isinstance(rows, list) and isinstance(whole, list), rows
    same = [mine == other for mine, other in zip(content(rows), content(whole), strict=True)]
    assert work != "answers" or (same.count(True) > 12 and (face in ("parts", "str_usage") or same.count(False) > 0))
    assert all(row["status"] != "ok" for row, one in zip(rows, same, strict=True) if not one)


def test_every_face_is_in_the_table() -> None:
    asked = {face for *_, face in CASES} | set(CONTEXT.split()) | {"mod_small", "ignore_format"}
    assert asked == KNOWN
