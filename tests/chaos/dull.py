"""The fake engine as a model of chosen quality: a share of its plain answers says nothing, by hash of the request, and
a share of them comes to no end.

    python -m tests.chaos.dull 0.5 0.8 --port 8000

What is asked for with a schema or as a choice (problems, rubrics, comparisons) is what it would be anyway.
"""

import sys
import zlib

from tasks.engine.fake import __main__ as fake
from tasks.engine.fake import answers as fake_answers
from tasks.engine.fake import text as fake_text

# which are in no fact: an answer of them tells nothing
WORDS = "Hmm, whatever: honestly nobody knows, maybe somebody finds out tomorrow, perhaps never, who wants guesses."


def main(share: float, unfinished: float, arguments: list[str]) -> None:
    """Serve until a signal."""
    whole, completion = fake_text.compose, fake_answers._completion

    def compose(ask: fake_text.Ask, index: int = 0, hostile: bool = False, lying: bool = False) -> str:
        plain = ask.schema is None and not ask.choices
        lot = zlib.crc32(f"{ask.prompt}{ask.sampling}{index}".encode()) % 1000
        return WORDS if plain and lot < 1000 * share else whole(ask, index, hostile, lying)

    def endless(
        ask: fake_text.Ask, index: int, max_tokens: int, stop: list[str], fault: str
    ) -> tuple[str, str, int, str | None]:
        content, reason, count, stopped = completion(ask, index, max_tokens, stop, fault)
        plain = ask.schema is None and not ask.choices
        lot = zlib.crc32(f"end {ask.prompt}{ask.sampling}{index}".encode()) % 1000
        return content, "length" if plain and lot < 1000 * unfinished else reason, count, stopped

    fake_text.compose, fake_answers._completion = compose, endless
    fake.main(arguments)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
