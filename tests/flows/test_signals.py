"""Signals: a round leaves in seconds, with its exit code, and nothing is lost or left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.storage.jsonfile import read_json
from tests.chaos.harness import Setting, standin_setting
from tests.conftest import FAKE, asked

pytestmark = pytest.mark.usefixtures("own_records")


@pytest.fixture
def slow_round(tmp_path: Path, prefect_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A round with a server of its own that takes its time."""
    setting = standin_setting(tmp_path, "stepwise", prefect_env["PREFECT_API_URL"])
    setting.env |= {"STANDIN_SERVER": "--latency-sec 0.2", "POP_CACHE": str(tmp_path / "cache")}
    return setting


@pytest.mark.alone
@pytest.mark.parametrize(
    ("signals", "code", "within_sec"), [((signal.SIGTERM,), 143, 10), ((signal.SIGINT,), 130, 10),
                                        ((signal.SIGINT, signal.SIGINT), 130, 8)],
)  # fmt: skip
def test_a_signal_leaves_in_seconds_with_its_exit_code_and_nothing_is_lost_or_left(
    tmp_path: Path, slow_round: Setting, signals: tuple[signal.Signals, ...], code: int, within_sec: float
) -> None:
    root = tmp_path / "runs"
    journals = root / "chaos/journal/round=000"
    command, env = [*slow_round.command, "--root", str(root)], os.environ | slow_round.env
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(journals.glob("answer-*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    own = psutil.Process(process.pid).children(recursive=True)
    assert own
    started = time.monotonic()
    for one in signals:
        process.send_signal(one)
        time.sleep(0.3)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err[-2000:]
    assert time.monotonic() - started < within_sec
    found = asked(f"{env['PREFECT_API_URL']}/flow_runs/filter", {"flow_runs": {"name": {"any_": ["chaos-r000"]}},
                                                                 "sort": "START_TIME_DESC", "limit": 1})  # fmt: skip
    assert found[0]["state_type"] == "CANCELLED", found[0]["state"]
    assert "Traceback" not in err and "the same command goes on from here" in err
    assert not psutil.wait_procs(own, timeout=3)[1]
    assert any(path.stat().st_size for path in journals.glob("*.jsonl"))
    assert not list(root.rglob("*.tmp"))


def test_a_signal_as_the_round_has_just_finished_leaves_no_run_that_runs_for_ever(
    tmp_path: Path, prefect_env: dict[str, str]
) -> None:
    settings = (word for one in FAKE for word in ("--set", one))
    command = [sys.executable, "-m", "flows.cli", "round", "demo", "--run", "late", "--root", str(tmp_path), *settings]
    process = subprocess.Popen(command, env=os.environ | prefect_env, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not read_json(tmp_path / "late/manifests/round=000/round.json").get("finished"):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)  # the work is done, and Prefect's engine is about to say so
    _, err = process.communicate(timeout=60)
    late = {"flow_runs": {"name": {"any_": ["late-r000"]}}}
    [run] = asked(f"{prefect_env['PREFECT_API_URL']}/flow_runs/filter", late)
    assert run["state_type"] in ("COMPLETED", "CANCELLED"), (run["state"], process.returncode, err)
