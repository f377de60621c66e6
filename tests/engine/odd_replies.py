"""Faces of the odd server that change the good reply."""

import json
import re
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Change = Callable[[Any], Any]
OfReply = Callable[[Row], Any]
THOUGHT = 'Let me think. The answer could be 2. <rating>2</rating> {"marks": []} Wait, no.'


def message(change: Callable[[Row, Row], Any]) -> OfReply:
    """Change the message and the choice around it."""

    def face(reply: Row) -> None:
        if "message" in reply["choices"][0]:
            change(reply["choices"][0]["message"], reply["choices"][0])

    return face


def content(change: Change) -> OfReply:
    """Change the text."""
    return message(lambda m, _: m.update(content=change(m["content"])))


def in_json(change: Change) -> OfReply:
    """Change the object in the text, where there is one; other text is left."""

    def face(m: Row, _: Row) -> None:
        try:
            value = json.loads(m["content"])
        except ValueError:
            return
        if isinstance(value, dict):
            out = change(value)
            m["content"] = out if isinstance(out, str) else json.dumps(out)

    return message(face)


def marks(change: Change) -> OfReply:
    """Change the list of marks."""
    return in_json(lambda v: {**v, "marks": change(v["marks"])} if "marks" in v else v)


def each(name: str, value: Any) -> OfReply:
    """Change a field of every mark."""
    return marks(lambda ms: [{**m, name: value(m[name]) if callable(value) else value} for m in ms])


def criteria(change: Change) -> OfReply:
    """Change the list of criteria."""
    return in_json(lambda v: {"criteria": change(v["criteria"])} if "criteria" in v else v)


def raw(pattern: str, by: str) -> OfReply:
    """Change the text of the object."""
    return in_json(lambda v: re.sub(pattern, by, json.dumps(v)))


