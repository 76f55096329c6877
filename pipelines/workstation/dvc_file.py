"""Writes dvc.yaml, the workflow on one workstation: `python -m pipelines.workstation.dvc_file`.

It follows from the graph (`pipelines/graphs`), the steps' statements, what these import, and the keys of the
section `recipes` in params.yaml. Whoever changes one of them writes it anew; a test fails until then.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cascade_core.runtime.files import new_file
from components.results.margins import Margins
from components.results.names import HISTORY_FILE, SCORES_FILE
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured, made_ready, offered, reported, self_trained, trained
from pipelines.workstation.stages import KEY, Stages

WORKFLOW, PARAMETERS = Path("dvc.yaml"), Path("params.yaml")
PER_CLASS_FILE = "per_class.csv"
WIDTH = 95
HEAD = """\
# The workflow on one workstation: `cascade-clip run`, or `dvc repro --pull` with .venv/bin on the PATH.
# Made by `python -m pipelines.workstation.dvc_file` from the graph in pipelines/graphs and the steps' statements.
# Stages depend on the files they read, not on the manifests beside them: those name the commit, which may
# change where nothing else does. The code they depend on is what their step imports.
"""


class _Written(yaml.SafeDumper):
    """Indents lists below their key, and folds commands."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists too."""
        super().increase_indent(flow, indentless=False)


class _Command(str):
    """A text that is folded over lines."""


_Written.add_representer(
    _Command, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=">")
)


def workflow(recipes: Sequence[str]) -> dict[str, Any]:
    """Give what dvc.yaml holds, with these keys of the section `recipes` of params.yaml."""
    do = Stages()
    data = made_ready(
        do,
        Data(raw=PurePosixPath("${data.raw}"), clip=PurePosixPath("${data.clip}")),
        protocol="${protocol}",
        image_sets={split: f"${{data.image_sets.{split}}}" for split in ("train", "val", "test")},
        vectors={"recipe": f"${{recipes.{recipes[0]}}}", "overrides": PARAMETERS},
    )
    each, scoring = do.for_every("${recipes}"), {"split": "${evaluate.split}"}
    inductive = trained(each, data, recipe="${item}", overrides=PARAMETERS, seed="${seed}", scoring=scoring)
    transductive = self_trained(
        each, data, inductive, mode="${self_training}", overrides=PARAMETERS, scoring=scoring
    )
    margins = {name: f"${{gate.{name}}}" for name in Margins.model_fields}
    offered(each, data, (inductive, transductive), margins)
    models = [_of(recipe, one) for recipe in recipes for one in (inductive, transductive)]
    reported(do, data, models)
    return {
        "stages": do.written,
        "metrics": [str(one.evaluation / SCORES_FILE) for one in models],
        "plots": list(_plots(recipes, models)),
    }


def text(content: dict[str, Any]) -> str:
    """Write it for people: a blank line between stages, long commands folded."""
    stages = {name: _folded(stage) for name, stage in content["stages"].items()}
    parts = [
        "stages:\n" + "\n".join(_indented(_yaml({name: stage})) for name, stage in stages.items()),
        _yaml({"metrics": content["metrics"]}),
        _yaml({"plots": content["plots"]}),
    ]
    return HEAD + "\n".join(parts)


def _of(recipe: str, one: Measured[PurePosixPath]) -> Measured[PurePosixPath]:
    """Give the folders of one recipe."""
    return Measured(*(PurePosixPath(str(path).replace(KEY, recipe)) for path in vars(one).values()))


def _plots(recipes: Sequence[str], models: Sequence[Measured[PurePosixPath]]) -> Iterator[dict[str, Any]]:
    """Draw all loss curves in one plot, and the classes of each inductive model."""
    curves = {str(one.model / HISTORY_FILE): "loss" for one in models}
    yield {"training loss": {"template": "smooth", "x": "iteration", "y": curves}}
    for recipe, one in zip(recipes, models[::2], strict=True):
        classes = {str(one.evaluation / PER_CLASS_FILE): "class"}
        yield {f"IoU per class, {recipe} inductive": {"template": "bar_horizontal", "x": "iou", "y": classes}}


def _folded(stage: dict[str, Any]) -> dict[str, Any]:
    if "do" in stage:
        return {**stage, "do": _folded(stage["do"])}
    return {**stage, "cmd": _Command(stage["cmd"])}


def _yaml(content: dict[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Written, sort_keys=False, width=WIDTH)


def _indented(lines: str) -> str:
    return "".join(f"  {line}" for line in lines.splitlines(keepends=True))


if __name__ == "__main__":
    parameters = yaml.safe_load(PARAMETERS.read_text())
    with new_file(WORKFLOW) as path:
        path.write_text(text(workflow(list(parameters["recipes"]))))
