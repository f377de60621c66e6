"""Drawing a token by top-p without sorting the vocabulary. numpy alone: the server on a CPU loads it by path.

vLLM 0.29 on a CPU sorts all logits of every sequence at every step and draws one random number for each of them: with
a vocabulary of 49,152 and 48 sequences that was two thirds of the time of a step of SmolLM2-135M.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def pick(probabilities: npt.NDArray[Any], top_p: float, mark: float) -> int:
    """The token at `mark` (0 to 1, below 1) of the most likely tokens that hold `top_p` together.

    Kept is what vLLM keeps: a token is left out if it and all less likely ones hold at most 1 - top_p. So none of at
    most (1 - top_p) / V is kept, V of them being all there are, and only what is above that has to be sorted. Nearly
    equal distributions give the same token at the same mark, but where two tokens meet.

    Args:
        probabilities: [V], of sum 1. Of a broken model's NaN the first token is taken, as by vLLM.
    """
    if top_p >= 1.0:
        return _at(probabilities, mark)
    likely = np.flatnonzero(probabilities > (1.0 - top_p) / len(probabilities))
    if not len(likely):  # NaN: the likeliest of V has 1 / V at least
        return int(np.argmax(probabilities))
    likely = likely[np.argsort(-probabilities[likely], kind="stable")]
    found = probabilities[likely].astype(np.float64)
    before = np.cumsum(found) - found
    kept = max(1, int(np.searchsorted(before, top_p, side="left")))
    return int(likely[_at(found[:kept], mark)])


def _at(shares: npt.NDArray[Any], mark: float) -> int:
    until = np.cumsum(shares, dtype=np.float64)
    return min(int(np.searchsorted(until, mark * until[-1], side="right")), len(shares) - 1)