def finish(reason: str | None, half: bool = False) -> OfReply:
    """End for another reason, and after half of the text."""

    def face(m: Row, choice: Row) -> None:
        choice["finish_reason"] = reason
        if half:
            m["content"] = m["content"][: len(m["content"]) // 2]

    return message(face)


def swap_names(ms: list[Row]) -> list[Row]:
    """Every mark under another's name."""
    return [{**a, "name": b["name"]} for a, b in zip(ms, ms[::-1], strict=True)]


def as_tool(m: Row, choice: Row) -> None:
    """The answer as the arguments of a call."""
    call = {"id": "1", "type": "function", "function": {"name": "json", "arguments": m["content"]}}
    m.update(content=None, tool_calls=[call])
    choice["finish_reason"] = "tool_calls"


def of_choice(change: Callable[[Row], Any]) -> OfReply:
    """Change every choice."""
    return lambda reply: [change(choice) for choice in reply["choices"]]


def usage(**fields: Any) -> OfReply:
    """Count the tokens otherwise."""
    return lambda reply: reply.update(usage=fields)


def listed(*pairs: tuple[Any, Any]) -> OfReply:
    """List these alternatives of the first token."""
    return top([{"token": token, "logprob": nats, "bytes": None} for token, nats in pairs])


def top(alternatives: Any) -> OfReply:
    """List this instead of alternatives."""

    def face(reply: Row) -> None:
        logprobs = reply["choices"][0].get("logprobs")
        if logprobs and logprobs.get("content"):
            logprobs["content"][0]["top_logprobs"] = alternatives

    return face


def of_prompt(change: Callable[[list[Any]], Any]) -> OfReply:
    """Change the log-probabilities of a prompt."""
    return of_choice(lambda c: c.update(prompt_logprobs=change(c.get("prompt_logprobs") or [])))


def every_value(value: float) -> OfReply:
    """Give every token of a prompt this log-probability."""
    return of_prompt(lambda es: [{k: {**v, "logprob": value} for k, v in (e or {}).items()} for e in es])


LEGACY = {"tokens": ["2"], "token_logprobs": [-0.1], "top_logprobs": [{"2": -0.1, "1": -2.5}]}
NOISE = (("<think>", -0.0001), ("Okay", -12.0), ("2", -16.1), ("1", -16.4), ("0", -17.0))
MANY_WORDS = tuple((f"w{n}", -18.0 - n) for n in range(15))
# fmt: off
THOUGHTS: dict[str, OfReply] = {
    "think": content(lambda t: f"<think>\n{THOUGHT}\n</think>\n\n{t}"),
    "think_noopen": content(lambda t: f"{THOUGHT}\n</think>\n\n{t}"),
    "think_unclosed": content(lambda t: f"<think>\n{THOUGHT}\n{t}"),
    "think_other": content(lambda t: f"<thinking>{THOUGHT}</thinking>\n{t}"),
    "think_mistral": content(lambda t: f"[THINK]{THOUGHT}[/THINK]{t}"),
    "think_cohere": content(lambda t: f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>"
                                      f"<|START_RESPONSE|>{t}<|END_RESPONSE|>"),
    "think_minimax": content(lambda t: f"<mm:think>{THOUGHT}</mm:think>{t}"),
    "harmony": content(lambda t: f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
                                 f"<|channel|>final<|message|>{t}"),
    "harmony_bare": content(lambda t: f"analysis{THOUGHT}assistantfinal{t}"),
    "harmony_cut": content(lambda t: f"<|channel|>analysis<|message|>{THOUGHT} {t}"),
    "reasoning_content": message(lambda m, c: m.update(reasoning_content=THOUGHT)),
    "reasoning": message(lambda m, c: m.update(reasoning=THOUGHT)),
    "reasoning_obj": message(lambda m, c: m.update(reasoning={"text": THOUGHT})),
    "reasoning_null": message(lambda m, c: (
        m.update(reasoning_content=THOUGHT, content=None), c.update(finish_reason="length"))),
    "reasoning_all": message(lambda m, c: m.update(reasoning_content=m["content"], content=None)),
    "reasoning_all_empty": message(lambda m, c: m.update(reasoning_content=m["content"], content="")),
    "reasoning_twice": message(lambda m, c: m.update(reasoning_content=m["content"])),
    "cut_thought": message(lambda m, c: (
        m.update(content="Okay, the user asks. First consider the"), c.update(finish_reason="length"))),
    "cut_thought_stop": content(lambda t: "<think>Okay, the user asks about this. I should weigh it."),
    "parts": message(lambda m, c: m.update(content=[
        {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
        {"type": "text", "text": m["content"]}])),
}
SHEETS: dict[str, OfReply] = {
    "fence": in_json(lambda v: f"```json\n{json.dumps(v)}\n```"),
    "fence_upper": in_json(lambda v: f"```JSON\n{json.dumps(v)}\n```"),
    "fence_text": in_json(lambda v: f"Here is the JSON:\n```json\n{json.dumps(v)}\n```\nHope it helps!"),
    "fence_one": in_json(lambda v: f"```json {json.dumps(v)} ```"), "bom": in_json(lambda v: "\ufeff" + json.dumps(v)),
    "before": in_json(lambda v: "Sure! " + json.dumps(v)), "after": in_json(lambda v: json.dumps(v) + "\nDone."),
    "twice": in_json(lambda v: json.dumps(v) + "\n" + json.dumps(v)),
    "trailing": in_json(lambda v: json.dumps(v)[:-1] + ",}"),
    "comments": in_json(lambda v: "{ // marks\n" + json.dumps(v)[1:]), "single": in_json(str),
    "smart": in_json(lambda v: json.dumps(v).replace('"', "\u201d")), "wrapped": in_json(lambda v: {"result": v}),
    "listed": in_json(lambda v: next(iter(v.values())) if len(v) == 1 else [v]),
    "stringified": in_json(lambda v: json.dumps(json.dumps(v))), "extra_key": in_json(lambda v: {**v, "overall": 2}),
    "schema_echo": in_json(lambda v: {"type": "object", "properties": v}),
    "dup_key": raw(r'("rating": )(\d)', r'\1\2, "rating": 2'), "nan": raw(r'("rating": )[\d.]+', r"\1NaN"),
    "r_str": each("rating", str), "r_of": each("rating", lambda v: f"{v}/2"), "r_float": each("rating", 1.5),
    "r_20": each("rating", 2.0), "r_na": each("rating", "N/A"), "r_true": each("rating", True),
    "r_neg": each("rating", -1), "r_10": each("rating", 10), "r_null": each("rating", None),
    "r_list": each("rating", lambda v: [v]), "r_full": raw(r'("rating": )\d', r'\1"２"'),
    "c_renamed": each("name", lambda n: "1. " + n), "c_upper": each("name", str.upper),
    "c_reordered": marks(lambda m: m[::-1]), "c_missing": marks(lambda m: m[:-1]),
    "c_doubled": marks(lambda m: m + m[:1]), "c_swapped": marks(swap_names),
    "c_quoted": each("name", lambda n: f'"{n}"'),
    "c_weight": each("name", lambda n: n + " (weight 3)"),
    "t_after": marks(lambda ms: [{k: m[k] for k in ("rating", "thoughts", "name")} for m in ms]),
    "t_long": each("thoughts", "x y " * 400), "t_empty": each("thoughts", ""), "t_null": each("thoughts", None),
    "t_none": marks(lambda ms: [{"name": m["name"], "rating": m["rating"]} for m in ms]),
    "t_list": each("thoughts", ["a", "b"]),
}
RUBRICS: dict[str, OfReply] = {
    "w_str": raw(r'("weight": )([\d.]+)', r'\1"\2"'), "w_0": raw(r'("weight": )([\d.]+)', r"\g<1>0"),
    "w_pct": raw(r'("weight": )([\d.]+)', r'\1"30%"'), "w_nan": raw(r'("weight": )[\d.]+', r"\1NaN"),
    "inf": raw(r'("weight": )[\d.]+', r"\g<1>Infinity"), "huge": raw(r'("weight": )[\d.]+', r"\g<1>1e999"),
    "crit_dup": criteria(lambda cs: cs * 2), "crit_none": criteria(lambda cs: []),
    "crit_many": criteria(lambda cs: [{**cs[0], "name": f"C{n}"} for n in range(12)]),
}
ENDINGS: dict[str, OfReply] = {
    "finish_filter": finish("content_filter"), "finish_filter_half": finish("content_filter", True),
    "finish_eos": finish("eos"), "finish_null": finish(None), "finish_NULL": finish("null"),
    "finish_LENGTH": finish("LENGTH", True), "finish_max_tokens": finish("max_tokens", True),
    "finish_abort": finish("abort", True), "finish_error": finish("error", True),
    "finish_repetition": finish("repetition", True),
    "finish_safety": finish("SAFETY", True),
    "finish_stop_half": finish("stop", True), "finish_missing": message(lambda m, c: c.pop("finish_reason")),
    "finish_list": finish(["stop"]), "tool": message(as_tool),  # type: ignore[arg-type]
    "refusal": message(lambda m, c: m.update(content=None, refusal="I'm sorry, I can't help with that.")),
    "empty": content(lambda t: ""), "null": content(lambda t: None), "blank": content(lambda t: " \n "),
    "content_missing": message(lambda m, c: m.pop("content")), "nul": content(lambda t: (t or "") + "\u0000"),
    "surrogate": content(lambda t: (t or "") + " \ud83d"),
}
ENVELOPES: dict[str, OfReply] = {
    "no_choices": lambda r: r.update(choices=[]), "null_choices": lambda r: r.update(choices=None),
    "lost_choices": lambda r: r.pop("choices"), "two_choices": lambda r: r.update(choices=r["choices"] * 2),
    "dict_choices": lambda r: r.update(choices={"0": r["choices"][0]}),
    "no_message": lambda r: r["choices"][0].pop("message", 0), "str_choice": lambda r: r.update(choices=["hello"]),
    "no_usage": lambda r: r.pop("usage"), "null_usage": lambda r: r.update(usage=None), "empty_usage": usage(),
    "part_usage": usage(total_tokens=5), "str_usage": usage(prompt_tokens="12", completion_tokens="5"),
    "text_usage": usage(prompt_tokens="many", completion_tokens="few"),
    "float_usage": usage(prompt_tokens=12.5, completion_tokens=5.5),
    "neg_usage": usage(prompt_tokens=-1, completion_tokens=-1),
    "null_fields": usage(prompt_tokens=None, completion_tokens=None), "list_usage": lambda r: r.update(usage=[1, 2]),
    "other_model": lambda r: r.update(model="something-else"),
}
DIGITS: dict[str, OfReply] = {
    "no_logprobs": of_choice(lambda c: c.update(logprobs=None)), "lp_list": of_choice(lambda c: c.update(logprobs=[1])),
    "lp_legacy": of_choice(lambda c: c.update(logprobs=LEGACY)), "lp_null_value": listed(("2", None), ("1", -1.0)),
    "lp_null_top": top(None), "lp_str": listed(("2", "-0.5")),
    "lp_bytes": top([{"token": None, "bytes": [50], "logprob": -0.5}]), "lp_one": listed(("2", -1.2)),
    "lp_zero_051": listed(("0", -0.6733)), "lp_noise": listed(*NOISE, *MANY_WORDS),
    "lp_gpt": listed(("Ġ2", -0.7), ("2", -1.2), ("▁1", -2.0), ("１", -2.5), ("0", -4.0)),
    "lp_full": listed(("２", -0.1), ("１", -3.0), ("０", -4.0)), "lp_word": listed(("two", -0.1), ("one", -3.0)),
    "lp_pos": listed(("2", 0.7), ("1", 0.1), ("0", -1.0)), "lp_prob": listed(("2", 0.7), ("1", 0.2), ("0", 0.1)),
    "lp_over": listed(("2", -0.1), ("1", -0.2), ("0", -0.3)),
    "lp_10": listed(("10", -0.1), ("2", -5.0), ("1", -6.0), ("0", -7.0)),
    "lp_ruled_out": listed(("2", -0.1), ("1", -2.4), ("0", float("-inf")), ("x", float("-inf"))),
    "lp_9999": listed(("2", 0.0), ("1", -9999.0), ("0", -9999.0)), "lp_greedy": listed(("2", 0.0)),
}
WORDS: dict[str, OfReply] = {
    "word_sentence": content(lambda t: f"The answer is {t}, because"), "word_bold": content(lambda t: f"**{t}**."),
    "word_two": content(lambda t: "fully partly no"), "word_not": content(lambda t: "not fully"),
    "word_cap": content(lambda t: (t or "").upper()),
}
FACTS: dict[str, OfReply] = {
    "pl_null": of_prompt(lambda es: None), "pl_drop": of_choice(lambda c: c.pop("prompt_logprobs", 0)),
    "pl_short": of_prompt(lambda es: es[:-2]), "pl_other": of_prompt(lambda es: [{"1": {"logprob": -1.0}}] * len(es)),
    "pl_noindex": of_choice(lambda c: c.pop("index", 0)), "pl_reversed": lambda r: r.update(choices=r["choices"][::-1]),
    "pl_index0": of_choice(lambda c: c.update(index=0)), "pl_pos": every_value(0.5), "pl_zero": every_value(0.0),
    "pl_one_null": of_prompt(lambda es: [*es[:-1], None]),
}
# fmt: on
REPLIES = THOUGHTS | SHEETS | RUBRICS | ENDINGS | ENVELOPES | DIGITS | WORDS | FACTS
