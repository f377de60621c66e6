"""A healthy round, made by hand, and the defects that can be planted in it."""

import json
import random
from collections.abc import Callable
from typing import Any

from tasks.storage.store import Store

Row = dict[str, Any]
Tables = dict[str, list[Row]]
PROBLEMS, ANSWERS = 40, 5
VOCABULARY = [
    a + b + c for a in "brstmkl" for b in ("ai", "o", "ee", "u") for c in ("nder", "lic", "strum", "pel", "v")
]


def prose(seed: object, words: int) -> str:
    """Words drawn by a seed."""
    draw = random.Random(str(seed))
    return " ".join(draw.choice(VOCABULARY) for _ in range(words)) + "."


def healthy() -> Tables:
    """40 problems with 5 answers each: other words everywhere, scores that differ, a reference that wins, no leak."""
    draw = random.Random(7)
    tables: Tables = {name: [] for name in ("documents", "problems", "answers", "rubrics", "ratings", "pairs")}
    tables["documents"].append(_document("h0", "heldout"))
    for n in range(PROBLEMS):
        tables["documents"].append(_document(f"d{n}", "train"))
        text = tables["documents"][-1]["text"].split()
        reference = prose(f"reference {n}", 30)
        tables["problems"].append({
            "problem_id": f"p{n}", "document_id": f"d{n}", "problem": prose(f"problem {n}", 25), "status": "ok",
            "reference_answer": reference, "task": "general",
        })  # fmt: skip
        names = [" ".join(text[c * 10 : c * 10 + 2]) for c in range(3)]
        tables["rubrics"].append({
            "rubric_id": f"r{n}", "problem_id": f"p{n}", "document_id": f"d{n}", "status": "ok", "criteria": [
                {"name": name, "gold": " ".join(text[c * 10 : c * 10 + 8]), "description": "d", "weight": 1.0 + c}
                for c, name in enumerate(names)
            ],
        })  # fmt: skip
        tables["answers"].append(_answer(n, -1, reference, 30))
        tables["ratings"].append(_rating(n, -1, names, [2.0, 2.0, 1.0]))
        for k in range(ANSWERS):
            length, values = draw.randint(20, 60), [float(draw.randint(0, 2)) for _ in names]
            known = " ".join(text[50 : 50 + 2 * int(sum(values))])  # who scores more says more of the document
            tables["answers"].append(_answer(n, k, f"{prose(f'answer {n} {k}', 30)} {known}", length))
            tables["ratings"].append(_rating(n, k, names, values))
    _pair(tables)
    return tables


def _document(name: str, split: str) -> Row:
    return {
        "document_id": name, "title": name, "text": prose(f"document {name}", 120), "words": 120, "split": split,
        "status": "ok",
    }  # fmt: skip


def _answer(problem: int, rollout: int, text: str, words: int) -> Row:
    return {
        "answer_id": f"a{problem}.{rollout}", "problem_id": f"p{problem}", "document_id": f"d{problem}",
        "rollout": rollout, "text": text, "final": text, "words": words, "status": "ok",
    }  # fmt: skip


def _rating(problem: int, rollout: int, names: list[str], values: list[float]) -> Row:
    marks = [{"name": name, "rating": value, "thoughts": "because"} for name, value in zip(names, values, strict=True)]
    return {
        "rating_id": f"t{problem}.{rollout}", "answer_id": f"a{problem}.{rollout}", "rubric_id": f"r{problem}",
        "problem_id": f"p{problem}", "mode": "pointwise", "ratings": marks, "status": "ok",
        "score": sum((1.0 + c) * value for c, value in enumerate(values)) / 6.0,
    }  # fmt: skip


def _pair(tables: Tables) -> None:
    """Best against worst of each problem, ties as ties."""
    scores = {row["answer_id"]: row["score"] for row in tables["ratings"]}
    tables["pairs"] = []
    for n in range(PROBLEMS):
        ranked = sorted((scores[f"a{n}.{k}"], f"a{n}.{k}") for k in range(ANSWERS))
        (low, worst), (high, best) = ranked[0], ranked[-1]
        tied = high == low
        tables["pairs"].append({
            "pair_id": f"x{n}", "problem_id": f"p{n}", "chosen_answer_id": None if tied else best,
            "rejected_answer_id": None if tied else worst, "chosen_score": high, "rejected_score": low,
            "margin": high - low, "status": "tie" if tied else "ok",
        })  # fmt: skip


def length_biased_judge(tables: Tables) -> None:
    """The longer, the better."""
    words = {row["answer_id"]: row["words"] for row in tables["answers"]}
    for row in tables["ratings"]:
        row["score"] = words[row["answer_id"]] / 30
    _pair(tables)


def judge_that_always_says_2(tables: Tables) -> None:
    """Everything is perfect."""
    for row in tables["ratings"]:
        row["score"] = 2.0
        for mark in row["ratings"]:
            mark["rating"] = 2.0
    _pair(tables)


