"""IFEval: instructions that a program can check, by lm-eval's checkers; no judge is involved.

Accuracies at prompt level (all instructions of a prompt) and at instruction level, strict and loose, as upstream. A
prompt with an instruction that could not be checked counts at neither prompt level: not run is not failed.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from schemas.errors import DependencyError, UserError
from schemas.names import expanded
from schemas.roles import Sampling
from tasks.engine.protocol import Engine, Request
from tasks.evaluation.bench import Bench, Measure, Subject, Tables
from tasks.evaluation.heldout import NotRun
from tasks.evaluation.statistics import difference_interval, wilson
from tasks.processes.guarded import Guarded, in_thread
from tasks.storage.store import Row
from tasks.texts.leaks import without_end
from tasks.texts.thoughts import final_answer

CHECKER = Path(__file__).resolve().with_name("ifeval_check.py")
AS_SCRIPT = ("-P",)  # without this folder in the path: it has modules named like the library's
NOT_INSTALLED = 3
KEYS = {"key", "prompt", "instruction_id_list", "kwargs"}
LEVELS = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")


def read_prompts(file: str, limit: int | None) -> list[Row]:
    """The prompts; with a limit, that many at even steps over the file.

    Raises:
        UserError: there is no such file, or it is not IFEval's.
    """
    path = expanded(file)
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"evaluation.ifeval_file: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"evaluation.ifeval_file: {path} is no JSON lines: {error}") from None
    if not rows or not all(isinstance(row, dict) and row.keys() >= KEYS for row in rows):
        raise UserError(f"evaluation.ifeval_file: {path} is not IFEval's: every line needs {', '.join(sorted(KEYS))}")
    count = min(limit or len(rows), len(rows))
    return [rows[n * len(rows) // count] for n in range(count)]


async def answers_to(bench: Bench, prompts: list[Row], subject: Subject) -> dict[str, str]:
    """The model's answer by the prompt's key, greedy; without those that the server refused (too long)."""
    settings = bench.config.evaluation
    sampling = Sampling(temperature=0.0, max_tokens=settings.ifeval_max_tokens)
    found: dict[str, str] = {}

    async def ask(row: Row, engine: Engine) -> None:
        message = ({"role": "user", "content": row["prompt"]},)
        call = await engine.chat(Request("evaluate", f"ifeval-{row['key']}", "answer", message, sampling))
        if call.failure is None or call.failure[0] in ("truncated", "empty", "refused"):
            # what there is, as upstream does, but no thoughts
            found[str(row["key"])] = without_end(final_answer(call.text))

    async def work(engine: Engine) -> Tables:
        await asyncio.gather(*(ask(row, engine) for row in prompts))
        rows = [{"answer_id": f"ifeval-{key}", "text": text, "status": "ok"} for key, text in sorted(found.items())]
        return {"answers": rows}

    identity = [subject.plan.keys["answer"], sampling.identity(), [(r["key"], r["prompt"]) for r in prompts]]
    made = await bench.kept("ifeval", subject.file, identity, subject.name, work)
    return {row["answer_id"].removeprefix("ifeval-"): row["text"] or "" for row in made["answers"]}


async def check(bench: Bench, prompts: list[Row], answers: dict[str, str], name: str) -> list[Row]:
    """The checkers' verdicts, one an answer.

    Raises:
        NotRun: lm-eval is not in the runtime environment.
        DependencyError: the checker died.
    """
    folder = bench.store.workdir / "ifeval" / name
    folder.mkdir(parents=True, exist_ok=True)
    asked, told, log = folder / "answers.json", folder / "verdicts.json", folder / "check.log"
    asked.write_text(
        json.dumps([row | {"response": answers[str(row["key"])]} for row in prompts if str(row["key"]) in answers])
    )
    for file in (told, log):
        file.unlink(missing_ok=True)
    command = [str(bench.python()), *AS_SCRIPT, str(CHECKER), str(asked), str(told)]
    guarded = Guarded("IFEval's checkers", command, {"PYTHONPATH": ""}, log)
    code = await in_thread(lambda: guarded.wait(bench.config.evaluation.timeout_sec))
    if code == NOT_INSTALLED:
        raise NotRun(f"lm-eval is not in the runtime environment: run `pop setup --evaluation` ({guarded.tail(1)})")
    if code or not told.exists():
        raise DependencyError(f"IFEval's checkers failed (exit {code}); their log ({log}) ends:\n{guarded.tail()}")
    return list(json.loads(told.read_text(encoding="utf-8")))


async def ifeval(bench: Bench) -> list[Measure]:
    """The four accuracies of each model, the paired differences at prompt level, and what could not be checked."""
    settings = bench.config.evaluation
    prompts = read_prompts(settings.ifeval_file or "", settings.ifeval_limit)
    measures: list[Measure] = []
    by_model = []
    for subject in bench.subjects:
        verdicts = await check(bench, prompts, await answers_to(bench, prompts, subject), subject.file)
        by_model.append(verdicts)
        measures += accuracies(subject.model_id, verdicts, len(prompts))
    if bench.parent:
        for how in ("strict", "loose"):
            ours, theirs = (prompt_level(verdicts, how) for verdicts in by_model)
            gaps = [float(ours[key]) - float(theirs[key]) for key in sorted(ours.keys() & theirs.keys())]
            found = difference_interval(gaps)
            metric = f"prompt_{how}_difference"
            status = "ok" if gaps else "not_run"
            measures.append(Measure(bench.candidate.model_id, metric, *found, n=len(gaps), status=status))
    return measures


def prompt_level(verdicts: list[Row], how: str) -> dict[str, bool]:
    """Whether all instructions of a prompt were followed, by its key; only where all could be checked."""
    whole = {str(v["key"]): v["instructions"] for v in verdicts if all(i["problem"] is None for i in v["instructions"])}
    return {key: all(one[how] for one in instructions) for key, instructions in whole.items()}


def accuracies(model_id: str, verdicts: list[Row], asked: int) -> list[Measure]:
    """Shares with Wilson's intervals, and one row that says what was not run."""
    checked = [one for verdict in verdicts for one in verdict["instructions"] if one["problem"] is None]
    skipped: Counter[tuple[Any, Any]] = Counter(
        (one["instruction"], one["problem"]) for v in verdicts for one in v["instructions"] if one["problem"]
    )
    measures = []
    for level in LEVELS:
        unit, _, how = level.partition("_")
        followed = list(prompt_level(verdicts, how).values()) if unit == "prompt" else [one[how] for one in checked]
        share, low, high = wilson(sum(followed), len(followed))
        note = f"{len(followed)} of {asked} prompts could be checked" if unit == "prompt" else None
        status = "ok" if followed else "not_run"
        measures.append(Measure(model_id, level, share, low, high, len(followed), status, note))
    if skipped:
        why = "; ".join(f"{count} × {name} {problem}" for (name, problem), count in sorted(skipped.items()))
        measures.append(Measure(model_id, "instructions", None, n=skipped.total(), status="not_run", reason=why))
    return measures
