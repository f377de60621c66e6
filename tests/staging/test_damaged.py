"""What is damaged is named, set aside and made again; no reader stumbles over it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.staging.reconcile import known_calls
from tasks.storage.store import Damaged, Store
from tests.conftest import run_fake
from tests.samples import config, contents, plan_of, rows
from tests.staging.samples import ordered

SHARD = "round=000/shard-00001"
Cli = Callable[..., tuple[int, str, str]]


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_table(path: Path) -> None:
    path.write_bytes((path.parents[2] / "pairs" / SHARD).with_suffix(".parquet").read_bytes())


def of_somebody_else(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [(torn, "torn"), (emptied, "torn"), (of_another_table, "not the columns"), (of_somebody_else, "not written by")],
)
@pytest.mark.parametrize("table", ["problems", "generations", "preferences"])
def test_a_damaged_file_is_named_and_set_aside_and_its_rows_are_owed(
    copy: Path, table: str, damage: Callable[[Path], None], says: str
) -> None:
    name = f"{SHARD}.rate" if table == "generations" else SHARD
    path = copy / "fake" / table / f"{name}.parquet"
    damage(path)
    content = path.read_bytes()
    done, said = ordered(copy)
    assert said[0].startswith(f"{table}/{name}.parquet is {says}")
    (aside,) = (copy / "fake/superseded" / table / "round=000").iterdir()
    assert aside.read_bytes() == content and not path.exists()
    assert (("propose", "shard-00001") in done) == (table != "problems")


def test_damage_inside_a_file_is_found_when_it_is_read(copy: Path) -> None:
    path = copy / "fake/answers" / f"{SHARD}.parquet"
    content = bytearray(path.read_bytes())
    for at in range(100, 160):
        content[at] ^= 0xFF
    path.write_bytes(content)
    store = Store(str(copy), "fake")
    assert store.footer("answers", 0, "shard-00001")
    with pytest.raises(Damaged, match=r"answers/round=000/shard-00001.parquet is torn: run the same command again"):
        store.read("answers", 0, "shard-00001")


def test_what_is_lost_together_with_its_calls_takes_what_was_made_of_it_along(copy: Path, fake_root: Path) -> None:
    for table in ("problems", "generations"):
        torn(copy / "fake" / table / f"{SHARD}{'.propose' * (table == 'generations')}.parquet")
    done, said = ordered(copy)
    assert {shard for stage, shard in done if stage in ("propose", "answer", "rubric", "rate", "pair")} == {
        "shard-00000"
    }
    assert "what they were made from is gone" in said[-1]
    run_fake(copy, "fake")
    assert contents(copy, "fake") == contents(fake_root, "fake")


def test_a_torn_shard_is_made_again_from_its_calls(copy: Path, fake_root: Path) -> None:
    torn(copy / "fake/answers" / f"{SHARD}.parquet")
    run_fake(copy, "fake")
    assert contents(copy, "fake") == contents(fake_root, "fake")
    seconds = "SELECT generation_id, seconds FROM generations ORDER BY 1"
    assert rows(copy, "fake", seconds) == rows(fake_root, "fake", seconds)


@pytest.mark.parametrize(
    ("content", "says"), [("{", "is no JSON"), ("[1]", "is no JSON"), (None, "names shard-00001, which is missing")]
)
def test_a_manifest_that_is_none_or_names_what_is_missing_is_set_aside(
    copy: Path, content: str | None, says: str, capfd: pytest.CaptureFixture[str], fake_root: Path
) -> None:
    manifest = copy / "fake/manifests/round=000/documents.json"
    if content is None:
        (copy / "fake/documents" / f"{SHARD}.parquet").unlink()
    else:
        manifest.write_text(content)
    run_fake(copy, "fake")
    assert f"manifests/round=000/documents.json {says}: set aside" in capfd.readouterr().err
    assert list((copy / "fake/superseded/manifests/round=000").iterdir())
    assert contents(copy, "fake") == contents(fake_root, "fake")


def test_a_damaged_round_manifest_stops_no_reader(cli: Cli, copy: Path) -> None:
    (copy / "fake/manifests/round=000/round.json").write_text("{")
    code, _, err = cli("status", "--run", "fake", "--root", str(copy))
    assert code == 0 and not err


def test_leftovers_of_kills_are_gone_and_a_journal_that_is_owed_stays(copy: Path) -> None:
    (copy / "fake/answers/round=000/.shard-00001.parquet.ab.tmp").write_text("half")
    journals = copy / "fake/journal/round=000"
    journals.mkdir(parents=True, exist_ok=True)
    for name in ("answer-shard-00000", "rate-shard-00001"):
        (journals / f"{name}.jsonl").write_text("")
    (copy / "fake/ratings" / f"{SHARD}.parquet").unlink()
    ordered(copy)
    assert [path.name for path in journals.iterdir()] == ["rate-shard-00001.jsonl"]
    assert not list((copy / "fake").rglob("*.tmp"))


def test_calls_that_were_no_answers_are_made_again(tmp_path: Path) -> None:
    store, plan = Store(str(tmp_path), "r"), plan_of(config())
    made: dict[str, Any] = {"role": "answer", "model": "m", "endpoint": "e", "messages": [], "params": "{}"}
    calls = [made | {"generation_id": reason, "finish_reason": reason} for reason in ("stop", "rejected", "too_long")]
    store.write("generations", 0, "shard-00000.answer", calls, plan.footer("answer"))
    assert set(known_calls(store, 0, "shard-00000", "answer")) == {"stop"}
