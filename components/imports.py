"""The project's files that a step's result depends on, from the graph of imports (those within functions included).

A stage of dvc.yaml lists their paths, and the key of a finished training holds the hash of their contents. The rooms in `CANNOT_CHANGE_A_RESULT` state, run, watch and record a step, copy bytes, or hold a model that no stage names.
They are left out, with everything that is imported only through them.
"""

import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.runtime.files import sha256

if TYPE_CHECKING:
    from grimp import ImportGraph

ROOT = Path(__file__).parents[1]
"""The folder of the packages: a clone, or where the package is installed."""
PACKAGES = ("cascade_clip", "cascade_core", "components")
CANNOT_CHANGE_A_RESULT = (
    "cascade_core.shipped",
    "components.cluster",
    "components.contract",
    "components.servers.patience",
    "components.progress",
    "components.storage",
    "components.tracking",
)
FILES_READ_BY = {"components.results.pages": "components/results/templates"}
"""Folders that a module reads without importing them."""
MOST = 0.5
"""A room's folder stands for its modules if at least this share of them is imported."""


def imported_by(step: str) -> set[str]:
    """Return the modules that the result of a step, such as `train`, depends on, including the step's own."""
    module = f"components.steps.{step}"
    return {module, *_graph().find_upstream_modules(module)}


def code_of(step: str) -> list[str]:
    """Return the paths of the modules of `imported_by`: a room's folder if most of it is imported, single files otherwise."""
    modules = imported_by(step)
    paths = {path for package in PACKAGES for path in _paths_within(package, modules)}
    return sorted(paths | {FILES_READ_BY[module] for module in modules & set(FILES_READ_BY)})


def code_hash(step: str) -> str:
    """Return a hash of the modules of `imported_by`, over their names and sources; a commit that changes none keeps it."""
    modules = sorted(imported_by(step))
    lines = [f"{module}\0{sha256(ROOT / _file(module))}\n" for module in modules]
    lines += [
        f"{path}\0{sha256(ROOT / path)}\n" for module, path in FILES_READ_BY.items() if module in modules
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _paths_within(package: str, modules: Collection[str]) -> Iterator[str]:
    """Yield the paths of those `modules` that are the package or lie below it."""
    below = _graph().find_descendants(package)
    imported = below & set(modules)
    if imported and package not in PACKAGES and len(imported) >= MOST * len(below):
        yield package.replace(".", "/")
        return
    if package in modules:
        yield _file(package)
    for child in _graph().find_children(package):
        yield from _paths_within(child, modules)


def _file(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin).relative_to(ROOT).as_posix()


@cache
def _graph() -> "ImportGraph":
    from grimp import build_graph

    graph = build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    for room in CANNOT_CHANGE_A_RESULT:
        for module in (room, *graph.find_descendants(room)):
            graph.remove_module(module)
    return graph
