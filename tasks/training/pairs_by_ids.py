"""Preference pairs that are token ids already, for OpenRLHF's trainer. Loaded by launch.py, in the runtime environment.

OpenRLHF's own dataset renders texts, cuts the answer out by the prompt's length in tokens, and appends what it takes
for the end of a turn; where tokens merge at that border, other text is trained on than was served. prepare.py has
settled all that, so nothing is rendered, cut or appended here. Its reader takes a comma, an @ or a bracket in a path
for something else than a name, and guesses types.
"""

import importlib
from typing import Any

Item = tuple[Any, Any, Any, Any, int]


def use() -> None:
    """Let OpenRLHF read pairs of ids; call it once, before its trainer is imported."""
    datasets: Any = importlib.import_module("openrlhf.datasets")
    importlib.import_module("openrlhf.datasets.utils").blending_datasets = read  # type: ignore[attr-defined]
    datasets.RewardDataset = dataset_class(datasets.RewardDataset)


def read(path: str, *_: Any, **__: Any) -> Any:
    """The rows of a Parquet file, as the types that it states."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    return Dataset(pq.ParquetFile(path).read(use_threads=False))


def dataset_class(upstream: Any) -> Any:
    """OpenRLHF's dataset with another way to a row; padding and batches stay its own."""
    import torch

    class PairsByIds(upstream):  # type: ignore[misc]
        """Rows of prompt_ids, chosen_ids and rejected_ids."""

        def __init__(self, rows: Any, tokenizer: Any, *_: Any, **__: Any) -> None:
            self.rows, self.tokenizer, self.is_dpo = rows, tokenizer, True

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> Item:
            """Chosen ids and mask, rejected ids and mask, each (1, tokens), and how many of them bear no loss."""
            row = self.rows[index]
            chosen = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
            rejected = torch.tensor([row["prompt_ids"] + row["rejected_ids"]])
            return chosen, torch.ones_like(chosen), rejected, torch.ones_like(rejected), len(row["prompt_ids"])

    return PairsByIds
