"""A runtime environment without torch: the fake engine stands for vLLM, and a trainer of a few lines for OpenRLHF.

The controller cannot tell: it starts `bin/python` with the very scripts and arguments, and reads the same files. The
trainer takes steps, writes checkpoints in pieces (so that a kill falls into one), resumes from `latest`, and its
weights are a hash of every step's data, so that a step that is lost or done twice gives another model.
"""

import json
import sys
from pathlib import Path

PYTHON = """#!{python}
import hashlib, json, os, sys, time
from pathlib import Path

step_sec = float(os.environ.get("STANDIN_STEP_SEC", "0.1"))
script, args = Path(sys.argv[1]).stem, sys.argv[2:]
if script == "on_ray":  # the real one
    os.execv(os.environ["STANDIN_RAY"], [os.environ["STANDIN_RAY"], *sys.argv[1:]])
option = lambda name: args[args.index(name) + 1]

def write(path, value, pieces=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as out:
        for n in range(pieces):
            out.write(value[len(value) * n // pieces : len(value) * (n + 1) // pieces])
            out.flush()
            time.sleep(step_sec if pieces > 1 else 0)

fails, _, how = os.environ.get("STANDIN_FAILS", "").partition(":")  # e.g. `check:137` or `finish:hang`, once
before = Path(__file__).with_name("failed-" + script)
if fails == script and not before.exists():
    before.touch()
    time.sleep(60 if how == "hang" else 0)
    os.kill(os.getpid(), 9) if how == "137" else os._exit(int(how))
with Path(__file__).with_name("ran").open("a") as ran:
    ran.write(script + " ")

if script == "serve_on_cpu":
    faults = os.environ.get("STANDIN_SERVER", "").split()
    known = json.loads((Path(option("--model")) / "config.json").read_text())
    shares = [str(known.get(name, 0)) for name in ("dull", "unfinished")]
    server = ["tests.chaos.dull", *shares] if known else ["tasks.engine.fake"]
    os.execv(sys.executable, [sys.executable, "-m", *server, "--port", option("--port"),
                              *["--host", option("--host")] * (not known),
                              "--max-model-len", "8192", *faults])
if script == "examine":
    write(Path(args[1]), json.dumps(dict.fromkeys(
        ("load", "chat", "train", "messages", "prompt_ids", "pair"), []) | {{"facts": {{}}}}))
if script == "prepare":
    import pyarrow.parquet as pq
    rows = sorted(pq.read_table(args[1]).to_pylist(), key=lambda row: row["pair_id"])
    write(Path(args[2]) / "train.parquet", "".join(json.dumps(row) + chr(10) for row in rows))
    write(Path(args[2]) / "example.txt", "an example")
    write(Path(args[2]) / "prepared.json", json.dumps({{
        "kept": len(rows), "evaluation": 0, "too_long": [], "longest_tokens": 9, "template_ok": True,
        "end_of_turn": "<|im_end|>"}}))
if script == "launch":
    data = Path(option("--data.dataset")).read_text().splitlines()[: int(option("--data.max_samples"))]
    checkpoints, every = Path(option("--ckpt.path")), int(option("--ckpt.save_steps"))
    events = Path(option("--logger.tensorboard_dir")) / "dpo"
    events.mkdir(parents=True, exist_ok=True)
    seen = {{}}
    for line in "".join(path.read_text() for path in sorted(events.iterdir())).splitlines():
        try:
            seen.setdefault(json.loads(line)["step"], line)
        except ValueError:
            pass
    metrics = Path(option("--pop-metrics"))
    metrics.write_text("".join(seen[step] + chr(10) for step in sorted(seen)))
    step, state = 0, "parent"
    if "--ckpt.load_enable" in args:
        tag = (checkpoints / "latest").read_text()
        step, state = json.loads((checkpoints / tag / "state").read_text())
    while step < len(data):
        time.sleep(step_sec)
        state = hashlib.sha256((state + data[step]).encode()).hexdigest()
        step += 1
        line = json.dumps({{"step": step, "loss": int(state[:4], 16) / 65536, "seconds": time.time()}})
        with (events / f"{{os.getpid()}}.jsonl").open("a") as out:
            out.write(line + chr(10))
        if step not in seen:
            with metrics.open("a") as out:
                out.write(line + chr(10))
        if every > 0 and step % every == 0:
            write(checkpoints / f"global_step{{step}}" / "state", json.dumps([step, state]), pieces=2)
            write(checkpoints / "latest", f"global_step{{step}}")
    write(Path(option("--ckpt.output_dir")) / "model.safetensors", state, pieces=2)
if script == "finish":
    shares = {{name: os.environ.get("STANDIN_" + name.upper()) for name in ("dull", "unfinished")}}
    write(Path(args[2]) / "config.json", json.dumps({{name: float(s) for name, s in shares.items() if s}}))
    weights = (Path(args[1]) / "model.safetensors").read_text()
    write(Path(args[2]) / "model.safetensors", os.environ.get("STANDIN_WEIGHTS", weights))
if script == "check":
    content = (Path(args[1]) / "model.safetensors").read_bytes()
    problems = [] if len(content) == 64 else ["no weights" if not content else "torn weights"]
    problems += ["not finite: 3 of 7 numbers"] if b"nan" in content else []
    sha256 = hashlib.sha256(content).hexdigest()
    write(Path(args[3]), json.dumps(
        {{"weights_sha256": sha256, "parameters": 7, "answer": "Sleep.", "problems": problems}}))
"""

SETTINGS = """
[corpus]
source = "health_care"
documents = 6
documents_per_shard = 2
heldout_documents = 1
max_words = 120
long_texts = "cut"

[task]
type = "health_care"
dialect = "{dialect}"

[models.policy]
path = "{model}"

[sampling]
answers = 4
propose = {{ temperature = 0.4, max_tokens = 2000 }}
rubric = {{ temperature = 0.4, max_tokens = 2000 }}
judge = {{ max_tokens = 2000 }}

[rubric]
max_criteria = 3
shown_answers = 2

[rating]
mode = "{rating}"

[training]
batch_size = 1
micro_batch_size = 1
warmup_ratio = 0.0
eval_share = 0.0
save_steps = 2

[engine]
max_model_len = 8192
max_in_flight = 4
timeout_sec = 20
max_restarts = 100
"""


def make(folder: Path, dialect: str) -> Path:
    """The runtime environment, a model and a configuration that uses both; returns the configuration's path."""
    python = folder / "runtime/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    ready = folder / "runtime/.pop-setup/ready"
    ready.parent.mkdir()
    ready.write_text(json.dumps({"device": "cpu"}))
    (folder / "runtime/lib/python3/site-packages/ray-0.dist-info").mkdir(parents=True)
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("parent")
    config = folder / f"{dialect}.toml"
    rating = {"structured": "pointwise", "stepwise": "likelihood"}[dialect]
    config.write_text(SETTINGS.format(dialect=dialect, rating=rating, model=model))
    return config
