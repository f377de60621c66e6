"""Near-duplicates stand on one side of the split; a document without twins stays where its own hash puts it."""

import random
from collections import defaultdict
from pathlib import Path

from tasks.corpus import RawDocument, Selection, document_id, read, split_of
from tasks.corpus.twins import Earlier
from tasks.texts.twins import Groups, plain_words
from tests.corpus.samples import choose

WORDS = [a + b + c for a in "brstmkl" for b in ("ai", "o", "ee", "u") for c in ("nder", "lic", "strum", "pel", "v")]
MANY = {"documents": 1000, "heldout_documents": 1000, "max_words": 1000}


def prose(seed: int, words: int = 120) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def spelled(text: str, way: int) -> str:
    """The same words in another spelling: white space, Unicode form, capitals, a word more."""
    ways = (text, text.replace(" ", "  "), text.replace(" ", "\u00a0"), text.upper(), f"{text} more", f"\u200b{text}.")
    return ways[way]


def corpus(groups: int = 30) -> list[RawDocument]:
    return [
        RawDocument(f"a.jsonl:{6 * g + w + 1}", None, spelled(prose(g), w)) for g in range(groups) for w in range(6)
    ]


def sides(selection: Selection) -> dict[int, set[str | None]]:
    """Which sides the members of each group stand on, drawn or not."""
    found: dict[int, set[str | None]] = defaultdict(set)
    for row in selection.rows:
        found[(int(row["source"].split(":")[1]) - 1) // 6].add(row["split"])
    return found


def test_every_group_of_twins_is_on_one_side_and_every_document_is_told() -> None:
    selection = choose(corpus(), heldout_share=0.3, **MANY)
    assert {len(found) for found in sides(selection).values()} == {1}
    assert {side for found in sides(selection).values() for side in found} == {"train", "heldout"}
    twins = [row for row in selection.rows if row["status"] == "twin"]
    assert selection.counts["twin"] >= len(twins) > 10 and sum(selection.counts.values()) == selection.seen == 180
    assert all("all but the same text as a.jsonl:" in str(row["reason"]) for row in twins)


def test_the_case_of_white_space_and_unicode_form_keeps_other_records_apart(tmp_path: Path) -> None:
    lines = [f'{{"text": "The house was kept by the old keeper until the last day{space} number {n}."}}'
             for n in range(30) for space in ("", " ", "\u00a0", "\u200b")]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    selection = choose(read(str(tmp_path)), heldout_share=0.3, **MANY)
    found = defaultdict(set)
    for row in selection.rows:
        found[" ".join(plain_words(row["text"] or ""))].add(row["split"])
    assert len(found) == 30 and all(len(both) == 1 for both in found.values())
    assert {side for both in found.values() for side in both} == {"train", "heldout"}  # numbers tell records apart


def test_the_order_of_records_changes_nothing() -> None:
    records = corpus()
    wanted = choose(records, heldout_share=0.3)
    for seed in range(3):
        random.Random(seed).shuffle(records)
        assert choose(records, heldout_share=0.3) == wanted


def test_without_twins_everything_is_as_it_was() -> None:
    alone = [RawDocument(f"a.jsonl:{n}", None, prose(n)) for n in range(200)]
    rows = [
        row for row in choose(alone, documents=60, heldout_documents=20, max_words=1000).rows if row["status"] == "ok"
    ]
    assert len(rows) == 80 and all(row["split"] == split_of(row["document_id"], 0.25) for row in rows)
    # those with the lowest priorities, as before there was a reserve
    few = [row["document_id"] for row in choose(alone, documents=8, heldout_documents=0, max_words=1000).rows]
    assert few == [row["document_id"] for row in rows if row["split"] == "train"][:8]


def test_twins_are_replaced_by_the_next_ones() -> None:
    records = [*corpus(), *(RawDocument(f"b.jsonl:{n}", None, prose(1000 + n)) for n in range(100))]
    selection = choose(records, documents=40, heldout_documents=12, heldout_share=0.3, max_words=1000)
    assert selection.counts["ok"] == 52 and selection.counts["twin"] > 0


def test_an_earlier_round_decides() -> None:
    trained = [RawDocument(f"a.jsonl:{n}", None, prose(n)) for n in range(60)]
    again = [RawDocument(doc.source, None, doc.text + " more") for doc in trained]
    before: list[Earlier] = [
        Earlier(doc.source, doc.text, split_of(document_id(doc.text), 0.25)) for doc in trained
    ]  # fmt: skip
    selection = choose(again, earlier=before, **MANY)
    side = {known.source: known.split for known in before}
    assert selection.counts["twin"] > 5
    assert all(row["split"] == side[row["source"]] for row in selection.rows)
    assert all("of an earlier round" in str(row["reason"]) for row in selection.rows if row["status"] == "twin")


def test_groups_hold_what_is_alike_through_another_one() -> None:
    words = prose(1, 400).split()
    chain = [" ".join([*prose(50, 60).split()[: 20 * n], *words[20 * n :]]) for n in range(4)]
    groups = Groups([*chain, prose(2, 400)])
    assert {groups.of(place) for place in range(4)} == {0} and groups.of(4) == 4
    assert groups.like(chain[1].upper()) == {0} and groups.like(prose(3)) == set()


def test_a_cluster_of_thousands_is_grouped_in_seconds() -> None:
    groups = Groups([f"{prose(1)} {n}" for n in range(1500)])
    assert {groups.of(place) for place in range(1500)} == {0}
