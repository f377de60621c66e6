"""The fake engine as a model of chosen quality: a share of its plain answers says nothing, by hash of the request.

    python -m tests.chaos.dull 0.5 --port 8000

What is asked for with a schema or as a choice (problems, rubrics, comparisons) is what it would be anyway.
"""

import sys
import zlib

from tasks.engine.fake import __main__ as fake
from tasks.engine.fake import text as fake_text

WORDS = "Nobody can say anything about that without looking it up somewhere else first, so ask again later on."


def main(share: float, arguments: list[str]) -> None:
    """Serve until a signal."""
    whole = fake_text.compose

    def compose(ask: fake_text.Ask, index: int = 0, hostile: bool = False) -> str:
        plain = ask.schema is None and not ask.choices
        lot = zlib.crc32(f"{ask.prompt}{ask.sampling}{index}".encode()) % 1000
        return WORDS if plain and lot < 1000 * share else whole(ask, index, hostile)

    fake_text.compose = compose
    fake.main(arguments)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
