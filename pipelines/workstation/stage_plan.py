"""The plan of a workflow: which stages of dvc.yaml to consider, what each needs, and which run in any case."""

import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import Stage

from cascade_core.clip.files import WEIGHTS_FILE
from cascade_core.clip.home import clip_folder
from cascade_core.configs.overrides import read_parameters
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file, read_label_file
from cascade_core.runtime.files import read_json
from components.inputs.split import SPLIT_FILE
from components.launching.warm_interpreter import own_words
from components.steps import evaluate, fit_thresholds, gate, profile, register, self_train, splits, train
from pipelines.workstation.dvc_file import PARAMETERS, WORKFLOW, stage_folder
from pipelines.workstation.side_by_side import Part

log = logging.getLogger(__name__)

TRAININGS = {train.run.command, self_train.run.command}
ON_A_MODEL = TRAININGS | {evaluate.run.command, profile.run.command, fit_thresholds.run.command}
IN_THE_REGISTRY = {gate.run.command, register.run.command}
LEAST_MEMORY = 3 * 2**29
MEMORY_PER_WEIGHT = 16
"""A stage counts as if it needed `LEAST_MEMORY` and this many times the bytes of CLIP's weights."""


@dataclass(frozen=True)
class Plan:
    """The stages in DVC's order, and how they run.

    Attributes:
        forced: stages that run even if DVC sees no change; `without_run_cache` those for which it takes no earlier result.
        missing: the `*.dvc` files whose data lack files.
        memory: bytes that must be free for another stage.
    """

    parts: list[Part]
    forced: frozenset[str]
    without_run_cache: frozenset[str]
    missing: list[str]
    memory: int


def make_plan(repo: Repo, targets: Sequence[str], *, force: bool) -> Plan:
    """Plan the stages of the targets and their dependencies; the caller holds the repository's lock.

    Raises:
        UserError: `data.clip` of params.yaml is no folder, or the label file cannot be read.
        DvcException: there is no such target, or dvc.yaml is wrong.
    """
    parameters = read_parameters(PARAMETERS)
    clip = Path(parameters.get("data", {}).get("clip", ""))
    if clip_folder(clip) != clip:
        raise UserError(
            f"{PARAMETERS}: data.clip is {clip}; DVC needs the folder itself: {clip_folder(clip)}"
        )
    graph = get_active_graph(repo.index.graph)
    order = plan_repro(graph, collect_stages(repo, targets or [str(WORKFLOW)]))
    stages = [stage for stage in order if stage.cmd is not None]
    needs = {stage.addressing: {other.addressing for other in graph.successors(stage)} for stage in stages}
    readers = _readers_of_label_file(stages, str(parameters.get("protocol")))
    if splits.run.name in readers:
        # Its output records the label file; until it is there, the other readers count as stale.
        needs[splits.run.name] |= {*readers} - {splits.run.name}
    for names in by_model_name(stages, parameters).values():
        for before, after in pairwise(names):
            needs[after].add(before)
    device = "gpu" if _has_gpu() else None
    weights = clip / WEIGHTS_FILE
    return Plan(
        parts=[
            Part(
                stage.addressing,
                frozenset(needs[stage.addressing]),
                long=_command(stage) in TRAININGS,
                device=device if _command(stage) in ON_A_MODEL else None,
                alone=_command(stage) == profile.run.command,
            )
            for stage in stages
        ],
        forced=frozenset(needs if force else readers if readers and _changed(parameters["protocol"]) else ()),
        without_run_cache=frozenset(readers),
        missing=_missing_data(repo, [stage for stage in order if stage.cmd is None]),
        memory=LEAST_MEMORY + MEMORY_PER_WEIGHT * (weights.stat().st_size if weights.is_file() else 0),
    )


def _command(stage: Stage) -> str:
    """Return the name of the command of this package that a stage calls; "" for another program."""
    words = own_words(str(stage.cmd)) or [""]
    return words[0]


def _readers_of_label_file(stages: Sequence[Stage], protocol: str) -> list[str]:
    """Return the stages that read the label file; none if dvc.yaml names the file, so that DVC itself watches it."""
    named = {dependency.def_path for stage in stages for dependency in stage.deps}
    if not is_label_file(protocol) or protocol in named:
        return []
    return [stage.addressing for stage in stages if f"--protocol={protocol}" in stage.cmd]


def _changed(label_file: str) -> bool:
    """Return whether the label file differs from the one that the output of the splits stage records."""
    split_file = Path(stage_folder(splits.run)) / SPLIT_FILE
    before = read_json(split_file).get("own") if split_file.is_file() else None
    return bool(before != read_label_file(Path(label_file)).model_dump(mode="json"))


def by_model_name(stages: Sequence[Stage], parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the stages that read or change the registry, by the name there of their models, in DVC's order.

    Those of one name run one after the other: each is about the champion that the ones before left.
    """
    methods = {key: recipe(name).method for key, name in parameters.get("recipes", {}).items()}
    by_name: dict[str, list[str]] = defaultdict(list)
    for stage in stages:
        if _command(stage) in IN_THE_REGISTRY:
            key = stage.addressing.rpartition("@")[2]
            by_name[parameters.get("task") or methods.get(key, "")].append(stage.addressing)
    return by_name


def _has_gpu() -> bool:
    """Return whether there may be a GPU, without torch: NVIDIA's program, or the device of AMD's driver."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return not hidden and (shutil.which("nvidia-smi") is not None or Path("/dev/kfd").exists())


def _missing_data(repo: Repo, sources: Sequence[Stage]) -> list[str]:
    """Return the `*.dvc` files whose data lack files, as after an interrupted pull; warn of other differences."""
    missing = []
    for source in (source for source in sources if source.changed_outs()):
        paths = [out.def_path for out in source.outs]
        changes = repo.data_status(targets=paths, granular=True).get("uncommitted", {})
        kinds = {kind for kind, files in changes.items() if any(not file.endswith("/") for file in files)}
        if kinds == {"deleted"}:
            missing.append(source.relpath)
        elif kinds:
            log.warning(
                "%s differs from what %s records (files %s); the stages read the folder as it is; "
                "to record the difference, run `dvc add %s`",
                *(paths[0], source.relpath, ", ".join(sorted(kinds)), paths[0]),
            )
    return missing
