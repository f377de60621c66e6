"""How well does each way of scoring order a run's answers, and how much of that is more than the zero line?

    python -m benchmarks.judges ROOT/RUN [--round 0] [--hinted]

Works on any finished round, also one of an earlier version. Beside the round's own judge it tries other uses of the
same likelihoods (sums of the gains, the least known fact, what is told alone), where the judge rated by likelihood.
`agree`: of best against worst, how often the best has the larger share of words that stand in the document (chance
0.5). The last two columns are of all answers, the reference among them. Below, what the round let through: answers that
are not whole, refusals, gold facts that rest on nothing, and the probes.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from statistics import fmean

from benchmarks.ordering import Graded, ordering
from tasks.evaluation.statistics import wilson
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Row, Store
from tasks.texts.evidence import evidence_of
from tasks.texts.refusals import refuses
from tasks.texts.wholeness import unfinished

GAINS = """
SELECT answer_id, list(coalesce(told - against, regexp_extract(thoughts, 'gain ([+-][0-9.]+)', 1)::DOUBLE)) AS gains
FROM criterion_ratings WHERE round = $round AND (told IS NOT NULL OR starts_with(thoughts, 'gain')) GROUP BY 1
"""
USES: dict[str, Callable[[list[float]], float]] = {
    "mean of what is told": lambda gains: fmean(max(0.0, gain) for gain in gains),
    "mean of the gains": fmean,
    "gains of 2·σ, as before": lambda gains: fmean(2 / (1 + math.exp(-gain / 0.5)) for gain in gains),
    "least told fact": min,
    "best told fact": max,
}


def judged(store: Store, round_: int, hinted: bool = False) -> dict[str, list[Graded]]:
    """Each way of scoring with the answers that it scores; those that saw a hint only if asked for."""
    con = connect(store)
    query = "SELECT * FROM graded WHERE round = ? AND grounded IS NOT NULL AND (NOT hinted OR ?)"
    rows = rows_of(con, query, [round_, hinted])
    gains = {row["answer_id"]: row["gains"] for row in rows_of(con, GAINS, {"round": round_})}
    found: dict[str, list[Graded]] = defaultdict(list)

    def add(judge: str, row: Row, score: float | None) -> None:
        if score is not None:
            own = row["own_likelihood"]
            one = Graded(row["problem_id"], score, row["grounded"], own, row["words"], row["rollout"] < 0)
            found[judge].append(one)

    for row in rows:
        add(f"{row['mode']} (the round's judge)", row, row["score"])
        known = [gain for gain in gains.get(row["answer_id"], []) if gain is not None]
        for name, use in USES.items():
            add(name, row, use(known) if known else None)
        add("own likelihood, no rubric, no document", row, row["own_likelihood"])
        add("length in words", row, float(row["words"]))
    return found


def table(found: dict[str, list[Graded]]) -> str:
    """As Markdown."""
    head = ("score", "rank correlation", "beyond zero line", "agree", "reference above mean", "with the reference",
            "agree with it")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, graded in found.items():
        blind, both = ordering([one for one in graded if not one.reference]), ordering(graded)
        zero = name.startswith(("own", "length"))
        cells = [
            _pm(blind.correlation, blind.correlation_pm),
            "" if zero else _pm(blind.beyond, blind.beyond_pm),
            _share(blind.agree),
            _share(both.reference_above),
            _pm(both.correlation, both.correlation_pm),
            _share(both.agree_all),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pm(value: float | None, half: float | None) -> str:
    return "–" if value is None or half is None else f"{value:.2f} ± {half:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def let_through(store: Store, round_: int) -> list[str]:
    """What of the round no longer counts, or should not."""
    con = connect(store)
    answers = rows_of(con, """
        SELECT a.answer_id, a.final, a.status, q.problem, a.answer_id IN
            (SELECT chosen_answer_id FROM pairs WHERE status = 'ok' AND round = $round) AS chosen, a.answer_id IN
            (SELECT rejected_answer_id FROM pairs WHERE status = 'ok' AND round = $round) AS rejected
        FROM answers a JOIN problems q USING (run, round, problem_id) WHERE a.round = $round AND rollout >= 0
    """, {"round": round_})  # fmt: skip
    facts = rows_of(con, """
        SELECT c.gold, d.text, d.title FROM criteria c JOIN documents d USING (run, round, document_id)
        WHERE c.round = ? AND c.gold IS NOT NULL AND d.status = 'ok' AND coalesce(c.status, 'ok') = 'ok'
    """, [round_])  # fmt: skip
    asked = con.execute("SELECT config->'$.sampling.answer.stop' FROM manifests WHERE round = ?", [round_]).fetchone()
    stop = next(iter(json.loads(asked[0]) or ()), "") if asked and asked[0] else ""
    whole = [row for row in answers if row["status"] == "ok" and row["final"]]
    kinds = {
        "not whole": [row for row in whole if unfinished(row["final"], stop)],
        "refusals": [row for row in whole if refuses(row["final"], row["problem"])],
    }
    lines = []
    for kind, rows in kinds.items():
        chosen, rejected = sum(row["chosen"] for row in rows), sum(row["rejected"] for row in rows)
        lines.append(f"- {kind}, of {len(whole)} answers that count: {len(rows)}; chosen {chosen}, rejected {rejected}")
    held = sum(evidence_of(row["gold"], row["text"], row["title"])[1] >= 0.6 for row in facts)
    lines.append(f"- gold facts rated by: {len(facts)}, of which {held} have a support of 0.6 or more")
    query = """SELECT kind, count(*) AS n, count(*) FILTER (passed) AS k FROM probes
               WHERE round = ? AND passed IS NOT NULL GROUP BY GROUPING SETS ((kind), ()) HAVING n > 0 ORDER BY 1"""
    for row in rows_of(con, query, [round_]):
        _, low, high = wilson(row["k"], row["n"])
        lines.append(f"- probes passed, {row['kind'] or 'all'}: {row['k']} of {row['n']} ({low:.2f} to {high:.2f})")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="ROOT/RUN")
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--hinted", action="store_true", help="with the answers that saw a hint (sampling.hints)")
    given = parser.parse_args()
    root, _, name = given.run.rstrip("/").rpartition("/")
    store = Store(root or ".", name)
    found = judged(store, given.round, given.hinted)
    if not found:
        sys.exit(f"{given.run}, round {given.round}: no rated answers with their documents")
    one = next(iter(found.values()))
    own, problems = sum(not graded.reference for graded in one), len({graded.problem_id for graded in one})
    kind = "answers, hinted ones with them" if given.hinted else "blind answers"
    print(f"{name}, round {given.round}: {problems} problems, {own} {kind}\n")
    print(table(found), "\n")
    print("\n".join(let_through(store, given.round)))


if __name__ == "__main__":
    main()
