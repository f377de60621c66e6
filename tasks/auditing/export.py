"""Preference data as a dataset: Parquet and JSON lines that TRL, OpenRLHF and `datasets` read, with a card.

    TARGET/README.md                   the card: what is in it and where it comes from
    TARGET/preferences/train.parquet   prompt, chosen, rejected as lists of messages, with scores and ids
    TARGET/preferences/train.jsonl
    TARGET/conversations/train.*       chosen and rejected as whole conversations, for readers without a prompt column

Texts stand as they were judged and trained on.
"""

import io
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UserError, unwritable
from schemas.tables import FLOAT, INT, MESSAGES, TEXT
from tasks.storage.db import connect, rows_of
from tasks.storage.store import Store, publish_local

Row = dict[str, Any]
IDS = [("run", TEXT), ("round", INT), ("pair_id", TEXT), ("problem_id", TEXT), ("document_id", TEXT)]
SCORES = [("score_chosen", FLOAT), ("score_rejected", FLOAT), ("margin", FLOAT)]
LAYOUTS = {
    "preferences": pa.schema([("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES), *SCORES, *IDS]),
    "conversations": pa.schema([("chosen", MESSAGES), ("rejected", MESSAGES), *SCORES, *IDS]),
}
_QUERY = """
SELECT f.prompt, f.chosen, f.rejected, p.chosen_score AS score_chosen, p.rejected_score AS score_rejected, p.margin,
       p.run, p.round, p.pair_id, p.problem_id, q.document_id
FROM preferences f JOIN pairs p USING (run, round, pair_id) LEFT JOIN problems q USING (run, round, problem_id)
WHERE $round IS NULL OR p.round = $round ORDER BY p.round, p.pair_id
"""


def preference_rows(store: Store, round_: int | None) -> list[Row]:
    """The pairs that a trainer gets, of one round or of all, with their scores and ids.

    Raises:
        UserError: there are none.
    """
    with connect(store) as con:
        rows = rows_of(con, _QUERY, {"round": round_})
    if not rows:
        raise UserError(
            f"run {store.run} has no preference pairs to export; what fell out and why: "
            f'pop sql --run {store.run} "select * from rejections"'
        )
    return rows


def conversation(row: Row) -> Row:
    """The same pair with the prompt inside both conversations."""
    return row | {side: [*row["prompt"], *row[side]] for side in ("chosen", "rejected")}


def files(rows: list[Row]) -> dict[str, bytes]:
    """The data files by their path under the target."""
    made: dict[str, bytes] = {}
    for layout, schema in LAYOUTS.items():
        shaped = rows if layout == "preferences" else [conversation(row) for row in rows]
        kept = [{name: row[name] for name in schema.names} for row in shaped]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(kept, schema), sink, compression="zstd")
        made[f"{layout}/train.parquet"] = sink.getvalue()
        lines = (json.dumps(row, ensure_ascii=False) for row in kept)
        made[f"{layout}/train.jsonl"] = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    return made


def publish(target: str, made: dict[str, bytes], card: str, overwrite: bool) -> None:
    """Write the files, the card last: where it is, the dataset is whole.

    Raises:
        UserError: something is there already, or the target is no place to write to.
        DependencyError: it cannot be written.
    """
    try:
        fs, base = fsspec.core.url_to_fs(target)
    except (ValueError, ImportError) as error:
        raise UserError(f"{target}: {error}") from None
    try:
        if fs.exists(base) and (not fs.isdir(base) or fs.ls(base)) and not overwrite:
            raise UserError(f"{target} is there already: name another place, or add --overwrite")
        for name, content in {**made, "README.md": card.encode(errors="replace")}.items():
            path = f"{base.rstrip('/')}/{name}"
            if "://" in target:
                fs.pipe_file(path, content)
            else:
                publish_local(Path(path), content)
    except OSError as error:
        raise unwritable(target, error) from None
