"""Which settings do not suit the languages of a corpus: said before, and after, a model is asked."""

from collections.abc import Mapping

from schemas.config import Config
from tasks.prompts import task_types
from tasks.texts.phrases import KNOWN_LANGUAGES

LEAST_SHARE = 0.05  # of the documents: what is rarer is not spoken of
ENGLISH_ONLY = ("smollm", "smollm2")  # families of models that were trained on English text alone
ENGLISH_SUITES = ("ifeval", "lm_eval")


def unsuited(languages: Mapping[str, int], config: Config) -> list[str]:
    """One line for each setting that does not suit a language; `languages` are documents by `language_of`."""
    documents = sum(languages.values())
    foreign = {
        name: count for name, count in languages.items() if name != "English" and count >= LEAST_SHARE * documents
    }
    if not foreign:
        return []
    told = " and ".join(f"{count} in {name}" for name, count in sorted(foreign.items(), key=lambda item: -item[1]))
    lines = [f"{line} (of {documents} documents looked at, {told})" for line in _models(config)]
    if unknown := sorted(foreign.keys() - KNOWN_LANGUAGES):
        where = " and ".join(unknown)
        lines.append(f"problems that speak of their source, and refusals, are not recognised in {where}: read some")
    if config.task.type not in task_types():
        own = f"the prompts of task.type={config.task.type} are sent as they are"
        lines.append(f"{own}: say there in which language to write")
    if suites := [name for name in ENGLISH_SUITES if name in config.evaluation.suites]:
        lines.append(f"evaluation.suites: {' and '.join(suites)} ask in English")
    return lines


def _models(config: Config) -> list[str]:
    """The roles of models that write English only."""
    roles: dict[str, list[str]] = {}
    for role, name in config.roles.model_dump().items():
        path = (config.models[name].path or "").rstrip("/").rsplit("/", 1)[-1] if name in config.models else ""
        if path.casefold().split("-")[0] in ENGLISH_ONLY and config.engine.kind != "fake":
            roles.setdefault(f"models.{name}.path={path}", []).append(role)
    return [f"{model} was trained on English only and plays {', '.join(names)}" for model, names in roles.items()]
