"""The files of this project that a step's result depends on, from the graph of imports.

Imports within functions count. Rooms that cannot change a result are left out, with all that is imported through
them alone: they state, run, watch and record a step, or bring bytes as they are.
"""

from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from grimp import ImportGraph, build_graph

PACKAGES = ("cascade_clip", "cascade_core", "components")
CANNOT_CHANGE_A_RESULT = (
    "components.cluster",
    "components.contract",
    "components.patience",
    "components.progress",
    "components.storage",
    "components.tracking",
)
READ_FILES = {"components.results.pages": "components/results/templates"}
"""Folders that a module reads and does not import."""
MOST = 0.5
"""Share of a room's modules from which on the room stands for them."""


def imported_by(step: str) -> set[str]:
    """Give the modules that the result of a step, such as `train`, depends on, its own among them."""
    module = f"components.steps.{step}"
    return {module, *_graph().find_upstream_modules(module)}


def code_of(step: str) -> list[str]:
    """Give the paths of what `imported_by` gives: a room's folder where most of it is imported, single files else."""
    modules = imported_by(step)
    read = {READ_FILES[module] for module in modules & set(READ_FILES)}
    return sorted({*read, *(path for package in PACKAGES for path in _within(package, modules, _graph()))})


def _within(package: str, modules: Collection[str], graph: ImportGraph) -> Iterator[str]:
    """Give the paths for those of `modules` that are a package or below it."""
    below = graph.find_descendants(package)
    wanted = below & set(modules)
    if wanted and package not in PACKAGES and len(wanted) >= MOST * len(below):
        yield package.replace(".", "/")
        return
    if package in modules:
        yield _file(package)
    for child in graph.find_children(package):
        yield from _within(child, modules, graph)


def _file(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, module
    root = Path(__file__).parents[2]
    return Path(spec.origin).relative_to(root).as_posix()


@cache
def _graph() -> ImportGraph:
    graph = build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    for room in CANNOT_CHANGE_A_RESULT:
        for module in (room, *graph.find_descendants(room)):
            graph.remove_module(module)
    return graph
