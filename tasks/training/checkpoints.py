"""DeepSpeed's checkpoints of one training: which is whole, which is good, and for how many processes one was made."""

import shutil
from pathlib import Path

from tasks.training.job import Workdir, read_rows

UNIVERSAL = "_universal"  # at the end of the name of a checkpoint that was converted: it is no step of its own


def set_aside(checkpoints: Path) -> None:
    """Let the next try begin anew, and keep them for whoever wants to know."""
    kept = checkpoints.with_name("checkpoints.bad")
    shutil.rmtree(kept, ignore_errors=True)
    checkpoints.replace(kept)


def checkpoint_step(checkpoints: Path) -> int:
    """The optimizer step of the last whole checkpoint; 0 where there is none."""
    latest = checkpoints / "latest"
    return _step(latest.read_text(encoding="utf-8")) if latest.exists() else 0


def _step(tag: str) -> int:
    return int("".join(filter(str.isdigit, tag)) or 0)


def keep_last_checkpoint(checkpoints: Path) -> bool:
    """Whether there is a checkpoint to resume from; every other one, perhaps torn by a kill, is removed.

    DeepSpeed names the last whole one in the file `latest`. OpenRLHF deletes by age and would count a torn one.
    """
    latest = checkpoints / "latest"
    tag = latest.read_text(encoding="utf-8").strip() if latest.exists() else ""
    if not tag or not (checkpoints / tag).is_dir():
        shutil.rmtree(checkpoints, ignore_errors=True)
        return False
    for other in checkpoints.iterdir():
        if other.is_dir() and other.name != tag:
            shutil.rmtree(other)
    return True


def keep_good_checkpoint(paths: Workdir) -> None:
    """The checkpoint that a retry of a model that came out broken may start from.

    One made before the first step whose loss was no number. Where every loss was one, the last checkpoint is believed
    once; if the model is broken again, the next training begins anew.
    """
    broken_at = min((row["step"] for row in read_rows(paths.metrics) if row["loss"] is None), default=None)
    folders = (path for path in paths.checkpoints.glob("*") if path.is_dir())
    tags = sorted((path.name for path in folders if not path.name.endswith(UNIVERSAL)), key=_step)
    good = [tag for tag in tags if broken_at is None or _step(tag) < broken_at]
    doubted = paths.broken.exists()
    paths.broken.touch()
    if good and not (broken_at is None and doubted):
        (paths.checkpoints / "latest").write_text(good[-1])
    else:
        shutil.rmtree(paths.checkpoints, ignore_errors=True)


def made_by(checkpoints: Path) -> int:
    """The processes that wrote the last whole checkpoint: each writes its part of the optimizer's state.

    0 where it is in one piece (ZeRO stage 0), which any number of processes reads as it is.
    """
    folder = checkpoints / (checkpoints / "latest").read_text(encoding="utf-8").strip()
    return len(list(folder.glob("*zero_pp_rank_*_optim_states.pt")))


def universal(checkpoints: Path) -> Path:
    """Where the last whole checkpoint lies in the form that any number of processes can read."""
    return checkpoints / f"{(checkpoints / 'latest').read_text(encoding='utf-8').strip()}{UNIVERSAL}"
