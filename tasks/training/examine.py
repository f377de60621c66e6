"""Look a model over before it is asked anything: can it be served, and can it be trained? Runtime environment.

    RUNTIME_PYTHON examine.py MODEL REPORT.json [--trust-remote-code]

Nothing is computed with the weights: they are looked up by name on torch's meta device, and read once for what is no
number. What is wrong becomes a line, with its mend, under `load` (nothing can be done with it), `chat` (it cannot be
spoken with) or `train` (it can be served, not trained).
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started by path: its own folder has an openrlhf.py, and is not to be searched
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tasks.training.token_ids import ANSWER, PROBLEM, TokenIds, Unfit, first_line, load_tokenizer, stop_ids

MESSAGES = [{"role": "user", "content": PROBLEM}]
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
_STRETCHED = ("linear", "dynamic", "yarn")  # a factor that the number of positions does not include yet
_LAYER = re.compile(r"(?:layers|h|blocks)\.(\d+)\.")
ALL_BYTES = 32 * 2**30  # of weights that are read whole
BEGINNING = 1024  # rows of a tensor beyond that
# what a finished model takes over from its parent by these beginnings must be files
_NAMES_OF_FILES = ("tokenizer*", "chat_template.jinja", "chat_template.json", "vocab*", "*.model", "*.py")


class Stop(Exception):
    """What follows would only fail for the same reason."""


class Examination:
    """Collects what is found."""

    def __init__(self, model: Path, trust_remote_code: bool) -> None:
        self.model, self.trust = model, trust_remote_code
        self.report: dict[str, Any] = {"load": [], "chat": [], "train": [], "facts": {}, "pair": [], "prompt_ids": []}

    def wrong(self, kind: str, text: str) -> None:
        """Note what is wrong."""
        self.report[kind].append(text)

    def know(self, **facts: Any) -> None:
        """Note what is so."""
        self.report["facts"] |= facts

    def all(self) -> dict[str, Any]:
        """The report; never raises."""
        steps: tuple[Callable[[], None], ...] = (self.files, self.code, self.architecture, self.weights, self.words)
        for step in steps:
            try:
                step()
            except Stop:
                break
            except Exception as problem:
                self.wrong("load", f"it could not be examined ({step.__name__}): {_said(problem)}")
                break
        return self.report

    def files(self) -> None:
        """Folders where a model has files."""
        folders = {path.name for pattern in _NAMES_OF_FILES for path in self.model.glob(pattern) if path.is_dir()}
        for name in sorted(folders):
            self.wrong("train", f"{name} is a folder with the name of a model's file: move it out, or rename it")
        try:
            found = json.loads((self.model / "config.json").read_text(encoding="utf-8"))
        except ValueError as problem:
            found = str(problem)
        if not isinstance(found, dict):
            why = found if isinstance(found, str) else f"it holds a {type(found).__name__}"
            self.wrong("load", f"its config.json is no JSON object ({why}): fetch it again")
            raise Stop
        self._configuration = found

    def code(self) -> None:
        """Code that came with the model."""
        settings = _json(self.model / "tokenizer_config.json")
        named = {**(self._configuration.get("auto_map") or {}), **(settings.get("auto_map") or {})}
        self.know(code_of_its_own=sorted({str(one).split("--")[-1] for one in named.values()}))
        if named and not self.trust:
            self.wrong(
                "load",
                "it brings Python code of its own, which would run here: read it, and allow it with "
                "models.NAME.trust_remote_code = true; where the library knows the architecture, take auto_map out of "
                "its config.json and tokenizer_config.json instead",
            )
            raise Stop

    def architecture(self) -> None:
        """Whether the trainer would build the class that the weights are of."""
        from transformers import AutoConfig, AutoModelForCausalLM

        try:
            self.config = AutoConfig.from_pretrained(self.model, trust_remote_code=self.trust)
        except Exception as problem:
            self.wrong("load", f"its configuration does not load: {_said(problem)}")
            raise Stop from problem
        stated = list(getattr(self.config, "architectures", None) or [])
        quantized = (self._configuration.get("quantization_config") or {}).get("quant_method")
        self.know(
            model_type=self.config.model_type, architectures=stated, quantization=quantized, positions=self._positions()
        )
        before = len(self.report["train"])
        if quantized or "quantization_config" in self._configuration:
            self.wrong(
                "train",
                f"its weights are quantized ({quantized or 'quantization_config'}), which cannot be trained: take the "
                "model that they were made from",
            )
        if getattr(self.config, "is_encoder_decoder", False):
            self.wrong("train", f"{_of(stated)} is an encoder with a decoder; take a model that goes on with a text")
        elif type(self.config) in AutoModelForCausalLM._model_mapping:
            built = AutoModelForCausalLM._model_mapping[type(self.config)]
            names = {one.__name__ for one in (built if isinstance(built, tuple) else (built,))}
            if stated and not names & set(stated):
                self.wrong(
                    "train",
                    f"its weights are of {_of(stated)}, and the trainer would build {_of(sorted(names))}, with what is "
                    "missing drawn at random: take a model for text generation (…ForCausalLM)",
                )
        elif "AutoModelForCausalLM" in (self._configuration.get("auto_map") or {}):
            self.wrong(
                "train", f"{self.config.model_type} is known to its own code alone: it can be served, not trained"
            )
        else:
            self.wrong("train", f"{self.config.model_type} is no language model that the trainer knows")
        self.buildable = len(self.report["train"]) == before

    def weights(self) -> None:
        """Every tensor there, in its shape; nothing is read but the files' tables of contents."""
        from transformers import AutoModelForCausalLM

        if not self.buildable:
            return
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                self.model, device_map="meta", dtype="auto", output_loading_info=True, ignore_mismatched_sizes=True,
                trust_remote_code=self.trust,
            )  # fmt: skip
        except Exception as problem:
            self.wrong("load", f"its weights do not load: {_said(problem)}")
            return
        for kind, names in (("missing", found["missing_keys"]), ("of another shape", found["mismatched_keys"])):
            if names:
                first = min(str(one[0] if isinstance(one, tuple) else one) for one in names)
                self.wrong("load", f"{len(names)} of its weights are {kind}, the first: {first}; fetch it again")
        if found["unexpected_keys"]:
            self.know(unexpected_weights=sorted(found["unexpected_keys"])[:5])
            self._left_over(found["unexpected_keys"])
        if not self.report["load"]:
            self._numbers(model)
        rows = model.get_input_embeddings().weight.shape[0]
        self.know(parameters=sum(one.numel() for one in model.parameters()), embedding_rows=int(rows))
        try:
            model.generation_config.validate(strict=True)
        except ValueError as problem:
            self.wrong(
                "train", f"its generation_config.json cannot be saved again: {' '.join(str(problem).split())[:200]}"
            )

    def _left_over(self, names: Any) -> None:
        """Layers that the configuration does not know of: without them a part of the model would answer."""
        text = self.config.get_text_config()
        layers = getattr(text, "num_hidden_layers", None)
        more = {int(found[1]) for found in map(_LAYER.search, names) if found}
        if layers and more and max(more) >= layers and not getattr(text, "num_nextn_predict_layers", None):
            self.wrong(
                "load",
                f"its weights have {max(more) + 1} layers, and its config.json says {layers}: take the config.json "
                "that belongs to them",
            )

    def _numbers(self, model: Any) -> None:
        """Weights that are no numbers, or all zero, as broken exports leave them; and a head that would be ignored."""
        import torch

        stored = Stored(self.model)
        broken, matrices, full = [], 0, 0
        for name, tensor in stored.tensors():
            if tensor.is_floating_point() and tensor.element_size() > 1:
                if not torch.isfinite(tensor).all():
                    broken.append(name)
                if tensor.dim() == 2:
                    matrices, full = matrices + 1, full + bool(tensor.any())
        if broken:
            self.wrong("load", f"{len(broken)} of its weights hold NaN or infinite numbers, the first: {min(broken)}")
        elif matrices and not full:
            self.wrong("load", "its weights are all zero, as an export of sharded weights leaves them (ZeRO-3)")
        if getattr(self.config, "tie_word_embeddings", False) and not self._tied(model, stored):
            self.wrong(
                "load",
                "its head is not its embedding, and config.json says that they are one: set tie_word_embeddings to "
                "false there, or a server and the trainer may take either",
            )

    def _tied(self, model: Any, stored: "Stored") -> bool:
        """Whether head and embedding are the same where both are stored."""
        ends = (model.get_output_embeddings(), model.get_input_embeddings())
        names = [next((name for name, one in model.named_modules() if one is end), "") for end in ends]
        head, table = (stored.one(f"{name}.weight") for name in names)
        return head is None or table is None or bool(head.shape == table.shape and (head == table).all())

    def words(self) -> None:
        """Tokenizer and template: does a conversation become ids as the server makes them?"""
        try:
            tokenizer = load_tokenizer(str(self.model), self.trust)
        except Unfit as problem:
            self.wrong("chat" if "no chat template" in str(problem) else "load", str(problem))
            return
        largest = max(tokenizer.get_vocab().values())
        self.know(tokens=len(tokenizer), largest_id=largest)
        rows = self.report["facts"].get("embedding_rows")
        if rows is not None and largest >= rows:
            self.wrong(
                "load",
                f"its tokenizer gives ids up to {largest}, and its embedding has {rows} rows: take the tokenizer that "
                "belongs to it, or enlarge the embedding (resize_token_embeddings)",
            )
            return
        try:
            self._conversation(TokenIds(tokenizer, stop_ids(self.model)))
        except Unfit as problem:
            self.wrong("chat", str(problem))

    def _conversation(self, ids: TokenIds) -> None:
        """A problem and an answer, token by token."""
        prompt = ids.prompt(MESSAGES)
        if PROBLEM not in prompt[0]:
            self.wrong("chat", "its chat template leaves out a part of what the user says: use another template")
            return
        answer = ids.answer(prompt, ANSWER)
        read = ids.text(answer[:-1])
        if sum(word in read.casefold() for word in ANSWER.casefold().split()) * 2 < len(ANSWER.split()):
            self.wrong(
                "load",
                f"its tokenizer reads {ANSWER!r} as {read[:60]!r}: its vocabulary (tokenizer.json, tokenizer.model) is "
                "not there",
            )
            return
        if ids.no_beginning:
            self.wrong(
                "chat",
                f"its chat template leaves the beginning of an answer out of the prompt ({ids.no_beginning!r}), so the "
                "model would have to write it: add it under {% if add_generation_prompt %}",
            )
        self.report["prompt_ids"] = prompt[1]
        self.report["pair"] = [
            {"id": number, "token": ids.token(number), "loss": loss}
            for numbers, loss in ((prompt[1], False), (answer, True)) for number in numbers
        ]  # fmt: skip
        end = ids.end
        self.know(
            end_of_turn=end.token, end_of_turn_id=end.id, end_of_template=end.of_template,
            ends_an_answer=end.id in ids.stops, opens_thoughts=ids.opens_thoughts,
        )  # fmt: skip
        if ids.typed(answer):
            self.wrong("train", f"its tokenizer makes the control token {ids.typed(answer)} of plain words")
        if read.strip() != ANSWER:
            self.know(answer_reads=read)

    def _positions(self) -> int | None:
        """Positions that the model was made for; None where it does not say."""
        text = self.config.get_text_config()
        found = next((getattr(text, name) for name in _POSITIONS if isinstance(getattr(text, name, None), int)), None)
        rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
        if found is None or found <= 0 or not isinstance(rope, dict):
            return found if found and found > 0 else None
        before = rope.get("original_max_position_embeddings")
        if (rope.get("rope_type") or rope.get("type")) in _STRETCHED and before in (None, found):
            return int(found * (rope.get("factor") or 1))
        return int(found)


