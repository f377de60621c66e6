"""A round's documents drawn from an index: the same as from the corpus itself, of which they alone are read.

DuckDB passes over the hashes of the index and keeps those of the lowest lots; the sampler, which does not care for
the order of what it is offered, then gets these documents and their copies.
"""

import itertools
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.config import CorpusConfig
from schemas.errors import UserError
from tasks.corpus.fetch import Where, fetch
from tasks.corpus.identity import Split
from tasks.corpus.index import DONE, READING, REJECTS, VERSION
from tasks.corpus.inputs import Input, inputs_of
from tasks.corpus.parts import parts_of, reject_of, standing_parts
from tasks.corpus.rejects import KEPT, Rejects, Why
from tasks.corpus.sampling import Found, Sampler
from tasks.corpus.select import Selection, settled
from tasks.corpus.twins import Earlier, reserve
from tasks.storage.jsonfile import read_json

_OVER = "g"  # sorts behind every hexadecimal digit
_LOTS = """
SELECT document_id, heldout, lot FROM (
    SELECT document_id, split_at < ?::HUGEINT AS heldout, sha256(?::BLOB || document_id::BLOB)[:16] AS lot
    FROM parts WHERE document_id IS NOT NULL AND document_id NOT IN (SELECT document_id FROM used)
) WHERE lot < CASE WHEN heldout THEN ? ELSE ? END GROUP BY ALL ORDER BY lot, document_id
"""
_FOUND = """
SELECT document_id, source, file, "at", title, words, reason FROM parts
WHERE document_id IN (SELECT document_id FROM wanted)
"""


def draw(
    folder: Path, source: str, config: CorpusConfig, exclude: Collection[str] = (), earlier: Iterable[Earlier] = ()
) -> Selection:
    """What `select` would choose of the source, by its index.

    Raises:
        UserError: there is no whole index, it was made with other settings, or the corpus has changed since.
    """
    done = checked(folder, config)
    wanted: dict[Split, int] = {"train": config.documents, "heldout": config.heldout_documents}
    sampler = Sampler(wanted, config.heldout_share, config.seed, frozenset(), KEPT)
    with duckdb.connect() as con:
        con.execute("SET preserve_insertion_order = false")
        con.from_parquet(list(map(str, parts_of(folder)))).create_view("parts")
        con.register("used", _ids(exclude))
        excluded = _count(con, "parts WHERE document_id IN (SELECT document_id FROM used)") if exclude else 0
        con.register("wanted", _ids(_lowest(con, config, done["offered"] - excluded)))
        where = _offer(con, sampler)
    texts = fetch({name: where[name] for name in sampler.chosen}, _unchanged(folder, source, config, where), config)
    for name, found in sampler.chosen.items():
        if name not in texts:
            raise stale(folder, f"{where[name].source} is another text")
        found.text = texts[name]
    sampler.take_over(_rejects(folder, done), done["offered"], excluded)
    return settled(sampler, done["seen"], earlier)


def checked(folder: Path, config: CorpusConfig) -> dict[str, Any]:
    """The manifest of an index that is whole and was made with these settings.

    Raises:
        UserError: it is not.
    """
    done = read_json(folder / DONE)
    if not done:
        unfinished = "is not whole" if parts_of(folder) else "is no index"
        raise UserError(f"corpus.index={folder} {unfinished}: run `pop index` with --out {folder}")
    settings = done["settings"]
    if settings["version"] != VERSION:
        raise stale(folder, "it was made by another version of pop", what="")
    for name in READING:
        if settings[name] != (now := getattr(config, name)):
            raise stale(folder, f"it was made with corpus.{name}={settings[name]}, and this is {now}", what="")
    return done


def stale(folder: Path, why: str, what: str = "the corpus has changed: ") -> UserError:
    """What to say of an index that does not fit."""
    return UserError(
        f"corpus.index={folder} does not fit, {what}{why}. Run `pop index` again with --out {folder} and the round's "
        "settings; only what has changed, and what stands behind it, is read again"
    )


def _unchanged(folder: Path, source: str, config: CorpusConfig, where: dict[str, Where]) -> dict[str, Input]:
    """The inputs of the wanted documents by name; all of the corpus' must be as they were."""
    wanted = {one.file for one in where.values()}
    inputs = (one for one in inputs_of(source, config) if isinstance(one, Input))
    found, changed = dict[str, Input](), list[str]()
    for files in standing_parts(folder, inputs, changed.append):
        found |= {one.name: one for one in files if one.name in wanted}
    changed += [] if changed else [f"{one.name} is new" for one in itertools.islice(inputs, 1)]
    if changed:
        raise stale(folder, changed[0])
    return found


def _lowest(con: duckdb.DuckDBPyConnection, config: CorpusConfig, offered: int) -> list[str]:
    """The ids that would be left of all if the sampler were offered all: those of the lowest lots of each split."""
    limits = [limit + reserve(limit) for limit in (config.heldout_documents, config.documents)]
    shares = (config.heldout_share, 1 - config.heldout_share)
    bounds = [
        2 * (limit + 16) / (offered * share or 1) if limit else 0.0  # what is expected, and as much again
        for limit, share in zip(limits, shares, strict=True)
    ]
    threshold = math.ceil(config.heldout_share * 2**64)
    while True:
        given = [threshold, f"{config.seed}\0".encode(), *map(_lot, bounds)]
        lots = con.execute(_LOTS, given).fetchall()
        kept = [[name for name, heldout, _ in lots if heldout is side] for side in (True, False)]
        few = [place for place in (0, 1) if len(kept[place]) < limits[place] and bounds[place] < 1]
        if not few:
            return [name for names, limit in zip(kept, limits, strict=True) for name in names[:limit]]
        for place in few:
            bounds[place] *= 4


def _lot(share: float) -> str:
    """The lot below which that share of all lots is."""
    return _OVER if share >= 1 else f"{int(share * 2**64):016x}"


def _offer(con: duckdb.DuckDBPyConnection, sampler: Sampler) -> dict[str, Where]:
    """Offer the wanted documents and their copies; where each is."""
    where: dict[str, Where] = {}
    con.execute(_FOUND)
    while rows := con.fetchmany(10_000):
        for row in rows:
            name, source, file, at, title, words, reason = row
            where.setdefault(name, Where(source, file, at))
            sampler.offer(Found(name, source, title, "", words, reason))
    return where


def _rejects(folder: Path, done: dict[str, Any]) -> Rejects:
    rows = pq.read_table(folder / REJECTS, use_threads=False).to_pylist()
    why = itertools.starmap(Why, done["why"])
    return Rejects.kept(KEPT, done["counts"], why, ((reject_of(row), row["whole"]) for row in rows))


def _ids(names: Collection[str]) -> pa.Table:
    return pa.table({"document_id": pa.array(list(names), pa.string())})


def _count(con: duckdb.DuckDBPyConnection, what: str) -> int:
    (number,), *_ = con.execute(f"SELECT count(*) FROM {what}").fetchall()
    return int(number)
