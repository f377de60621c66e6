"""The tables of a run: columns, keys and who writes them (DESIGN section 4). Every file has exactly these columns."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()

MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))
# evidence: the document's passage that the gold fact rests on; support: how much of the fact it holds, 0 to 1;
# status: ok, or `ungrounded` where that is too little and nothing is rated by it
CRITERIA = pa.list_(
    pa.struct([
        ("name", TEXT), ("gold", TEXT), ("description", TEXT), ("weight", FLOAT), ("evidence", TEXT),
        ("support", FLOAT), ("status", TEXT),
    ])
)  # fmt: skip
# told, against: by how much an answer makes the criterion's fact likelier, and less likely, in nats a token
RATINGS = pa.list_(
    pa.struct([("name", TEXT), ("rating", FLOAT), ("thoughts", TEXT), ("told", FLOAT), ("against", FLOAT)])
)
# a criterion of an exam's own rubric; negative points are lost where it is met
ITEMS = pa.list_(pa.struct([("name", TEXT), ("description", TEXT), ("points", FLOAT), ("tags", pa.list_(TEXT))]))
GUARDS = pa.list_(pa.struct([("metric", TEXT), ("value", FLOAT), ("max_fall", FLOAT), ("broken", pa.bool_())]))
REFERENCE = -1  # the rollout number of a reference answer, which is rated beside the others
OUTCOME = [("status", TEXT), ("reason", TEXT)]
# What the check of a trained model has measured (`tasks.training.health` says what each is).
HEALTH = (
    "largest_loss", "last_loss", "largest_grad_norm", "changed_share", "weight_change", "kl_from_parent",
    "heldout_nats", "parent_heldout_nats", "answer_tokens", "parent_answer_tokens", "new_tokens", "parent_new_tokens",
    "repetition", "parent_repetition", "ended_share", "parent_ended_share",
)  # fmt: skip
REUSED = ("reused_from", TEXT)  # `run/round` of a row that another round made; null for this round's own


@dataclass(frozen=True)
class Table:
    """A table: its key column and its columns. `run` is a column; `round` is the folder (`round=000`).

    `later` names the columns, and fields of structs (`criteria.support`), that files of earlier versions do not have;
    there they are null.
    """

    name: str
    key: str
    columns: tuple[tuple[str, pa.DataType], ...]
    later: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """The schema of every file of this table."""
        return pa.schema([("run", TEXT), *self.columns])

    def holds(self, columns: pa.Schema) -> bool:
        """Whether a file with these columns is one of this table, of this version or of an earlier one."""
        there = set(columns.names)
        wanted = [field for field in self.schema if field.name in there or field.name not in self.later]
        return columns.names == [field.name for field in wanted] and all(
            _grown(column.type, field.type, field.name, self.later)
            for column, field in zip(columns, wanted, strict=True)
        )


def _grown(old: pa.DataType, new: pa.DataType, path: str, later: frozenset[str]) -> bool:
    """Whether a type is that of this version, or of an earlier one that lacks fields of a struct."""
    if old.equals(new):
        return True
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _grown(old.value_type, new.value_type, path, later)
    if not (pa.types.is_struct(old) and pa.types.is_struct(new)):
        return False
    had = [field.name for field in old]
    wanted = [field for field in new if field.name in had or f"{path}.{field.name}" not in later]
    return had == [field.name for field in wanted] and all(
        _grown(field.type, other.type, f"{path}.{other.name}", later) for field, other in zip(old, wanted, strict=True)
    )


def _table(name: str, key: str, *columns: tuple[str, pa.DataType], later: Iterable[str] = ()) -> Table:
    own = () if any(c[0] == key for c in columns) else ((key, TEXT),)
    return Table(name, key, own + columns, frozenset(later))


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "documents",
            "document_id",
            ("source", TEXT),
            ("title", TEXT),
            ("text", TEXT),
            ("words", INT),
            ("split", TEXT),
            *OUTCOME,
        ),
        _table(
            "problems",
            "problem_id",
            ("document_id", TEXT),
            ("task", TEXT),
            ("problem", TEXT),
            ("reference_answer", TEXT),
            *OUTCOME,
            ("generation_id", TEXT),
            REUSED,
            ("support", FLOAT),
            later=("support",),
        ),
        _table(
            "answers",
            "answer_id",
            ("problem_id", TEXT),
            ("document_id", TEXT),
            ("rollout", INT),
            ("text", TEXT),
            ("final", TEXT),
            ("words", INT),
            ("tokens", INT),
            *OUTCOME,
            ("generation_id", TEXT),
            REUSED,
            ("own_logprob", FLOAT),  # mean of its tokens, by the model that wrote it, in nats
            ("hint", TEXT),  # the sentence of the document that it saw; null: it was blind
            later=("own_logprob", "hint"),
        ),
        _table(
            "rubrics",
            "rubric_id",
            ("problem_id", TEXT),
            ("document_id", TEXT),
            ("criteria", CRITERIA),
            ("shown_answer_ids", pa.list_(TEXT)),
            *OUTCOME,
            ("generation_id", TEXT),
            REUSED,
            later=("criteria.evidence", "criteria.support", "criteria.status"),
        ),
        _table(
            "ratings",
            "rating_id",
            ("answer_id", TEXT),
            ("rubric_id", TEXT),
            ("problem_id", TEXT),
            ("mode", TEXT),
            ("ratings", RATINGS),
            ("score", FLOAT),
            ("sample_scores", pa.list_(FLOAT)),
            ("spread", FLOAT),
            *OUTCOME,
            ("generation_id", TEXT),
            REUSED,
            ("told", FLOAT),
            ("against", FLOAT),
            ("own_likelihood", FLOAT),
            ("own_tokens", INT),
            later=("told", "against", "own_likelihood", "own_tokens", "ratings.told", "ratings.against"),
        ),
        _table(
            "comparisons",
            "comparison_id",
            ("problem_id", TEXT),
            ("rubric_id", TEXT),
            ("first_answer_id", TEXT),
            ("second_answer_id", TEXT),
            ("first_mark", FLOAT),
            ("second_mark", FLOAT),
            ("thoughts", TEXT),
            *OUTCOME,
            ("generation_id", TEXT),
            REUSED,
        ),
        _table(
            "pairs",
            "pair_id",
            ("problem_id", TEXT),
            ("chosen_answer_id", TEXT),
            ("rejected_answer_id", TEXT),
            ("chosen_score", FLOAT),
            ("rejected_score", FLOAT),
            ("margin", FLOAT),
            *OUTCOME,
            ("place", FLOAT),
            ("margin_spreads", FLOAT),
            later=("place", "margin_spreads"),
        ),
        _table(
            "preferences",
            "pair_id",
            ("prompt", MESSAGES),
            ("chosen", MESSAGES),
            ("rejected", MESSAGES),
        ),
        _table(
            "unfit_pairs",  # pairs that are ok, and that the trainer cannot take as this model's tokens
            "pair_id",
            ("model_id", TEXT),
            ("tokens", INT),
            *OUTCOME,
        ),
        _table(
            "training_steps",
            "model_id",
            ("step", INT),
            ("loss", FLOAT),
            ("accuracy", FLOAT),
            ("chosen_reward", FLOAT),
            ("rejected_reward", FLOAT),
            ("margin", FLOAT),
            ("learning_rate", FLOAT),
            ("grad_norm", FLOAT),
            ("seconds", FLOAT),
        ),
        _table(
            "models",
            "model_id",
            ("parent_model_id", TEXT),
            ("path", TEXT),
            ("weights_sha256", TEXT),
            ("parameters", INT),
            ("pairs", INT),
            ("pairs_too_long", INT),
            ("example", TEXT),
            ("sample_answer", TEXT),
            *OUTCOME,
            ("warnings", TEXT),
            *((name, FLOAT) for name in HEALTH),
            later=("warnings", *HEALTH),
        ),
        _table(
            "evaluations",
            "evaluation_id",
            ("model_id", TEXT),
            ("parent_model_id", TEXT),
            ("suite", TEXT),
            ("metric", TEXT),
            ("value", FLOAT),
            ("low", FLOAT),
            ("high", FLOAT),
            ("n", INT),
            *OUTCOME,
            ("details", TEXT),
        ),
        _table(
            "exam_prompts",  # in an evaluation's own run, beside the answers, ratings and comparisons of its exams
            "problem_id",
            ("exam", TEXT),
            ("kind", TEXT),
            ("place", TEXT),
            ("category", TEXT),
            ("prompt", MESSAGES),
            ("problem", TEXT),
            ("criteria", ITEMS),
            ("golds", pa.list_(TEXT)),
        ),
        _table(
            "decisions",
            "decision_id",
            ("model_id", TEXT),
            ("parent_model_id", TEXT),
            ("decision", TEXT),
            ("reason", TEXT),
            ("by", TEXT),
            ("metric", TEXT),
            ("value", FLOAT),
            ("low", FLOAT),
            ("high", FLOAT),
            ("n", INT),
            ("threshold", FLOAT),
            ("guards", GUARDS),
            ("standing_model_id", TEXT),
            ("standing_path", TEXT),
            ("decided", TEXT),
        ),
        _table(
            "probes",
            "probe_id",
            ("problem_id", TEXT),
            ("rubric_id", TEXT),
            ("kind", TEXT),
            ("answer_id", TEXT),
            ("text", TEXT),
            ("mode", TEXT),
            ("score", FLOAT),
            ("reference_score", FLOAT),
            ("expected", TEXT),
            ("passed", pa.bool_()),
            *OUTCOME,
            ("generation_id", TEXT),
            ("beaten", FLOAT),
            later=("beaten",),
        ),
        _table(
            "generations",
            "generation_id",
            ("subject_id", TEXT),
            ("role", TEXT),
            ("model", TEXT),
            ("endpoint", TEXT),
            ("messages", MESSAGES),
            ("params", TEXT),
            ("completion", TEXT),
            ("finish_reason", TEXT),
            ("prompt_tokens", INT),
            ("completion_tokens", INT),
            ("seconds", FLOAT),
            ("attempt", INT),
            REUSED,
            ("mean_logprob", FLOAT),
            ("stop_reason", TEXT),
            later=("mean_logprob", "stop_reason"),
        ),
    )
}
