"""Check answers to IFEval by lm-eval's own checkers. Runs in the runtime environment.

    RUNTIME_PYTHON ifeval_check.py ANSWERS.json VERDICTS.json

Every instruction of an answer is followed (strict, loose) or not, or could not be checked: some need language data of
nltk (punkt_tab), which is not fetched here: put it into a folder that NLTK_DATA names.
"""

import json
import sys
from pathlib import Path
from typing import Any

MISSING = 3  # exit code: lm-eval is not installed here


def checkers() -> Any:
    """lm-eval's module with both checks. It would download nltk's data when it is imported: nobody asked for that."""
    import langdetect
    import nltk

    nltk.download = lambda *_, **__: False
    langdetect.DetectorFactory.seed = 0  # else the same text is told to be of another language now and then
    from lm_eval.tasks.ifeval import utils

    return utils


def verdict(utils: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Of each instruction: strict, loose, or why it could not be checked."""
    checked = []
    for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        one = utils.InputExample(row["key"], [name], row["prompt"], [arguments])
        try:
            strict = utils.test_instruction_following_strict(one, row["response"]).follow_all_instructions
            loose = utils.test_instruction_following_loose(one, row["response"]).follow_all_instructions
            checked.append({"instruction": name, "strict": strict, "loose": loose, "problem": None})
        except LookupError as error:  # nltk's data, or an instruction that these checkers do not know
            known = name in utils.instructions_registry.INSTRUCTION_DICT
            problem = "needs nltk's punkt_tab" if known else f"unknown instruction: {error}"
            checked.append({"instruction": name, "strict": None, "loose": None, "problem": problem})
    return {"key": row["key"], "instructions": checked}


def main(answers: Path, verdicts: Path) -> int:
    """Write one verdict an answer."""
    try:
        utils = checkers()
    except ImportError as error:
        print(f"{error}", file=sys.stderr)
        return MISSING
    rows = json.loads(answers.read_text(encoding="utf-8"))
    verdicts.write_text(json.dumps([verdict(utils, row) for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
