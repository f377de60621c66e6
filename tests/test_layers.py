"""The map of the code: a folder imports from the lines below its own, never from above or beside."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (
    "flows.cli  flows.deploy",
    "flows",
    "flows.views",
    "tasks.evaluate",
    "tasks.evaluation",
    "tasks.train",
    "tasks.pair  tasks.probe",
    "tasks.answer  tasks.rate  tasks.rubric",
    "tasks.propose  tasks.shard",
    "tasks.judging",
    "tasks.asking",
    "tasks.staging",
    "tasks.models  tasks.auditing",
    "tasks.training  tasks.corpus  tasks.engine",
    "tasks.cluster",
    "tasks.runtime",
    "tasks.storage",
    "tasks.prompts  tasks.processes  tasks.texts",
    "schemas",
)
HEIGHT = {folder: -number for number, line in enumerate(LAYERS) for folder in line.split()}


def module_of(file: Path) -> str:
    """Dotted name of a file's module."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for top in ("schemas", "tasks", "flows") for file in (ROOT / top).rglob("*.py")}


def folder_of(module: str) -> str:
    """The longest name of the map that the module is, or lies in."""
    return max((name for name in HEIGHT if f"{module}.".startswith(f"{name}.")), key=len)


def imports_of(file: Path, everywhere: bool) -> set[str]:
    """The project's modules that a file imports: when it is loaded, or `everywhere`, inside functions too."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{name.name}" for name in node.names} & MODULES.keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & MODULES.keys() - {module_of(file)}


def upwards(module: str, imported: str) -> bool:
    """Whether the import leaves the map: to a folder above its own, or beside it."""
    here, there = folder_of(module), folder_of(imported)
    return here != there and HEIGHT[there] >= HEIGHT[here]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_below(module: str) -> None:
    wrong = [name for name in sorted(imports_of(MODULES[module], everywhere=True)) if upwards(module, name)]
    assert not wrong, f"{module} imports {', '.join(wrong)}: see LAYERS"


def test_no_module_waits_for_itself() -> None:
    graph = {module: imports_of(file, everywhere=False) for module, file in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # a circle raises CycleError


def test_the_map_sees_an_import_upwards_and_one_beside() -> None:
    assert upwards("tasks.storage.store", "tasks.staging.plan") and upwards("tasks.corpus.hub", "tasks.engine.client")
    assert not upwards("tasks.staging.plan", "tasks.storage.store")
