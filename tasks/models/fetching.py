"""A model out of an object store: fetched once a machine, into a cache by the hash of its weights, whole or not at all.

It grows under a hidden name, which a killed fetch leaves and the next one goes on with; every file is compared with the
hash that its sender wrote down, and then the folder takes its name. Who comes second waits for who was first.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from schemas.errors import RETRY, DependencyError, PopError, UserError, unwritable
from schemas.ids import content_id
from tasks.models.contents import MANIFEST, Contents, File, contents_of, read_contents, sized
from tasks.models.pace import Pace
from tasks.models.weights import BLOCK, remember
from tasks.processes.guarded import state_dir
from tasks.storage.remote import reach, remote_error
from tasks.storage.store import publish_local

Say = Callable[[str], None]
PART, AT_ONCE = 16 << 20, 4  # bytes of a range, and how many are asked for together
TRIES = 2  # of a file whose bytes are not what was sent: the way may have changed them
WAIT_SEC = 10.0  # between two words of who waits for another one's fetch
SPARE = 64 << 20  # bytes that a disk must have beyond the model
FOREIGN = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py", "*.tiktoken")  # of what others put there
_KEYED = re.compile(r"model-([0-9a-f]{24}\.[0-9a-f]{8})")


def cache() -> Path:
    """Where fetched models lie; a folder that is removed is fetched again when it is wanted."""
    return state_dir() / "fetched"


def fetch(url: str, say: Say, setting: str = "the model") -> Path:
    """The folder of a model that lies at a URL, on this machine.

    Args:
        url: what `send` has made; or any folder with a model's files in a store.
        setting: what names it, for who must mend it.

    Raises:
        UserError: it is not there, or not whole; the disk is full; the store refuses it.
        DependencyError: the store does not answer, or gives other bytes than were sent.
    """
    keyed = _KEYED.fullmatch(url.rstrip("/").rpartition("/")[2])
    fs, path = reach(url, setting)
    try:
        if keyed and (cache() / keyed[1]).is_dir():  # then nobody needs to be asked
            with _alone(keyed[1], say):
                if found := _whole(cache() / keyed[1], say):
                    return found
        known, name = _told(fs, path, url, setting)
        if keyed and known.weights_sha256 and name != keyed[1]:
            raise _damaged(url, setting)
        with _alone(name, say):
            return _whole(cache() / name, say) or _fetched(fs, path, url, known, name, say)
    except PopError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unwritable(cache(), error) from None
        raise remote_error(error, f"{setting}: {url} cannot be fetched") from error
    except Exception as error:  # whatever a store's client raises
        raise remote_error(error, f"{setting}: {url} cannot be fetched") from error


def adopt(folder: Path, known: Contents) -> None:
    """Take a model that this machine has made into its cache. Links: it takes no room, and no time."""
    with _alone(known.key, lambda _: None):
        if (cache() / known.key).is_dir():
            return
        part = cache() / f".{known.key}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            shutil.copytree(folder, part, copy_function=_linked)
            publish_local(part / MANIFEST, known.manifest())
            part.replace(cache() / known.key)
        except OSError:  # it can be fetched
            shutil.rmtree(part, ignore_errors=True)


def forget(url: str) -> None:
    """Remove a model from this machine's cache, because its weights are not kept."""
    if keyed := _KEYED.fullmatch(url.rpartition("/")[2]):
        with _alone(keyed[1], lambda _: None):
            shutil.rmtree(cache() / keyed[1], ignore_errors=True)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def _alone(name: str, say: Say) -> Iterator[None]:
    """Be the only process of this machine that fetches that model."""
    try:
        cache().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(cache(), error) from None
    lock, waiting = FileLock(cache() / f".{name}.lock"), True
    while waiting:
        try:
            lock.acquire(timeout=WAIT_SEC)
            waiting = False
        except Timeout:
            say("another process fetches the same model: waiting for it")
    try:
        yield
    finally:
        lock.release()


def _whole(folder: Path, say: Say) -> Path | None:
    """A folder of the cache if it holds what it should; else it goes."""
    if not folder.is_dir():
        return None
    known = read_contents(_read(folder / MANIFEST))
    fault = known.fault(folder) if known else f"{MANIFEST} is damaged"
    if fault is None:
        return folder
    say(f"{folder} is damaged ({fault}): it is fetched again")
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.damaged")
    folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _told(fs: Any, path: str, url: str, setting: str) -> tuple[Contents, str]:
    """What lies at a URL, and its name in the cache: by its manifest, or where it is another's folder by the listing.

    Raises:
        UserError: it is no model.
    """
    try:
        told = fs.cat_file(f"{path}/{MANIFEST}")
    except FileNotFoundError:
        return _listed(fs, path, url, setting)
    if (known := read_contents(told)) is None:
        raise _damaged(url, setting)
    return known, known.key


