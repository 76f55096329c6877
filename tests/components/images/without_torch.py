"""A program: do the work of the light image without torch, and print the results as JSON.

`python without_torch.py FOLDER` needs a folder with the raw data `raw`, a training's manifest in
`train/final`, its `train/history.csv`, the folders `evaluate` and `profile` of a model's scores and speed, and an
empty store.
"""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path

NOT_THERE = ("torch", "torchvision", "torchmetrics", "open_clip", "timm", "triton", "nvidia", "dvc")


class Without(MetaPathFinder):
    """Refuses to import the packages in `NOT_THERE`, as if they were not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in NOT_THERE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def imported_by_light_steps() -> list[str]:
    """Do all the imports of every step that the resources table puts into the light image; give the steps."""
    from components.ops import prediction, results, retention, runs, stated
    from pipelines.kubeflow.resources import RESOURCES

    light = [name for name, row in RESOURCES["gpu"].items() if row.image == "light"]
    for name in light:
        (component,) = (
            vars(module)[name]
            for module in (prediction, results, retention, runs, stated)
            if name in vars(module)
        )
        body = ast.parse(textwrap.dedent(inspect.getsource(component.python_func))).body[0]
        imports = [node for node in ast.walk(body) if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), name, "exec"), {})
    return light


def run_steps(folder: Path) -> dict[str, object]:
    """Run the steps that need no model, on the data in `folder`."""
    from components.registry.champions import known_champions
    from components.retention import pruning
    from components.steps import benchmark_rerun, cross_dataset, gate, prepare, report, splits
    from components.tracking import kubeflow_run, pipeline_run

    run = kubeflow_run.open_run(pipeline="zero_shot", protocol="mini-18-6", kfp_run="run-1")
    pipeline_run.join(run)
    scored, cost = folder / "evaluate", folder / "profile"
    made = prepare.run(
        raw=folder / "raw",
        protocol="mini-18-6",
        image_sets={"train": "train"},
        out=folder / "prepared",
    )
    split = splits.run(prepared=folder / "prepared", protocol="mini-18-6", out=folder / "splits").split
    decided = gate.run(evaluation=scored, out=folder / "gate")
    page = report.run(
        evaluations=[scored], profiles=[cost], trainings=[folder / "train"], out=folder / "report"
    ).page
    targets = cross_dataset.run(evaluations=[scored], out=folder / "targets").page
    rerun = benchmark_rerun.run(
        evaluations=[scored], profiles=[cost], thresholds=THRESHOLDS, out=folder / "rerun"
    )
    kubeflow_run.close(kfp_run="run-1", protocol="mini-18-6", state="SUCCEEDED", error=None)
    return {
        "pictures": made.pictures,
        "unseen": len(split.unseen),
        "promote": decided.promote,
        "pages": [page.is_file(), targets.is_file()],
        "outcome": rerun.outcome,
        "old results": pruning.prune_and_describe(keep=1),
        "champions": known_champions(["mini_zegclip"]),
    }


THRESHOLDS = {
    "max_drop_points": {"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    "max_slowdown_share": 0.3,
    "confidence": 0.95,
}


def commands() -> list[object]:
    """Call the help, and a command that needs torch; return both exit codes and the error."""
    from typer.testing import CliRunner

    from pipelines.cli.app import app

    helped = CliRunner().invoke(app, ["--help"])
    arguments = [
        "text-vectors",
        "--protocol",
        "mini-18-6",
        "--recipe",
        "mini_zegclip",
        "--clip",
        ".",
        "--out",
        "out",
    ]
    refused = CliRunner().invoke(app, arguments)
    return [helped.exit_code, refused.exit_code, refused.stderr]


if __name__ == "__main__":
    sys.meta_path.insert(0, Without())
    results = {"steps": imported_by_light_steps(), "commands": commands()}
    print(json.dumps(results | run_steps(Path(sys.argv[1]))))
