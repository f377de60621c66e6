"""What is not what its name says is one row with the cause and the mend, and never a document."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tasks.corpus import BadRecord, RawDocument, read

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ROW = b'{"text": "One fine day."}\n'


def tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        file.addfile(tarfile.TarInfo("a.jsonl"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        *((f"a{suffix}", POINTER, "git lfs pull") for suffix in (".txt", ".jsonl", ".csv", ".parquet", ".arrow")),
        ("a.txt", b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n", "a PDF"),
        ("a.txt", b"{\\rtf1\\ansi Hello there.}", "rich text"),
        ("a.txt", b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\nOne day.\r\n", "a WARC archive"),
        ("a.txt", ROW * 2, "name it .jsonl"),
        ("a.csv", b"PK\x03\x04\x14\0\x06\0\xff\xfe", "a ZIP archive"),
        ("a.jsonl", b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("a.parquet", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page or XML"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(ROW)), "packed twice"),
        ("a.jsonl.gz", tar(), "a tar archive"),
        ("a.parquet", b"PAR1" + b"\0" * 40, "cannot be read as Parquet"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # packed bytes have the time in them
)
def test_the_cause_is_said_once(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    [record] = read(str(tmp_path / name))
    assert isinstance(record, BadRecord)
    assert said in record.reason


def test_files_joined_end_to_end_keep_their_columns_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,title\nOne day.,A\ntext,title\nTwo days.,B\ntitle,text\nC,Three days.\n")
    found = list(read(str(tmp_path / "a.csv")))
    assert [(one.title, one.text) for one in found if isinstance(one, RawDocument)] == [
        ("A", "One day."),
        ("B", "Two days."),
        ("C", "Three days."),
    ]
    assert [one.source for one in found if isinstance(one, BadRecord)] == ["a.csv:3", "a.csv:5"]


def test_texts_with_a_mark_between_them_are_documents_of_their_own(tmp_path: Path) -> None:
    content = "One day.\nIt rained.\n<|endoftext|>\nTwo.<|endoftext|>Three.<|endoftext|><|endoftext|>\n\n"
    (tmp_path / "stories.txt").write_text(content)
    found = [one for one in read(str(tmp_path / "stories.txt")) if isinstance(one, RawDocument)]
    assert [one.text.strip() for one in found] == ["One day.\nIt rained.", "Two.", "Three."]
    assert len({one.source for one in found}) == 3 and not any(one.title for one in found)
