"""The GPUs of this machine."""

import os
import shutil
import subprocess
from itertools import takewhile

_SMI_SEC = 30.0


def gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where there is no driver.

    The variable is read as CUDA reads it: an empty entry or -1 hides what follows.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = (name.strip() for name in visible.split(","))
        return tuple(takewhile(lambda name: name not in ("", "-1"), names))
    if (smi := shutil.which("nvidia-smi")) is None:
        return ()
    listed = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=_SMI_SEC, check=False).stdout
    return tuple(str(n) for n, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU ")))