def _damaged(url: str, setting: str) -> DependencyError:
    return DependencyError(f"{setting}: {url}/{MANIFEST} is damaged, or of another version of pop: send it again")


def _listed(fs: Any, path: str, url: str, setting: str) -> tuple[Contents, str]:
    try:
        entries = {
            str(one["name"]).rpartition("/")[2]: one for one in fs.ls(path, detail=True) if one["type"] == "file"
        }
    except FileNotFoundError:
        entries = {}
    if not entries:
        raise UserError(f"{setting}: there is nothing at {url}: check the URL, or where that model was trained")
    names = sorted(name for name in entries if any(PurePosixPath(name).match(pattern) for pattern in FOREIGN))
    if not any(name.endswith(".safetensors") for name in names) or "config.json" not in names:
        raise UserError(
            f"{setting}: {url} holds no whole model (it needs config.json and *.safetensors): it was not sent to its "
            "end, or its weights were removed (gate.keep_unpromoted)"
        )
    files = tuple(File(name, int(entries[name]["size"]), None) for name in names)
    marks = [[name, *(str(entries[name].get(mark)) for mark in ("size", "ETag", "LastModified", "mtime"))]
             for name in names]  # fmt: skip
    return Contents(files, None), f"listed-{content_id('listed', url, marks)}"


def _fetched(fs: Any, path: str, url: str, known: Contents, name: str, say: Say) -> Path:
    """Fetch what is owed of a model, and let its folder appear."""
    part, target = cache() / f".{name}.part", cache() / name
    part.mkdir(exist_ok=True)
    kept = sum(min(file.size, _size(part / file.name)) for file in known.files)
    _require_room(known.size - kept)
    more = f", {sized(kept)} of it are here" if kept else ""
    say(f"fetching the model {url} ({sized(known.size)}{more})")
    pace = Pace("fetched", known.size, say, kept)
    for file in known.files:
        _file(fs, f"{path}/{file.name}", part / file.name, file, pace)
    if known.weights_sha256 is None:  # nobody has told what it should be: from here on it is known
        known = contents_of(part)
    publish_local(part / MANIFEST, known.manifest())
    part.replace(target)
    remember(target, known.weights_sha256 or "")
    with contextlib.suppress(OSError):
        folder = os.open(cache(), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return target


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _require_room(size: int) -> None:
    free = shutil.disk_usage(cache()).free
    if size and free < size + SPARE:
        raise UserError(
            f"the disk is full: the model takes {sized(size)} more, and {cache()} has {sized(free)} free: free space "
            f"(models there that are not served now may go) or set POP_CACHE to a larger disk, then {RETRY}"
        )


def _file(fs: Any, source: str, target: Path, file: File, pace: Pace) -> None:
    """Fetch the rest of a file, range by range.

    Raises:
        DependencyError: what came has another hash than what was sent, twice.
    """
    for left in reversed(range(TRIES)):
        found = _rest(fs, source, target, file.size, pace)
        if file.sha256 in (None, found):
            return
        target.unlink()
        if not left:
            raise DependencyError(
                f"{source} is damaged in the store (SHA-256 {found}, sent was {file.sha256}): put it there again from "
                "the machine that trained it, or train that round again with --force train"
            )


def _rest(fs: Any, source: str, target: Path, size: int, pace: Pace) -> str:
    """Append what is missing; the hash of the whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("a+b") as out:
        if out.tell() > size:
            out.truncate(0)
        out.seek(0)
        while block := out.read(BLOCK):
            digest.update(block)
        at = out.tell()
        while at < size:
            starts = range(at, min(size, at + PART * AT_ONCE), PART)
            ends = [min(size, start + PART) for start in starts]
            blocks = fs.cat_ranges([source] * len(ends), list(starts), ends)
            for block, start, end in zip(blocks, starts, ends, strict=True):
                if isinstance(block, BaseException):  # some file systems hand them out
                    raise block
                if len(block) != end - start:
                    raise OSError(f"{source} gave {len(block)} bytes where {end - start} were asked for")
                out.write(block)
                digest.update(block)
                pace(len(block))
            at = ends[-1]
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
