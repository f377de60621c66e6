"""What the model is asked to write, as pydantic models: the same model makes the JSON schema that a server enforces,
the wording of the tagged form for servers that enforce none, and the check on our side."""

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

Text = Annotated[str, Field(min_length=1)]


class Output(BaseModel):
    """A structured output; surrounding white space does not count."""

    model_config = ConfigDict(str_strip_whitespace=True, extra="forbid")


class ProposedProblem(Output):
    """A problem and its reference answer (paper section 3.1)."""

    problem: Annotated[str, Field(min_length=1, max_length=4000)]
    reference_answer: Annotated[str, Field(min_length=1, max_length=16000)]


class Criterion(Output):
    """One thing an answer is marked for. `gold` is what a good answer has, where there is such a fact."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    gold: Annotated[str, Field(max_length=600)] | None = None
    description: Annotated[str, Field(min_length=1, max_length=900)]
    weight: Annotated[float, Field(gt=0, le=100, strict=True)]

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not (line := " ".join(name.split())):
            raise ValueError("the name is empty")
        return line

    @field_validator("gold")
    @classmethod
    def _no_empty_gold(cls, gold: str | None) -> str | None:
        return gold or None

    @field_validator("weight")
    @classmethod
    def _finite(cls, weight: float) -> float:
        if not math.isfinite(weight):
            raise ValueError("weight is not finite")
        return weight


class Rubric(Output):
    """Weighted criteria with different names."""

    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _unique(self) -> "Rubric":
        names = [criterion.name.casefold() for criterion in self.criteria]
        if len(set(names)) != len(names):
            raise ValueError("two criteria have the same name")
        return self


class GroundedCriterion(Criterion):
    """A criterion with the passage of the document that its gold fact rests on, copied from there."""

    evidence: Annotated[str, Field(max_length=1200)] | None = None


class GroundedRubric(Output):
    """Weighted criteria with different names, each with its evidence."""

    criteria: Annotated[list[GroundedCriterion], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _unique(self) -> "GroundedRubric":
        Rubric.model_validate({"criteria": [c.model_dump(exclude={"evidence"}) for c in self.criteria]})
        return self


class Mark(Output):
    """A criterion's mark: thoughts first, then 0, 1 or 2."""

    name: Text
    thoughts: Annotated[str, Field(max_length=900)]
    rating: Annotated[StrictInt, Field(ge=0, le=2)]


class MarkSheet(Output):
    """The marks of one answer, every criterion once."""

    marks: Annotated[list[Mark], Field(min_length=1, max_length=10)]


class Duel(Output):
    """Which of two answers is better: thoughts first."""

    thoughts: Annotated[str, Field(max_length=900)]
    better: Literal["first", "second", "tie"]


class Met(Output):
    """Whether an answer meets one criterion of an exam: thoughts first."""

    thoughts: Annotated[str, Field(max_length=900)]
    met: Literal["yes", "no"]


class TwoMarks(Output):
    """Marks from 0 to 10 for two answers seen side by side: thoughts first."""

    thoughts: Annotated[str, Field(max_length=900)]
    first_mark: Annotated[StrictInt, Field(ge=0, le=10)]
    second_mark: Annotated[StrictInt, Field(ge=0, le=10)]


def bounded_schema(model: type[Output], items: int | None = None, names: list[str] | None = None) -> dict[str, Any]:
    """The JSON schema of an output, its list bounded to `items` (exactly, where `names` fix the marks' names).

    It is shared by all who ask for the same: pydantic makes one in half a millisecond, and every call asks.
    """
    return _bounded_schema(model, items, tuple(names or ()))


@lru_cache(256)
def _bounded_schema(model: type[Output], items: int | None, names: tuple[str, ...]) -> dict[str, Any]:
    schema = model.model_json_schema()
    for definition in schema.get("$defs", {}).values():
        definition["required"] = list(definition["properties"])  # a model leaves out what it may leave out
        if names and "rating" in definition["properties"]:
            definition["properties"]["name"] = {"enum": list(names)}
    for prop in schema["properties"].values():
        if items and prop.get("type") == "array":
            prop["maxItems"] = items
            if names:
                prop["minItems"] = items
    return schema
