"""Run a command so that it never outlives who started it.

The guardian leads a session of its own, starts the command in it and waits for either to end: the command (whose exit
code it passes on) or its standard input, which closes when the starter dies, however it dies (kill -9 included). It
then ends everything in the session: SIGTERM, some seconds, SIGKILL. Who is not its parent is told the exit code through
the file descriptor POP_EXIT_FD. Standard library only: it runs in any environment.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SEC = 6.0


def _others(group: int) -> list[int]:
    """Every other live process of the group (zombies are not live), from /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:
                state, _, pgrp = stat.read().rpartition(")")[2].split()[:3]
                if int(pgrp) == group and state != "Z":
                    found.append(int(name))
    return found


def _end_group() -> None:
    """SIGTERM to the group, then SIGKILL to what is left after the grace time."""
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)  # this process ignores it by now
    deadline = time.monotonic() + GRACE_SEC
    while _others(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in _others(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run `command` until it ends, standard input closes, or SIGTERM comes; return the command's exit code."""
    over = threading.Event()
    told = int(os.environ.pop("POP_EXIT_FD", -1))
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's to handle
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def watch_starter() -> None:
        while os.read(0, 1024):
            pass
        over.set()

    def watch_child() -> None:
        child.wait()
        over.set()

    for watch in (watch_starter, watch_child):
        threading.Thread(target=watch, daemon=True).start()
    over.wait()
    code = child.poll()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_group()
    code = child.wait() if code is None else code
    if told >= 0:
        with contextlib.suppress(OSError):  # nobody is there to read it
            os.write(told, b"%d" % (code if code >= 0 else 128 - code))
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)
