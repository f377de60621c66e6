"""A pair that the trainer cannot take keeps its row, with a status and what is wrong with it."""

from pathlib import Path

from tasks.staging.stage import Round
from tasks.storage.db import connect
from tasks.storage.store import Store
from tasks.train import unfit_pairs
from tasks.training.job import Prepared
from tests.samples import Quiet, config, plan_of


def test_a_pair_that_is_too_long_or_types_control_tokens_is_a_rejection(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "test")
    round_ = Round(plan_of(config()), store, {}, Quiet())
    too_long = [{"pair_id": "a", "tokens": 900}, {"pair_id": "b", "tokens": 800}]
    typed = [{"pair_id": "b", "token": "<|im_end|>"}]
    unfit_pairs(round_, 512)(Prepared(3, 0, too_long, 900, True, "<|im_end|>", typed))
    found = connect(store).execute("SELECT pair_id, status, tokens, reason FROM unfit_pairs ORDER BY 1").fetchall()
    assert found[0] == ("a", "too_long", 900, "900 tokens; training.max_tokens is 512")
    assert found[1][:2] == ("b", "control_tokens") and "<|im_end|>" in found[1][3]
    told = connect(store).execute("SELECT stage, status, count FROM rejections ORDER BY status").fetchall()
    assert told == [("training", "control_tokens", 1), ("training", "too_long", 1)]


def test_where_all_pairs_fit_nothing_is_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "test")
    unfit_pairs(Round(plan_of(config()), store, {}, Quiet()), 512)(Prepared(3, 0, [], 400, True, "</s>"))
    assert store.files("unfit_pairs", 0) == []
