"""Audits: a healthy round passes, each planted defect is caught by the audit that should, and nothing is n/a, not 0."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.views.findings import findings
from schemas.errors import UserError
from tasks.auditing.audits import SHIPPED, parse_audit, read_audits, run_audit
from tasks.auditing.evidence import audit_connection
from tasks.storage.store import Store
from tests import planted
from tests.conftest import run_fake

Cli = Callable[..., tuple[int, str, str]]
QUIET = {
    "empty_wins",
    "judges_agree",
    "position_bias",
    "probes",
    "self_agreement",
}  # what a plain pointwise round has no rows for
AUDIT = """-- title: Pairs
-- meaning: How many pairs there are,
--   in words.
-- threshold: {threshold}
-- direction: at_least
-- blocks: yes
{query}
"""
COUNT = "SELECT run, round, count(*) AS value, count(*) AS n FROM pairs GROUP BY ALL"


def verdicts(store: Store) -> dict[str, str]:
    """The worst verdict of each audit."""
    found: dict[str, str] = {}
    for finding in findings(store, 0):
        found.setdefault(finding.audit.name, finding.verdict)
    return found


def test_a_healthy_round_passes_and_what_is_not_there_is_na(tmp_path: Path) -> None:
    found = verdicts(planted.write(str(tmp_path), "healthy"))
    assert {name for name, verdict in found.items() if verdict == "n/a"} == QUIET
    assert {name for name, verdict in found.items() if verdict != "ok"} == QUIET


@pytest.mark.parametrize(
    ("defect", "caught"),
    [
        (planted.length_biased_judge, {"chosen_longer": "fail", "score_length_correlation": "warn"}),
        (planted.judge_that_always_says_2, {
            "score_concentration": "fail", "ties": "warn", "zero_variance_rubrics": "warn",
            "zero_variance_criteria": "warn", "reference_wins": "fail",
        }),
        (planted.copied_references, {"copied_references": "fail"}),
        (planted.reference_in_problem, {"reference_in_problem": "warn"}),
        (planted.duplicated_problem, {"duplicate_problems": "warn"}),
        (planted.near_duplicates, {"near_duplicate_problems": "warn"}),
        (planted.leaked_document, {"heldout_leak": "fail"}),
        (planted.one_mould, {"distinct_problems": "warn", "similar_problems": "warn"}),
        (planted.contaminated, {"contamination": "warn"}),
        (planted.losing_reference, {"reference_wins": "fail"}),
        (planted.generic_criteria, {"generic_criteria": "warn"}),
        (planted.invented_golds, {"grounding": "warn"}),
        (planted.one_heavy_criterion, {"weight_concentration": "warn"}),
        (planted.failing_stages, {"malformed": "warn", "truncated": "warn", "unrated": "warn", "survivors": "fail"}),
        (planted.first_shown_wins, {"position_bias": "warn"}),
        (planted.noisy_judge, {"self_agreement": "warn"}),
        (planted.failed_probes, {"probes": "warn", "empty_wins": "fail"}),
        (planted.judge_of_style, {"judge_adds_nothing": "fail", "judge_uncertain": "warn"}),
    ],
)  # fmt: skip
def test_a_planted_defect_is_caught(
    tmp_path: Path, defect: Callable[[planted.Tables], None], caught: dict[str, str]
) -> None:
    found = verdicts(planted.write(str(tmp_path), "planted", defect))
    assert {name: found[name] for name in caught} == caught
    assert set(found) == {path.stem for path in SHIPPED.glob("*.sql")}


def value(store: Store, name: str, part: str = "") -> tuple[float | None, int]:
    audit = next(audit for audit in read_audits([]) if audit.name == name)
    with audit_connection(store) as con:
        return next((f.value, f.n) for f in run_audit(con, audit, store.run, 0) if f.part == part)


def test_values_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    store = planted.write(str(tmp_path), "r", planted.failing_stages)
    assert value(store, "malformed", "rubrics") == (14 / 40, 40)
    assert value(store, "truncated", "answers") == (67 / 200, 200)
    assert value(planted.write(str(tmp_path), "s", planted.near_duplicates), "near_duplicate_problems") == (4 / 40, 40)
    assert value(planted.write(str(tmp_path), "t", planted.copied_references), "copied_references") == (0.1, 200)
    assert value(planted.write(str(tmp_path), "u", planted.contaminated), "contamination") == (1 / 40, 40)
    assert value(planted.write(str(tmp_path), "v", planted.first_shown_wins), "position_bias") == (0.5, 40)


def test_likelihood_is_compared_with_pointwise_where_both_rated_the_same_answers(tmp_path: Path) -> None:
    planted.write(str(tmp_path), "pointwise")

    def reuse(tables: planted.Tables) -> None:
        for row in tables["ratings"]:
            row |= {"mode": "likelihood", "score": 2.0 - row["score"]}  # the other way round
        for row in tables["answers"]:
            row["reused_from"] = "pointwise/0"

    store = planted.write(str(tmp_path), "likelihood", reuse)
    agreement, n = value(store, "judges_agree", "likelihood with pointwise")
    assert agreement == pytest.approx(-1.0) and n == 240


def test_problems_are_compared_with_those_of_earlier_rounds(tmp_path: Path) -> None:
    planted.write(str(tmp_path), "r", round_=0)
    store = planted.write(str(tmp_path), "r", round_=1)
    found = {f.audit.name: f for f in findings(store, 1)}
    assert found["duplicate_problems"].value == found["near_duplicate_problems"].value == 1.0
    assert {f.audit.name: f for f in findings(store, 0)}["duplicate_problems"].value == 0.0


@pytest.mark.parametrize("name", ["x.jsonl", "bom.jsonl", "x.jsonl.gz", "x.csv"])
def test_problems_are_compared_with_exams_by_themselves(tmp_path: Path, name: str) -> None:
    store = planted.write(str(tmp_path), "r")
    row = {"prompt": [{"role": "user", "content": planted.healthy()["problems"][0]["problem"]}]}
    text = f"prompt\n{row['prompt'][0]['content']}\n" if name.endswith("csv") else json.dumps(row)
    content = text.encode("utf-8-sig" if name.startswith("bom") else "utf-8")
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    manifest = {"run": "r", "round": 0, "config": {"evaluation": {"exams": [{"name": "x", "file": str(file)}]}}}
    store.publish(f"{store.base}/manifests/round=000/round.json", json.dumps(manifest).encode())
    assert value(store, "contamination") == (1 / 40, 40)
    file.unlink()
    with pytest.raises(UserError, match=r"evaluation\.exams: .* cannot be read"):
        value(store, "contamination")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
def test_problems_are_compared_with_evaluation_files(tmp_path: Path, suffix: str) -> None:
    store = planted.write(str(tmp_path), "r")
    text = planted.healthy()["problems"][0]["problem"]
    file = tmp_path / f"it's.{suffix}"
    file.write_text(
        {"jsonl": json.dumps({"id": 1, "q": {"text": text}}), "csv": f"id,q\n1,{text}\n", "txt": text}[suffix]
    )
    manifest = {"run": "r", "round": 0, "config": {"evaluation": {"files": [str(file)]}}}
    store.publish(f"{store.base}/manifests/round=000/round.json", json.dumps(manifest).encode())
    assert value(store, "contamination") == (1 / 40, 40)
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        value(store, "contamination")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT 1", "the header has no title"),
        (AUDIT.format(threshold="high", query=COUNT), "threshold is no number: 'high'"),
        (AUDIT.format(threshold="nan", query=COUNT), "threshold is no number"),
        (AUDIT.format(threshold=1, query=""), "there is no query"),
        (AUDIT.format(threshold=1, query=COUNT).replace("at_least", "above"), "at_most or at_least, not 'above'"),
        (AUDIT.format(threshold=1, query=COUNT).replace("yes", "maybe"), "blocks is yes or no"),
        (AUDIT.format(threshold=1, query=COUNT).replace("meaning", "meanin"), "did you mean 'meaning'"),
        ("-- title: a\n-- title: b\n", "line 2: title is given twice"),
        (AUDIT.format(threshold=1, query="-- needs: 1.5\n" + COUNT), "needs is no count"),
    ],
)
def test_a_wrong_header_is_named(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_audit("audits/mine.sql", text)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT run, round, 1 AS n FROM pairs", "no column value"),
        ("SELECT run, round, 'a' AS value, 1 AS n FROM pairs", "value is no number"),
        ("SELECT run, round, 1 AS value, 1 AS n, 2 AS more FROM pairs", "nobody reads the column 'more'"),
        ("SELECT * FROM pars", "pars"),
        ("COPY pairs TO 'x.csv'", "give one SELECT"),
        ("SELECT 1; SELECT 2", "give one SELECT"),
    ],
)
def test_a_wrong_query_of_a_user_is_one_line_and_exit_code_2(cli: Cli, tmp_path: Path, query: str, says: str) -> None:
    planted.write(str(tmp_path), "r")
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits/mine.sql").write_text(AUDIT.format(threshold=1, query=query))
    code, out, err = cli("audit", "mine", "--root", str(tmp_path))
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1 and not out


def test_pop_audit_exits_with_1_where_a_blocking_one_fails(cli: Cli, tmp_path: Path) -> None:
    planted.write(str(tmp_path), "good")
    planted.write(str(tmp_path), "bad", planted.leaked_document)
    code, out, _ = cli("audit", "--run", "good", "--root", str(tmp_path))
    assert code == 0 and "reference_wins" in out and "n/a" in out
    code, out, err = cli("audit", "--run", "bad", "--root", str(tmp_path), "--format", "json")
    assert code == 1 and "heldout_leak is 1, wanted ≤ 0" in err
    rows = {row["audit"]: row for row in json.loads(out)}
    assert rows["heldout_leak"]["value"] == 1.0 and rows["probes"]["value"] is None
    assert "did you mean 'heldout_leak'" in cli("audit", "heldout_lea", "--run", "bad", "--root", str(tmp_path))[2]
    assert "no round 7" in cli("audit", "--round", "7", "--run", "bad", "--root", str(tmp_path))[2]


def test_a_users_audit_replaces_that_of_the_same_name(cli: Cli, tmp_path: Path) -> None:
    planted.write(str(tmp_path), "r")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/ties.sql").write_text(AUDIT.format(threshold=41, query=COUNT))
    code, out, err = cli("audit", "ties", "--audits", str(tmp_path / "mine"), "--root", str(tmp_path))
    assert code == 1 and "ties is 40, wanted ≥ 41" in err and "How many pairs there are, in words." in out


def test_the_gate_stops_a_round_before_it_trains(
    cli_process: Cli, fake_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(fake_root / "fake", tmp_path / "fake")
    (tmp_path / "audits").mkdir()
    (tmp_path / "audits/pairs.sql").write_text(AUDIT.format(threshold=1000, query=COUNT))
    settings = ("engine.kind=fake", "corpus.documents=8", "corpus.documents_per_shard=4", "engine.max_model_len=8192")
    again = ("round", "demo", "--run", "fake", "--root", str(tmp_path), *(f"--set={setting}" for setting in settings))
    code, _, err = cli_process(*again)
    assert code == 1 and "audit pairs is" in err.strip().splitlines()[-1] and "Traceback" not in err
    for mode, told in (("warn", True), ("off", False)):
        assert run_fake(tmp_path, "fake", f"gate.audits={mode}")["not_trained"]
        assert ("audit pairs" in capsys.readouterr().err) == told


def test_a_round_of_the_fake_engine_is_not_blocked(prefect_server: None, tmp_path: Path) -> None:
    assert run_fake(tmp_path, "r")["not_trained"]
