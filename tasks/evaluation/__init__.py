"""The ways to measure a candidate against its parent, behind one interface: a `Bench` goes in, `Measure`s come out.

| suite | measures | decides on |
| --- | --- | --- |
| `heldout` | rubric scores of answers to problems from held-out documents | mean score a problem, paired |
| `grounded` | content words and facts of the held-out documents in the same answers, by program | share, paired |
| `winrate` | candidate against parent, both orders, also at equal length | share of problems won |
| `perplexity` | held-out documents under both | nats a token: the alarm for a broken model |
| `ifeval` | instructions that a program checks | share followed |
| `lm_eval` | tasks of lm-eval by name | what they say |
| `exam` | questions of one's own, each exam a suite `exam.NAME` | points, win rate or matches, paired |
"""

from collections.abc import Callable, Coroutine
from typing import Any

from tasks.evaluation.bench import Bench, Measure
from tasks.evaluation.exams.suite import exam
from tasks.evaluation.grounded import grounded
from tasks.evaluation.heldout import heldout
from tasks.evaluation.ifeval import ifeval
from tasks.evaluation.lm_eval import lm_eval
from tasks.evaluation.perplexity import perplexity
from tasks.evaluation.winrate import winrate

Suite = Callable[[Bench], Coroutine[Any, Any, list[Measure]]]

SUITES: dict[str, Suite] = {
    "heldout": heldout, "grounded": grounded, "winrate": winrate, "perplexity": perplexity, "ifeval": ifeval,
    "lm_eval": lm_eval, "exam": exam,
}  # fmt: skip
JUDGED = ("heldout", "grounded", "winrate")  # the suites that ask examiner and judge
