"""Near-duplicate problems: found in this round and in earlier ones, whatever order the shards are finished in."""

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.staging.plan import Plan
from tasks.staging.shard_order import ShardOrder
from tasks.storage.store import Store
from tasks.texts.duplicates import Known, similarity
from tasks.texts.measures import words_of
from tests.samples import Row, config, plan_of, problem

FOOTER = {"stage": "propose", "fingerprint": "f"}
SCAN = "What is the purpose of an MRI scan of the brain?"


def rows(*texts: str, shard: str = "s") -> list[Row]:
    """Problems with these texts."""
    return [problem(n, problem_id=f"{shard}{n}", problem=text) for n, text in enumerate(texts)]


def statuses(found: list[Row]) -> list[str]:
    """Of each row."""
    return [row["status"] for row in found]


def test_a_reworded_problem_is_a_duplicate_and_another_subject_is_none() -> None:
    known = Known(0.7)
    texts = (SCAN, "what is the purpose of an MRI scan of the brain", "What is the purpose of a CT scan of the heart?")
    found = known.mark(rows(*texts))
    assert statuses(found) == ["ok", "duplicate", "ok"]
    assert found[1]["reason"] == "100% alike (word 3-grams) to the problem s0"
    assert found[1]["problem"] == texts[1]  # it stays to be looked at


def test_similarity_by_hand() -> None:
    # a b c d e and a b c d f have 3-grams abc, bcd, cde and abc, bcd, cdf: 2 of 4
    assert similarity({"abc", "bcd", "cde"}, {"abc", "bcd", "cdf"}) == 0.5
    four_of_six = Known(0.66).mark(rows("a b c d e f g", "a b c d e f h"))  # 4 shared of 6
    assert statuses(four_of_six) == ["ok", "duplicate"]
    assert statuses(Known(0.67).mark(rows("a b c d e f g", "a b c d e f h"))) == ["ok", "ok"]


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    assert words_of("心臓病とは？") == ["心", "臓", "病", "と", "は"]
    assert statuses(Known(0.6).mark(rows("心臓病の原因は何ですか？", "心臓病の原因は何ですかね。"))) == [
        "ok",
        "duplicate",
    ]
    assert statuses(Known(0.6).mark(rows("心臓病の原因は何ですか？", "肝炎の治療法を説明せよ。"))) == ["ok", "ok"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=30), max_size=12), st.floats(0.3, 1.0))
def test_what_is_kept_is_less_alike_than_the_bound(texts: list[str], most: float) -> None:
    known = Known(most)
    kept: list[str] = [row["problem"] for row in known.mark(rows(*texts)) if row["status"] == "ok"]
    assert all(texts.index(text) == 0 or text in texts for text in kept)
    assert len({" ".join(text.split()) for text in kept}) == len(kept)  # the same text is never kept twice
    assert all(known.like(text) for text in kept)


def test_of_two_shards_the_later_one_has_the_duplicate_whichever_is_finished_first(tmp_path: Path) -> None:
    plan, shards = plan_of(config()), ["shard-00000", "shard-00001", "shard-00002"]
    for order in (shards, shards[::-1]):
        marked = asyncio.run(_through(plan, Store(str(tmp_path), order[0]), order, sorted(order)))
        assert {shard: statuses(found) for shard, found in marked.items()} == {
            "shard-00000": ["ok"], "shard-00001": ["duplicate"], "shard-00002": ["duplicate"],
        }  # fmt: skip


def test_shards_of_an_earlier_start_and_earlier_rounds_count(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "r")
    store.write("problems", 0, "shard-00000", rows(SCAN, "Why does the sea have tides twice a day?"), FOOTER)
    store.write("problems", 1, "shard-00000", rows("How does a bee find its way home?", shard="t"), FOOTER)

    async def second_round() -> list[Row]:
        line = ShardOrder(plan_of(config(), round_=1), store, ["shard-00000", "shard-00001"])
        line.finish("shard-00000")  # made by an earlier start
        return await line.mark("shard-00001", rows(SCAN, "How does a bee find its way home?", "What is new in it?"))

    found = asyncio.run(second_round())
    assert statuses(found) == ["duplicate", "duplicate", "ok"]
    assert "s0" in found[0]["reason"]
    assert "t0" in found[1]["reason"]


async def _through(plan: Plan, store: Store, starts: list[str], shards: list[str]) -> dict[str, list[Row]]:
    """Each shard asks for its duplicates, in the order `starts`, and is published then."""
    line, marked = ShardOrder(plan, store, shards), dict[str, list[Row]]()

    async def one(shard: str) -> None:
        marked[shard] = await line.mark(shard, rows(SCAN, shard=shard))
        store.write("problems", plan.round, shard, marked[shard], FOOTER)
        line.finish(shard)

    async with asyncio.TaskGroup() as group:
        for shard in starts:
            group.create_task(one(shard))
            await asyncio.sleep(0)
    return marked
