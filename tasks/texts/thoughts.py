"""Where a model's thoughts end and its answer begins: the one place that knows the marks that models put there.

| mark | of |
| --- | --- |
| `<think>…</think>`, also `thinking`, `thought`, `reasoning`, `mm:think`, `seed:think`, … | most |
| `[THINK]…[/THINK]` | Mistral |
| `<\\|START_THINKING\\|>…<\\|END_THINKING\\|>` | Cohere |
| `<\\|begin_of_thought\\|>…<\\|end_of_thought\\|>` | OpenThinker, Sky-T1 |
| `◁think▷…◁/think▷` | Kimi |
| `<\\|channel>thought…<channel\\|>`, `<unused94>…<unused95>` | Gemma, MedGemma |
| `<\\|channel\\|>analysis…<\\|channel\\|>final…`, also without the special tokens | gpt-oss (harmony) |
| `Here is my thought process: … Here is my response:` | Granite |

A chat template may open the thoughts in the prompt, so a closing mark needs no opening one; thoughts that are never
closed have no answer after them.
"""

import re

_NAME = r"(?:[a-z]+[:_])?(?:think|thinking|thought|reasoning)"  # `thoughts` is a tag of a judge's own form
_OPENING = re.compile(
    rf"<{_NAME}>|\[THINK\]|<\|START_THINKING\|>|<\|begin_of_thought\|>|◁think▷|<\|channel>thought|<unused94>"
    r"|Here(?: is|['’]s) my thought process:",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"</{_NAME}>|\[/THINK\]|<\|END_THINKING\|>|<\|end_of_thought\|>|◁/think▷|<channel\|>|<unused95>", re.IGNORECASE
)
_RESPONSE = re.compile(
    r"\A\s*Here(?: is|['’]s) my thought process:.*?Here(?: is|['’]s) my response:", re.DOTALL | re.IGNORECASE
)
_LINE_OPENING = re.compile(rf"^[ \t]*(?:{_OPENING.pattern})", re.MULTILINE | re.IGNORECASE)
_WRAPPINGS = (("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|begin_of_solution|>", "<|end_of_solution|>"),
              ("<answer>", "</answer>"))  # fmt: skip
_HARMONY_FINAL = re.compile(r"<\|channel\|>final\b[^<]*(?:<\|constrain\|>\w*)?<\|message\|>")
_HARMONY = re.compile(rf"\A\s*(?:<\|start\|>assistant)?<\|channel\|>|{_HARMONY_FINAL.pattern}")
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE = re.compile(r"\A\s*analysis(?=[A-Z\"'(\d])")  # harmony without its special tokens: "analysisWe need to …"
_BARE_FINAL = re.compile(r"assistant(?:commentary.*assistant)?final", re.DOTALL)


def final_answer(text: str) -> str:
    """What is judged: the text after a thinking model's thoughts; empty where it has not come so far."""
    return split(text)[1]


def split(text: str) -> tuple[str, str]:
    """What stands before the answer, marks included, and the answer.

    Example: `<think>Hm.</think> Yes.` is (`<think>Hm.</think>`, `Yes.`); `Yes.` is (``, `Yes.`).
    """
    if _HARMONY.search(text):
        return _after(text, _last_end(_HARMONY_FINAL, text), _HARMONY_END)
    if _BARE.match(text):
        return _after(text, _last_end(_BARE_FINAL, text))
    if response := _RESPONSE.match(text):
        return _after(text, response.end())
    end = _last_end(_CLOSING, text) or 0
    if _LINE_OPENING.search(text, end) or _OPENING.match(text[end:].lstrip()):
        return text, ""  # cut in the middle of thoughts
    before, answer = text[:end], text[end:].strip()
    return before, _unwrapped(answer) if before else answer


def opened_by_template(text: str) -> bool:
    """Whether it closes thoughts that it has not opened: then a text of the same model that is cut is all thoughts."""
    end = _CLOSING.search(text)
    return end is not None and _OPENING.search(text, 0, end.start()) is None


def _last_end(pattern: re.Pattern[str], text: str) -> int | None:
    found = list(pattern.finditer(text))
    return found[-1].end() if found else None


def _after(text: str, begin: int | None, ending: re.Pattern[str] | None = None) -> tuple[str, str]:
    if begin is None:
        return text, ""
    end = ending.search(text, begin) if ending else None
    return text[:begin], text[begin : end.start() if end else None].strip()


def _unwrapped(answer: str) -> str:
    """The answer without a mark of its own around it, as some models put beside that of their thoughts."""
    for opening, closing in _WRAPPINGS:
        if answer.startswith(opening):
            return answer.removeprefix(opening).removesuffix(closing).strip()
    return answer
