"""What the servers of a run's models can do, as a table: a column a model."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.engine.capabilities import Capabilities, modes
from tasks.engine.drawing import Drawing
from tasks.storage.manifests import servers_manifest
from tasks.storage.store import Store


def print_remembered(store: Store, round_: int, out: Console) -> None:
    """Of a round, as it was found when the round asked; nothing where it has asked none."""
    found: dict[str, Capabilities] = {}
    for name, entry in servers_manifest(store, round_).items():
        try:
            found[name] = Capabilities.read(entry["able"])
        except (KeyError, TypeError, AttributeError):
            continue  # of another version, or damaged: the next start asks again
    if found:
        out.print()
        print_servers(found, out)


def print_servers(found: Mapping[str, Capabilities], out: Console) -> None:
    """A row a question, a column a model."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("server of", no_wrap=True)
    columns = {name: _facts(able) for name, able in found.items()}
    for name in columns:
        table.add_column(name, overflow="fold")
    for fact in next(iter(columns.values())):
        table.add_row(fact, *(Text(column[fact]) for column in columns.values()))
    out.print(table)


def _facts(able: Capabilities) -> dict[str, str]:
    play = modes(able)
    listed = {True: "listed", False: "an alias: not listed, but answers", None: "the server has no list"}
    tokens = {
        "vllm": "counts, as vLLM",
        "llama.cpp": "counts, as llama.cpp",
        "none": "none: 3 bytes a token",
    }
    schema = {"obeyed": "obeyed", "ignored": "ignored: outputs are only checked", "refused": "refused"}
    logprobs = f"{able.top_logprobs} a token" if able.top_logprobs else "none"
    of_choice = "" if not able.top_logprobs else f", of choices {'too' if able.choice_logprobs else 'not'}"
    if able.digits_hold is not None:
        of_choice += f", but as if unconstrained (digits hold {able.digits_hold:.0%})"
    return {
        "owner": able.owner or "not told",
        "name": listed[able.listed],
        "context": f"{able.context} tokens" if able.context else "not told",
        "reads": f"{able.cut_at} tokens of a prompt, and cuts the rest without a word" if able.cut_at else "all",
        "tokenizer": tokens[able.tokenizer],
        "choices": able.choices if able.choices != "none" else "none: read as they come",
        "JSON schemas": schema[able.json_schema],
        "log-probabilities": logprobs + of_choice,
        "of prompts": "yes" if able.prompt_logprobs else "no",
        "draws by": _draws(able.drawing),
        "fills in": _fills(able.drawing),
        "refuses": ", ".join(able.refused) or "nothing that is sent",
        "rates by": ", ".join(mode for mode, lack in play.items() if lack is None),
        "not by": "; ".join(f"{mode}: no {lack}" for mode, lack in play.items() if lack) or "-",
        "requests": str(able.requests),
    }


def _draws(drawing: Drawing | None) -> str:
    """Which sampling parameters the settings decide there."""
    if drawing is None:
        return "what the settings say"
    if drawing.draws is not True:
        return "not told: it takes no temperature" if drawing.draws is None else "nothing: it never draws"
    sent = ", ".join(dict.fromkeys(drawing.sent_as.values()))
    unknown = f"it takes no {', '.join(drawing.unknown)}" if drawing.unknown else ""
    return "; ".join(filter(None, ("temperature, top_p" + f", {sent}" * bool(sent), unknown)))


def _fills(drawing: Drawing | None) -> str:
    """What the server would have by itself, and what becomes of it."""
    if drawing is None:
        return "nothing: started so"
    kept = drawing.open
    told = [f"{name} = {value}{'' if name in kept else ' (ours is sent)'}" for name, value in drawing.fills_in.items()]
    told += ["not told of what it does not take"] * bool(drawing.unknown and not kept)
    return "; ".join(told) or "nothing that ours does not override"
