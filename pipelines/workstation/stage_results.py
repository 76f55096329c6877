"""What a stage of the workflow found, in a line: read from the folder that it wrote."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cascade_core.runtime.files import read_json, read_text
from cascade_core.runtime.yaml_text import parse_yaml
from components.progress import rate_text
from components.registry.decisions import DECISION_FILE
from components.results.names import HISTORY_FILE, PROFILE_FILE, SCORES, SCORES_FILE
from components.steps.register import MODEL_FILE
from pipelines.graphs.project import Project

LOCK = Path("dvc.lock")


def result_lines(targets: Sequence[str], lock: Path = LOCK) -> Iterator[str]:
    """Yield a line for each stage among the targets: its name and its result, or else its folder.

    A target such as `train` stands for the stages of all recipes, `train@zegclip` and so on. Without a record nothing ran.
    """
    if not lock.is_file():
        return
    stages = parse_yaml(read_text(lock, "record of stages"), str(lock))["stages"]
    chosen = {
        name: stage
        for target in targets
        for name, stage in stages.items()
        if name == target or name.startswith(f"{target}@")
    }
    width = max((len(name) for name in chosen), default=0)
    for name, stage in chosen.items():
        folder = Path(stage["outs"][0]["path"])
        yield f"{name:<{width}}  {_result(folder) or folder}"


def verdict_lines(project: Project[Any], registered: Path = Path("outputs/register")) -> Iterator[str]:
    """Yield a line for each model of the project that its workflow registered: version, and the gate's verdict."""
    settings = ["inductive", *(["transductive"] if project.self_training != "none" else [])]
    files = [
        registered / f"{recipe}-{setting}" / MODEL_FILE for recipe in project.recipes for setting in settings
    ]
    models = [read_json(file) for file in files if file.is_file()]
    for model in sorted(models, key=lambda model: (model["name"], model["version"])):
        yield f"{model['uri']} {'promoted' if model['champion'] else 'not promoted'}: {model['reason']}"


def _result(folder: Path) -> str | None:
    if (file := folder / SCORES_FILE).is_file():
        scores = read_json(file)
        return ", ".join(f"{title} {_percent(scores[name])}" for name, title in SCORES.items())
    if (file := folder / DECISION_FILE).is_file():
        decision = read_json(file)
        return f"{'promote' if decision['promote'] else 'keep the champion'}: {decision['reason']}"
    if (file := folder / MODEL_FILE).is_file():
        model = read_json(file)
        return f"{model['uri']}{', the champion' if model['champion'] else ''}: {model['reason']}"
    if (file := folder / PROFILE_FILE).is_file():
        cost = read_json(file)
        return f"{cost['gmacs']:.3g} GMACs, {rate_text(cost['images_per_second'])} img/s"
    if (file := folder / HISTORY_FILE).is_file():
        rows = list(csv.DictReader(read_text(file, "loss curve").splitlines()))
        if not rows:
            return "made of CLIP as it is, without training"
        last = rows[-1]
        return f"loss {float(last['loss']):.3f} after {last['iteration']} iterations"
    return None


def _percent(fraction: Any) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
