"""Files as UTF-8 bytes or text, whatever they were packed with and whichever Unicode form they were saved in.

What a file is, its first bytes say: a gzip file that lost its suffix, or a download that was unpacked on the way and
kept it, are read all the same.
"""

import bz2
import codecs
import contextlib
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, TextIO

from backports import zstd

from tasks.corpus.remote import File, Remote

UNDECODED = re.compile("[\udc80-\udcff]")  # what `open_text` makes of a byte that is not UTF-8
PACKED = (".gz", ".zst", ".zstd", ".xz", ".bz2")
_BUFFER = 2**17
_WINDOW_LOG = 31  # `zstd --long=31`, as large corpora are packed; the default refuses them
_BOMS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_NULS = {"0111": "utf-32-le", "1110": "utf-32-be", "01": "utf-16-le", "10": "utf-16-be"}  # 1: a NUL byte


class DamagedFile(Exception):
    """A packed file that could not be unpacked to its end; raised when it is closed, after all that could.

    Attributes:
        cut: whether what was read last may have been cut short.
    """

    def __init__(self, why: str, cut: bool = True) -> None:
        super().__init__(why)
        self.cut = cut


class _Decompressor(Protocol):
    """What `bz2`, `lzma` and `zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib's decompressor with the methods of the others; what comes before a damage in a piece is given too."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._error: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.eof and not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._error:
            raise self._error
        data, before = self._zlib.unconsumed_tail + data, self._zlib.copy()
        try:
            return self._zlib.decompress(data, max_length)
        except zlib.error as error:
            self._error = error
            whole = _until_error(before, data)
            if not whole:
                raise
            return whole


def _until_error(decompressor: "zlib._Decompress", data: bytes) -> bytes:
    """What a piece of data gives up to the byte that is wrong."""
    parts: list[bytes] = []
    with contextlib.suppress(zlib.error):
        parts.extend(decompressor.decompress(data[byte : byte + 1]) for byte in range(len(data)))
    return b"".join(parts)


def _unzstd() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


_MAGIC: tuple[tuple[re.Pattern[bytes], str, Callable[[], _Decompressor]], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), "gzip", _Gunzip),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd", _unzstd),  # a frame, or one to skip
    (re.compile(rb"\xfd7zXZ\0"), "xz", lzma.LZMADecompressor),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), "bzip2", bz2.BZ2Decompressor),
)


class _Unpacked(io.RawIOBase):
    """The bytes of a packed file, one member after the other. Damage ends it, and is told when it is closed."""

    def __init__(self, packed: BinaryIO, kind: str, new: Callable[[], _Decompressor]) -> None:
        self._packed, self._kind, self._new = packed, kind, new
        self._decompressor = new()
        self._damage: DamagedFile | None = None
        self._over = b""  # unpacked already, and more than was asked for

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        try:
            data = self._over or (b"" if self._damage else self._next(len(view)))
        except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError) as error:
            data, self._damage = b"", DamagedFile(str(error))
        data, self._over = data[: len(view)], data[len(view) :]
        view[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof and not self._next_member():
                return b""
            packed = self._packed.read(_BUFFER) if self._decompressor.needs_input else b""
            data = self._decompressor.decompress(packed, size)
            if data:
                return data
            if not packed and not self._decompressor.eof and self._decompressor.needs_input:
                raise EOFError(f"the {self._kind} data end too early")

    def _next_member(self) -> bool:
        """Goes on to the next member, if there is one. Zeros between and after members are padding."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest and (more := self._packed.read(_BUFFER)):
            rest = more.lstrip(b"\0")
        rest += self._packed.read(16 - len(rest)) if len(rest) < 16 else b""
        if not rest:
            return False
        if _unpacker(rest) != (self._kind, self._new):
            self._damage = DamagedFile(f"what follows the {self._kind} data is not {self._kind}", cut=False)
            return False
        self._decompressor = self._new()
        self._packed = io.BufferedReader(_Chain(rest, self._packed), _BUFFER)
        return True

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
            super().close()
            if self._damage:
                raise self._damage


class _Chain(io.RawIOBase):
    """A few bytes, then the rest of a stream."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._first[: len(view)] or self._rest.read(len(view))
        self._first = self._first[len(view) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()


class _Recoded(io.RawIOBase):
    """A stream of UTF-16 or UTF-32 as UTF-8; what cannot be decoded comes as bytes that are not UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._pending = stream, b""
        self._decoder = codecs.getincrementaldecoder(encoding)("pop_undecoded")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        final = False
        while not self._pending and not final:
            data = self._stream.read(_BUFFER)
            final = not data
            self._pending = self._decoder.decode(data, final).encode(errors="surrogateescape")
        data, self._pending = self._pending[: len(view)], self._pending[len(view) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        super().close()
        self._stream.close()


def _undecoded(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error("pop_undecoded", _undecoded)


def open_raw(path: File) -> io.RawIOBase:
    """The bytes of a file as they are, wherever it lies."""
    return path.open() if isinstance(path, Remote) else io.FileIO(path)


def is_plain(stream: "io.BufferedReader[Any]") -> bool:
    """Whether what `open_bytes` gave is the file itself, neither packed nor of another encoding."""
    return not isinstance(stream.raw, (_Unpacked, _Recoded))


def open_bytes(path: File) -> "io.BufferedReader[Any]":
    """The file as UTF-8, unpacked on the way. Closing it raises `DamagedFile` where it could not be read to its end."""
    packed = io.BufferedReader(open_raw(path), _BUFFER)
    head = packed.peek(16)[:16]
    unpacker = _unpacker(head)
    stream = io.BufferedReader(_Unpacked(packed, *unpacker), _BUFFER) if unpacker else packed
    encoding = _encoding(stream.peek(4)[:4] if unpacker else head[:4])
    return io.BufferedReader(_Recoded(stream, encoding), _BUFFER) if encoding else stream


def open_text(path: File, newline: str | None = None) -> TextIO:
    """The file as text. A byte that is not UTF-8 becomes a lone surrogate, so that one bad row spoils no other."""
    stream = open_bytes(path)
    marked = stream.peek(1)[:1] == codecs.BOM_UTF8[:1]  # to look for the mark costs as much as to decode
    encoding = "utf-8-sig" if marked else "utf-8"
    return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline=newline)


def head_of(path: File, chars: int) -> str:
    """The beginning of a text; of a damaged file as much as can be read."""
    head = ""
    with contextlib.suppress(DamagedFile), open_text(path) as stream:
        head = stream.read(chars)
    return head


def _unpacker(head: bytes) -> tuple[str, Callable[[], _Decompressor]] | None:
    for magic, kind, new in _MAGIC:
        if magic.match(head):
            return kind, new
    return None


def _encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by a byte-order mark or by where the NUL bytes of the first character are; None for UTF-8."""
    if head.isascii() and 0 not in head:  # most files, and the rest takes time
        return None
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    nuls = "".join("01"[byte == 0] for byte in head)
    return marked or _NULS.get(nuls) or (_NULS.get(nuls[:2]) if nuls[:2] == nuls[2:] else None)
