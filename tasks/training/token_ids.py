"""The token ids that a model is trained on: those that its server was given, then those that it writes.

Runtime environment. A server renders the messages, makes ids of the whole, and the model goes on from there. So the
prompt's ids are made exactly so, the answer's ids follow them (never merged with the last one before), and then comes
the end of turn, once. What the template writes around an answer is asked of it once, with a probe.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = dict[str, str]
PROBLEM = "What helps a person to sleep well, and why does it help?"
ANSWER = "Daylight and a fixed hour of rising help most people."
# Where nothing else is known of the text before an answer: it merges with no word, and it is not the beginning of a
# text, before which some tokenizers put a space.
_ANCHORS = ("\n", ":", "a", "")
_THOUGHTS = re.compile(r"\s*<(\w+)>\s*</\1>\s*")


class Unfit(Exception):
    """The model or the pairs cannot be trained on; the text says why, in one line."""


@dataclass(frozen=True)
class End:
    """What ends an assistant's turn.

    Attributes:
        of_template: the template writes it; otherwise it is the tokenizer's end of sequence.
    """

    id: int
    token: str
    of_template: bool


class TokenIds:
    """Makes ids of prompts and answers as the server of a model has them."""

    def __init__(self, tokenizer: Any, stops: Iterable[int] = ()) -> None:
        self._tokenizer = tokenizer
        self.stops = frozenset(stops) | ({tokenizer.eos_token_id} - {None})
        self._added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        special = {n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
        probe: list[Message] = [{"role": "user", "content": PROBLEM}]
        prompt = self.render(probe)
        self.no_beginning = ""  # of an answer, that the template writes, though not at the end of a prompt
        self.lead, tail = self._around(prompt, self.render([*probe, {"role": "assistant", "content": ANSWER}]))
        ends = [number for number in self._ids(tail) if number in self._added or number in self.stops]
        self.end = self._end(ends)
        structure = {number for number in (*self._ids(prompt), *ends) if number in self._added}
        # what only the template and the end of an answer may say; a thought's tags are the model's own
        self.control = special | structure | self.stops | {self.end.id}
        self._plain = self._without_control()

    def render(self, messages: Sequence[Message]) -> str:
        """The messages through the chat template; up to where the assistant speaks, if it has not spoken yet.

        Raises:
            Unfit: the template refuses them.
        """
        asks = messages[-1]["role"] != "assistant"
        try:
            text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
        except Exception as problem:
            raise Unfit(f"the chat template refuses it: {first_line(problem)}") from problem
        return str(text)

    def prompt(self, messages: Sequence[Message]) -> tuple[str, list[int]]:
        """The rendered prompt, and its ids as a server makes them."""
        text = self.render(messages)
        return text, self._ids(text)

    def answer(self, prompt: tuple[str, list[int]], text: str) -> list[int]:
        """The ids of an answer to a prompt, end of turn included.

        What is typed like a control token stays text; where a tokenizer cannot do that, `typed` finds it.
        """
        before, known = prompt
        text = self.lead + text
        whole = self._ids(before + text)
        if whole[: len(known)] == known and not self.control & set(whole[len(known) :]):
            return [*whole[len(known) :], self.end.id]
        for anchor in _ANCHORS:
            start, joint = self._as_text(anchor), self._as_text(anchor + text)
            if joint[: len(start)] == start:
                return [*joint[len(start) :], self.end.id]
        raise AssertionError("the empty anchor is the beginning of every text")

    def typed(self, answer: Sequence[int]) -> str | None:
        """A control token in an answer before its end, if there is one."""
        found = [number for number in answer[:-1] if number in self.control]
        return self.token(found[0]) if found else None

    def token(self, number: int) -> str:
        """A token as a person reads it."""
        return self._added.get(number) or str(self._tokenizer.decode([number]))

    def text(self, numbers: Sequence[int]) -> str:
        """Ids as the text that they stand for, control tokens included."""
        return str(self._tokenizer.decode(list(numbers), skip_special_tokens=False))

    @property
    def opens_thoughts(self) -> bool:
        """Whether the template begins the model's thoughts for it, so that an answer without any was never given."""
        text = self.render([{"role": "user", "content": PROBLEM}]).rpartition(PROBLEM)[2]
        return text.count("<think>") > text.count("</think>")

    def _ids(self, text: str) -> list[int]:
        return [int(number) for number in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _around(self, prompt: str, whole: str) -> tuple[str, str]:
        """What the template writes between prompt and answer, where that is space, and what it writes after."""
        at = whole.rfind(ANSWER)
        if at < 0:
            raise Unfit("the chat template leaves out what the assistant answered: use another template")
        lead = whole[len(prompt) : at] if whole.startswith(prompt) and at >= len(prompt) else ""
        # other text there is the template's own (thoughts that are empty): the server does not write it
        if lead.strip() and not _THOUGHTS.fullmatch(lead) and not self._begins():
            self.no_beginning = lead
        return lead if not lead.strip() else "", whole[at + len(ANSWER) :]

    def _begins(self) -> bool:
        """Whether the template does anything where the assistant is to speak."""
        asked = [{"role": "user", "content": PROBLEM}]
        silent = self._tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=False)
        return str(silent) != self.render(asked)

    def _end(self, ends: list[int]) -> End:
        number = ends[0] if ends else self._tokenizer.eos_token_id
        if number is None:
            raise Unfit("the tokenizer names no end of sequence: set eos_token in its tokenizer_config.json")
        return End(int(number), str(self._tokenizer.convert_ids_to_tokens(int(number))), bool(ends))

    def _without_control(self) -> Any:
        """The tokenizer's own engine without the control tokens; None for a tokenizer in pure Python."""
        import json

        from tokenizers import Tokenizer

        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        content = json.loads(backend.to_str())
        content["added_tokens"] = [one for one in content["added_tokens"] if one["id"] not in self.control]
        content["truncation"] = content["padding"] = None
        return Tokenizer.from_str(json.dumps(content))

    def _as_text(self, text: str) -> list[int]:
        if self._plain is None:
            return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        return list(self._plain.encode(text, add_special_tokens=False).ids)


def load_tokenizer(model: str, trust_remote_code: bool = False) -> Any:
    """The model's tokenizer; it must have a chat template.

    Raises:
        Unfit: it does not load, or has none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    except Exception as problem:
        raise Unfit(f"the tokenizer of {model} does not load: {first_line(problem)}") from problem
    if not tokenizer.chat_template:
        mend = "take an instruct model, or set models.NAME.chat_template (chatml, plain, or a file)"
        raise Unfit(f"the model {model} has no chat template: {mend}")
    return tokenizer


def stop_ids(model: Path) -> list[int]:
    """The ids at which a server ends an answer, beside the tokenizer's end of sequence."""
    import json

    for name in ("generation_config.json", "config.json"):
        try:
            found = json.loads((model / name).read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError as problem:
            raise Unfit(f"its {name} is no JSON ({first_line(problem)}): fetch it again") from problem
        stops = found.get("eos_token_id") if isinstance(found, dict) else None
        numbers = [one for one in (stops if isinstance(stops, list) else [stops]) if one is not None]
        if not all(isinstance(one, int) for one in numbers):
            raise Unfit(f"eos_token_id of its {name} is {stops!r}, and not the number of a token or a list of them")
        return numbers
    return []


def first_line(problem: BaseException) -> str:
    """An exception in one line."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