class Stored:
    """The weights in a model's files, one at a time; of a model beyond `ALL_BYTES` the beginning of each tensor."""

    def __init__(self, model: Path) -> None:
        self._files = sorted(model.glob("*.safetensors"))
        self._old = [] if self._files else sorted(model.glob("pytorch_model*.bin"))
        self._all = sum(path.stat().st_size for path in (*self._files, *self._old)) <= ALL_BYTES

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """(name, tensor)."""
        from safetensors import safe_open

        for path in self._files:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 -- not a dict
                    yield name, file.get_tensor(name) if self._all else file.get_slice(name)[:BEGINNING]
        for path in self._old:
            for name, tensor in _bin(path).items():
                yield name, tensor if self._all else tensor[:BEGINNING]

    def one(self, wanted: str) -> Any:
        """A tensor by its name, as far as `tensors` gives it; None where there is none."""
        return next((tensor for name, tensor in self.tensors() if name == wanted), None)


def _bin(path: Path) -> dict[str, Any]:
    import torch

    return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))


def _of(names: list[str]) -> str:
    return " or ".join(names) or "an unknown kind"


def _said(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {first_line(problem)}"[:300]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
    return found if isinstance(found, dict) else {}


def main() -> None:
    """Write the report, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    args = parser.parse_args()
    report = Examination(args.model, args.trust_remote_code).all() | {"messages": MESSAGES}
    temporary = args.report.with_name(f"{args.report.name}.tmp")
    temporary.write_text(json.dumps(report, indent=1))
    temporary.replace(args.report)


if __name__ == "__main__":
    main()
