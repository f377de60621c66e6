"""`pop look`: what would be read and what not, before any model is asked; `pop status` names what does not suit."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.views.corpus import print_unsuited
from schemas.config import CorpusConfig
from schemas.load import load_config
from tasks.corpus import BadRecord, RawDocument
from tasks.corpus.look import Copies, look
from tasks.corpus.suited import unsuited
from tasks.storage.db import connect
from tasks.storage.store import Store
from tests import planted

Cli = Callable[..., tuple[int, str, str]]
SAMPLES = Path(__file__).parents[1] / "texts" / "chinese_and_arabic.jsonl"


def test_a_folder_is_looked_at_without_a_model(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(SAMPLES.read_text() + SAMPLES.read_text().splitlines()[0] + "\n{broken\n")
    (tmp_path / "b.md").write_text("# A heading\n\nToo short.")
    (tmp_path / "cover.png").write_bytes(b"x")
    code, told, _ = cli("look", str(tmp_path))
    assert code == 0
    for part in (
        "Chinese 6, Arabic 5",
        "1 .jsonl, 1 .md",
        "too_short: 1",
        "malformed: 1",
        "a.jsonl:12",
        "cover.png",
        "肝脏",
    ):
        assert part in told or part.replace(":12", " line 12") in told, part
    code, told, _ = cli("look", str(tmp_path), "--format", "json")
    found = json.loads(told)
    assert (code, found["usable"], found["titled"]) == (0, 11, 11)
    assert found["duplicates"] == {"share": pytest.approx(1 / 11), "exact": True} and len(found["examples"]) == 10
    assert found["left_out"]["too_short"] == 1 and found["words"]["min"] == 2 and found["words"]["max"] <= 90


def test_nothing_usable_is_exit_code_1_and_no_such_place_2(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Two words.")
    code, told, _ = cli("look", str(tmp_path))
    assert code == 1 and "Nothing here can be trained on" in told and "a.txt has 2 words" in told
    code, _, error = cli("look", str(tmp_path / "nowhere"))
    assert code == 2 and "no such corpus" in error


def test_the_settings_of_a_round_are_those_of_the_look(cli: Cli) -> None:
    _, told, _ = cli(
        "look", "general", "--set", "corpus.max_words=50", "--set", "corpus.long_texts=passages", "--format", "json"
    )
    found = json.loads(told)
    assert found["passages"] > found["records"] == 40 and found["words"]["max"] > 50


def test_counts_are_exact_and_what_is_held_is_bounded() -> None:
    records = [BadRecord("a", "malformed", f"a line {n} is bad") for n in range(5000)]
    found = look(records, CorpusConfig())
    assert found.statuses["malformed"] == 5000 and len(found.reasons["malformed"]) == 3
    texts = [RawDocument(f"a:{n}", None, f"number {n // 2} of many words") for n in range(6000)]
    found = look(texts, CorpusConfig(min_words=1))
    assert found.usable == 6000 and found.copies.share() == 0.5 and len(found.drawn.items()) == 2000


def test_copies_are_estimated_from_a_share_of_the_texts() -> None:
    copies = Copies(most=200)
    for key in range(3000):
        for _ in range(1 + key % 2):
            copies.add((key * 0x9E3779B97F4A7C15) % 2**64)
    assert not copies.exact and len(copies.met) <= 200
    assert copies.share() == pytest.approx(1 / 3, abs=0.08)


def test_lengths_are_told_to_within_five_percent() -> None:
    found = look([RawDocument(f"a:{n}", None, "word " * n) for n in range(1, 1001)], CorpusConfig(min_words=1))
    assert (found.shortest, found.longest) == (1, 1000)
    for share, exact in ((0.05, 50), (0.5, 500), (0.95, 950)):
        assert found.quantile(share) == pytest.approx(exact, rel=0.06)


def test_what_does_not_suit_a_language_is_named() -> None:
    demo = load_config("demo", [])
    assert unsuited({"English": 99, "Chinese": 1}, demo) == [] == unsuited({}, demo)
    [model] = unsuited({"English": 9, "Chinese": 7}, demo)
    assert "smollm2-135m-instruct was trained on English only" in model and "7 in Chinese" in model
    suites = ['evaluation.suites=["ifeval"]', "evaluation.ifeval_file=f"]
    told = " ".join(unsuited({"Thai": 3}, load_config("selfplay-health", ["task.type=data", *suites])))
    assert "not recognised in Thai" in told and "task.type=data" in told and "ifeval" in told


def test_the_status_of_a_round_names_it(tmp_path: Path) -> None:
    def chinese(tables: planted.Tables) -> None:
        for row in tables["documents"]:
            row["text"] = "肝脏储存糖。" * 20

    store: Store = planted.write(str(tmp_path), "r", chinese)
    told = StringIO()
    print_unsuited(connect(store), 0, load_config("demo", []), Console(file=told, width=500))
    assert "Does not suit" in told.getvalue() and "41 in Chinese" in told.getvalue()
