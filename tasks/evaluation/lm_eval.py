"""Tasks of lm-eval by name, in a subprocess of the runtime environment, against the server that serves the model.

For users who have the tasks' data: lm-eval fetches it from the hub, unless `evaluation.lm_eval_include` names a folder
with task files whose data lie on the disk.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from schemas.errors import DependencyError
from tasks.engine.client import Client
from tasks.evaluation.bench import Bench, Measure, Subject
from tasks.evaluation.heldout import NotRun
from tasks.processes.guarded import Guarded, in_thread, tail

Z = 1.959963984540054


async def lm_eval(bench: Bench) -> list[Measure]:
    """Every metric of every task, of each model; a paired difference is not known from lm-eval's totals."""
    measures: list[Measure] = []
    for subject in bench.subjects:
        measures += figures(subject.model_id, await _results(bench, subject))
    return measures


async def _results(bench: Bench, subject: Subject) -> dict[str, Any]:
    settings, engine = bench.config.evaluation, await bench.engine(subject.name)
    folder = bench.store.workdir / "lm_eval" / subject.file
    shutil.rmtree(folder, ignore_errors=True)
    assert isinstance(engine, Client)
    arguments = f"model={engine.served_name},base_url={engine.urls[0]}/completions,num_concurrent=16"
    if subject.path:
        arguments += f",tokenizer={subject.path},tokenizer_backend=huggingface"
    command = [
        str(bench.python()), "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", arguments,
        "--tasks", ",".join(settings.lm_eval_tasks), "--output_path", str(folder), "--seed", str(settings.seed),
    ]  # fmt: skip
    command += ["--limit", str(settings.lm_eval_limit)] if settings.lm_eval_limit else []
    command += ["--include_path", settings.lm_eval_include] if settings.lm_eval_include else []
    log = bench.store.workdir / "logs" / "lm_eval.log"
    log.unlink(missing_ok=True)
    guarded = Guarded("lm-eval", command, {"PYTHONPATH": "", "DO_NOT_TRACK": "1"}, log)
    code = await in_thread(lambda: guarded.wait(settings.timeout_sec))
    if code and "No module named" in tail(log, 1):
        raise NotRun(f"lm-eval is not in the runtime environment: run `pop setup --evaluation` ({tail(log, 1)})")
    found = sorted(folder.rglob("results_*.json"))
    if code or not found:
        raise DependencyError(f"lm-eval failed (exit {code}); its log ({log}) ends:\n{tail(log)}")
    return dict(json.loads(Path(found[-1]).read_text(encoding="utf-8")))


def figures(model_id: str, results: dict[str, Any]) -> list[Measure]:
    """Value and standard error by task and metric (`acc,none` and `acc_stderr,none` in lm-eval's file)."""
    measures = []
    for task, values in sorted(results["results"].items()):
        n = (results.get("n-samples") or {}).get(task, {}).get("effective")
        for key, value in sorted(values.items()):
            metric, _, setting = key.partition(",")
            if metric.endswith("_stderr") or not setting or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{setting}")
            known = isinstance(error, int | float) and math.isfinite(error)
            low, high = (value - Z * error, value + Z * error) if known else (None, None)
            measures.append(Measure(model_id, f"{task}.{metric}", float(value), low, high, n))
    return measures
