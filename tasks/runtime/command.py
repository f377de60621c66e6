"""One command of the installation: run so that it never outlives its starter, watched, and explained when it fails."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.processes import guardian

_HEARTBEAT_SEC = 15.0
# They would send pip elsewhere than into the environment, or let the user's own packages shadow it.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_CONSTRAINT", "VIRTUAL_ENV")

_MENDS = (
    (r"No space left on device|Errno 28", "the disk is full: free some space and run `pop setup` again"),
    (
        r"NewConnectionError|ConnectTimeout|Max retries exceeded|name resolution|Name or service not known|"
        r"ReadTimeout|ProxyError|SSLError|Connection (refused|reset)",
        "a package registry cannot be reached: check the network and pip's settings (`pip config list`)",
    ),
    (r"DO NOT MATCH THE HASHES|BadZipFile|IncompleteRead", "a download was damaged: `pip cache purge`, then again"),
    (r"requires a different Python|Requires-Python", "use Python 3.11, which the pinned versions were tried with"),
    (r"No matching distribution found", "no registry that pip knows has it for this Python and machine"),
    (r"CUDA_HOME|nvcc", "the CUDA toolkit is missing: install it and set CUDA_HOME"),
    (r"Permission denied|Errno 13", "this user may not write there: choose another folder with POP_RUNTIME"),
)


@dataclass(frozen=True)
class Job:
    """Commands that write to one log, each within a time limit.

    Attributes:
        label: begins every line that is said.
        lock: a file descriptor that the command's guardian holds too, so that who waits for it waits for both.
    """

    label: str
    log: Path
    env: dict[str, str]
    limit_sec: float
    lock: int
    say: Callable[[str], None]

    def run(self, command: list[str]) -> bool:
        """Whether the command ended well. If this process dies, kill -9 included, the command is ended too."""
        env = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        env |= {"PYTHONNOUSERSITE": "1", "PIP_REQUIRE_VIRTUALENV": "0", **self.env}
        with self.log.open("ab") as out:
            out.write(f"$ {' '.join(command)}\n".encode())
            out.flush()
            process = subprocess.Popen(
                [sys.executable, "-S", str(Path(guardian.__file__)), *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                pass_fds=(self.lock,),
            )
            try:
                return self._watch(process) == 0
            finally:
                if process.stdin:
                    process.stdin.close()
                process.wait()

    def _watch(self, process: "subprocess.Popen[bytes]") -> int:
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < self.limit_sec:
            try:
                return process.wait(min(_HEARTBEAT_SEC, self.limit_sec - elapsed))
            except subprocess.TimeoutExpired:
                self.say(f"{self.label} … {time.monotonic() - began:.0f} s, {_latest(self.log)}")
        with self.log.open("a") as out:
            out.write(f"ERROR: not done within {self.limit_sec:.0f} s\n")
        return 124


def _lines(log: Path) -> list[str]:
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 262144))
        text = handle.read().decode(errors="replace")
    lines = (line.strip(" │╰─>×\t") for line in text.splitlines())
    return [line for line in lines if line and "' is ignored: it is neither" not in line]


def _latest(log: Path) -> str:
    """What pip is at, in a few words, without folders and reasons."""
    line = next((line for line in reversed(_lines(log)) if not line.startswith(("WARNING", "$"))), "starting")
    return re.sub(r"\S*/| \(.*", "", line)[:60]


def explain(label: str, hint: str, log: Path) -> str:
    """One line for what failed: what pip complains of, the mend, the log."""
    lines = _lines(log)
    asked = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    said = lines[asked[-1] + 1 :] if asked else lines
    raised = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b.*: ", line)]
    errors = [line for line in said if line.startswith(("ERROR:", "error:", "fatal:"))]
    built = any("subprocess-exited-with-error" in line for line in said)
    complaint = (raised if built and raised else errors or raised or said or ["it ended without a word"])[-1]
    mends = [mend for pattern, mend in _MENDS if any(re.search(pattern, line) for line in lines)]
    advice = "; ".join(text for text in (*mends[:1], hint) if text) or "the log says more"
    return f"{label} failed: {complaint.removeprefix('ERROR: ')} ({advice}). Log: {log}"
