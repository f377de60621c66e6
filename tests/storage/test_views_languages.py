"""The views' words are those of every script: single characters where it has no spaces, marks with their letters."""

import pytest

from tasks.storage.db import connect
from tasks.storage.store import Store


@pytest.mark.parametrize(
    ("text", "words", "content"),
    [
        ("The liver's 2.5 mg naïve", ["the", "liver", "s", "2", "5", "mg", "naïve"], {"liver", "naïve"}),
        ("肝脏把food变成", ["肝", "脏", "把", "food", "变", "成"], {"肝脏", "脏把", "food", "变成"}),
        ("간은 저장한다", ["간은", "저장한다"], {"간은", "저장", "장한", "한다"}),
        ("ما الكِبد؟", ["ما", "الكِبد"], {"الكِبد"}),
        ("क्या यकृत।", ["क्या", "यकृत"], {"क्या", "यकृत"}),
    ],
)
def test_words_of_every_script(
    tmp_path_factory: pytest.TempPathFactory, text: str, words: list[str], content: set[str]
) -> None:
    con = connect(Store(str(tmp_path_factory.getbasetemp()), "none"))
    found = con.execute("SELECT words($t), content_words($t)", {"t": text}).fetchall()[0]
    assert found[0] == words and set(found[1]) == content


def test_chinese_texts_share_their_runs_of_characters(tmp_path_factory: pytest.TempPathFactory) -> None:
    con = connect(Store(str(tmp_path_factory.getbasetemp()), "none"))
    for other, share in (("人的肝脏把糖变成糖原。", 1.0), ("潮汐每天发生两次", 0.0)):
        assert con.execute("SELECT share_of_ngrams('肝脏把糖变成糖原', ?, 5)", [other]).fetchone() == (share,)
