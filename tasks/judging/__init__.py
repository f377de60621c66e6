"""The ways to rate answers by a rubric, behind one interface: a `Case` goes in, a `Judgement` comes out.

| mode | the judge | score in [0, 2] |
| --- | --- | --- |
| `pointwise` | writes thoughts and 0, 1 or 2 a criterion | Σ weight·rating / Σ weight |
| `logprob` | is asked for one digit a criterion; its probabilities count | the same, of expected ratings |
| `likelihood` | writes nothing: how much likelier does the answer make each gold fact? | the same, of mapped gains |
| `pairwise` | says which of two answers is better, in both orders | twice the win rate |
| `anchor` | gives an answer and one of median length 0 to 10, in both orders | relative to the anchor, which has 1 |
"""

from collections.abc import Callable, Coroutine
from typing import Any

from tasks.asking.asker import Asker
from tasks.judging.anchor import anchor
from tasks.judging.case import Case, Judgement
from tasks.judging.likelihood import likelihood
from tasks.judging.logprob import logprob
from tasks.judging.pairwise import pairwise
from tasks.judging.pointwise import pointwise

Judge = Callable[[Asker, Case], Coroutine[Any, Any, Judgement]]

MODES: dict[str, Judge] = {
    "pointwise": pointwise, "logprob": logprob, "likelihood": likelihood, "pairwise": pairwise, "anchor": anchor,
}  # fmt: skip