def copied_references(tables: Tables) -> None:
    """A tenth of the answers are the reference, word for word."""
    references = {row["problem_id"]: row["reference_answer"] for row in tables["problems"]}
    for row in [r for r in tables["answers"] if r["rollout"] == 0][:20]:
        row["final"] = "Well: " + references[row["problem_id"]]


def reference_in_problem(tables: Tables) -> None:
    """Some problems come with their answer."""
    for row in tables["problems"][:4]:
        row["problem"] += " " + row["reference_answer"]


def duplicated_problem(tables: Tables) -> None:
    """One problem is another one, in other capitals."""
    tables["problems"][5]["problem"] = tables["problems"][6]["problem"].upper()


def near_duplicates(tables: Tables) -> None:
    """Four problems are another one with a word changed."""
    words = tables["problems"][6]["problem"].split()
    for n in range(4):
        tables["problems"][n]["problem"] = " ".join([*words[:-1], f"other{n}"])


def leaked_document(tables: Tables) -> None:
    """A held-out document stands among the training documents under another name."""
    tables["documents"][3]["text"] = tables["documents"][0]["text"]


def one_mould(tables: Tables) -> None:
    """Every problem is of one mould."""
    for n, row in enumerate(tables["problems"]):
        row["problem"] = f"What is the most important fact about the history and the nature of subject{n} and why?"


def contaminated(tables: Tables) -> None:
    """A problem quotes a held-out document."""
    tables["problems"][0]["problem"] = " ".join(tables["documents"][0]["text"].split()[10:40])


def losing_reference(tables: Tables) -> None:
    """The reference is worth nothing under its own rubric."""
    for row in tables["ratings"]:
        if row["answer_id"].endswith(".-1"):
            row["score"] = 0.0


def generic_criteria(tables: Tables) -> None:
    """Every rubric asks for clarity, tone and length."""
    for row in tables["rubrics"]:
        for criterion, name in zip(row["criteria"], ("1 Clarity", "2 Tone", "3 Length"), strict=True):
            criterion["name"] = name


def invented_golds(tables: Tables) -> None:
    """No gold fact is in its document."""
    for row in tables["rubrics"]:
        for criterion in row["criteria"]:
            criterion["gold"] = "quixotic zephyrs juggle vexing wombats"


def one_heavy_criterion(tables: Tables) -> None:
    """One criterion decides."""
    for row in tables["rubrics"]:
        row["criteria"][0]["weight"] = 100.0


def failing_stages(tables: Tables) -> None:
    """A third of the rubrics are malformed, and a third of the answers are cut; half of the ratings have no score."""
    for row in tables["rubrics"][::3]:
        row |= {"status": "malformed", "criteria": None}
    for row in [r for r in tables["answers"] if r["rollout"] >= 0][::3]:
        row |= {"status": "truncated", "final": None}
    for row in tables["ratings"][::2]:
        row |= {"status": "malformed", "score": None, "ratings": None}


def first_shown_wins(tables: Tables) -> None:
    """Whatever is shown first wins, in both orders."""
    tables["comparisons"] = [
        {"comparison_id": f"k{n}", "problem_id": f"p{n}", "first_answer_id": "a", "second_answer_id": "b",
         "first_mark": 2.0, "second_mark": 0.0, "status": "ok"} for n in range(40)
    ]  # fmt: skip


def noisy_judge(tables: Tables) -> None:
    """Judged again, an answer gets any score."""
    for row in tables["ratings"]:
        row |= {"sample_scores": [0.0, 2.0], "spread": 2**0.5}


def failed_probes(tables: Tables) -> None:
    """The judge likes an empty answer."""
    probe = {"kind": "empty", "score": 2.0, "passed": False, "status": "ok", "beaten": 0.8}
    tables["probes"] = [{"probe_id": f"b{n}", "problem_id": f"p{n}", **probe} for n in range(4)]


def judge_at_chance(tables: Tables) -> None:
    """Scores have nothing to do with what the answers say of the document."""
    for row in tables["ratings"]:
        row["score"] = float(hash_of(row["answer_id"]) % 1000) / 500
    _pair(tables)


def judge_of_style(tables: Tables) -> None:
    """The judge only says again how likely the model finds an answer."""
    for row in tables["ratings"]:
        row["own_likelihood"] = row["score"] - 3.0


def hash_of(text: str) -> int:
    """The same in every process."""
    return random.Random(text).randrange(1 << 30)


def write(root: str, run: str, change: Callable[[Tables], None] | None = None, round_: int = 0) -> Store:
    """A run with the healthy round, or with a defect planted in it."""
    tables = healthy()
    if change is not None:
        change(tables)
    store = Store(root, run)
    for table, rows in tables.items():
        store.write(table, round_, "shard-00000", rows, {"stage": "shard", "settings": {}})
    manifest = {"run": run, "round": round_, "finished": True, "written": "2026-01-01T00:00:00+00:00", "config": {}}
    store.publish(f"{store.base}/manifests/round={round_:03d}/round.json", json.dumps(manifest).encode())
    return store
