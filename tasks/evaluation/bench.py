"""What every suite gets and gives, and how its calls and rows are kept so that a kill costs what was in flight.

An evaluation's tables lie in the run's folder `evaluation/`, which is a run of its own (`pop sql --root data/runs/demo
--run evaluation`): its problems are nobody's training data, and no view of the rounds counts them.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from schemas.config import Config
from schemas.exams import ExamConfig
from schemas.gating import EXAM
from schemas.ids import content_id
from schemas.version import package_version
from tasks.engine.journal import Journal
from tasks.engine.protocol import Engine, Generation
from tasks.engine.recorder import Recorder
from tasks.staging.plan import Plan
from tasks.storage.store import Damaged, Row, Store

NESTED = "evaluation"  # the folder under the run's own
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Measure:
    """One figure: a row of `evaluations`. Without a value, `status` and `reason` say why."""

    model_id: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    status: str = "ok"
    reason: str | None = None
    details: str | None = None


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Attributes:
        name: `candidate` or `parent`, its name among the configuration's models.
        model_id: as in `models`; of a model that no round has made, its weights' identity.
        plan: settings in which it plays the role `answer`.
        path: the folder of its weights; None where only a server has them.
    """

    name: str
    model_id: str
    plan: Plan
    path: str | None

    @property
    def file(self) -> str:
        """A name for its files that does not depend on which round it is looked at in."""
        return content_id("subject", self.plan.models[self.name])[:12]


@dataclass
class Bench:
    """All that a suite needs.

    Attributes:
        examiner: settings in which the roles propose, rubric and judge are played by examiner and judge.
        parent: None where a model is measured for itself.
        engine: the model of that name; it is served when it is first asked for.
        python: the runtime environment's interpreter.
        exam: the one that is sat, in the suite of that name.
    """

    config: Config
    store: Store
    examiner: Plan
    candidate: Subject
    parent: Subject | None
    documents: list[Row]
    engine: Callable[[str], Awaitable[Engine]]
    call: Callable[[], None]
    python: Callable[[], Path]
    exam: ExamConfig | None = None

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The candidate, and its parent where there is one."""
        return (self.candidate, self.parent) if self.parent else (self.candidate,)

    def sitting(self, suite: str) -> "Bench":
        """The same for one suite: `exam.NAME` is that of the exam NAME."""
        kind, _, name = suite.partition(".")
        named = {one.name: one for one in self.config.evaluation.exams}
        return replace(self, exam=named[name]) if kind == EXAM else self

    async def kept(
        self, stage: str, name: str, settings: object, engine: str, work: Callable[[Engine], Awaitable[Tables]],
        again: bool = False,
    ) -> Tables:  # fmt: skip
        """The tables that `work` makes; read where they were made before with these settings.

        Args:
            engine: the name of the model that is asked.
            work: makes rows by table, the one whose file is written last (and so tells that all is there) first.
            again: whether calls that were made with other settings are used where the very same is asked for.
        """
        fingerprint, manifest = content_id("evaluated", stage, settings), f"{stage}.{name}"
        path = f"{self.store.base}/manifests/parts/{manifest}.json"
        known = self.store.manifest(path)
        if known and known["fingerprint"] == fingerprint:
            try:
                return {table: self.store.read(table, 0, manifest) for table in known["tables"]}
            except (Damaged, FileNotFoundError):
                pass  # made again
        journal = Journal(self.store.workdir / "journal" / f"{manifest}.jsonl")
        recorder = Recorder(await self.engine(engine), journal, self.call, self._before(manifest) if again else None)
        try:
            made = await work(recorder)
        except BaseException:
            await recorder.stop()
            raise
        finally:
            journal.close()
        footer = {"stage": f"evaluate.{stage}", "fingerprint": fingerprint, "version": package_version()}
        calls = [asdict(recorder.used[key]) for key in sorted(recorder.used)]
        for table, rows in {"generations": calls, **made}.items():
            self.store.write(table, 0, manifest, rows, footer | {"model": recorder.model})
        self.store.publish(path, content_bytes({"fingerprint": fingerprint, "tables": list(made)}))
        journal.remove()
        return made

    def _before(self, manifest: str) -> dict[str, Generation]:
        """The answered calls that were made for it before, by id."""
        try:
            rows = self.store.read("generations", 0, manifest)
        except (Damaged, FileNotFoundError):
            return {}
        names = [one.name for one in fields(Generation)]
        calls = (Generation(**{name: row[name] for name in names}) for row in rows)
        return {call.generation_id: call for call in calls if call.answered}


def content_bytes(content: Row) -> bytes:
    """JSON for a manifest."""
    return json.dumps(content, indent=1).encode()
