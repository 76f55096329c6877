"""Chains (a training and the evaluations that need it), run in parallel processes on this machine."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.settings import InferenceMap, SelfTrainingMode
from cascade_core.runtime.cores import usable_cores
from cascade_core.runtime.files import read_json, write_json
from components.artifacts.manifest import COMMIT_VARIABLE, data_hash, git_commit, input_hash
from components.contract import Step
from components.progress import progress
from components.registry import champions
from components.servers.own_variables import SWITCH_VARIABLE
from components.steps import evaluate
from pipelines.graphs.runner import Data, Runner
from pipelines.graphs.training import Measured, measure, self_train_and_score, train_and_measure

SECONDS_FILE = "seconds.json"
"""In the folder of a chain: the seconds that each step took, by the name of its folder."""


def step_folder(folder: Path, step: Step[Any, Any], setting: str, arguments: Mapping[str, Any]) -> Path:
    """Return the folder of a step's output, named after the step, its setting and its split."""
    return folder / "-".join(filter(None, (step.name, setting, arguments.get("split"))))


@dataclass(frozen=True)
class FolderRunner:
    """The runner of `pipelines/graphs` that calls each step here and writes below `folder`.

    A step whose folder exists is skipped, so an interrupted graph resumes. The time of each other step is kept.
    """

    folder: Path

    def __call__(
        self,
        step: Step[Any, Any],
        data: Data[Path],
        setting: str = "",
        *,
        after: Sequence[Path] = (),
        **arguments: Any,
    ) -> Path:
        """Run a step unless its folder exists, and return the folder."""
        out = step_folder(self.folder, step, setting, arguments)
        if not out.exists():
            start = time.monotonic()
            step(**data.step_arguments(step, arguments), **{step.output: out})
            file = self.folder / SECONDS_FILE
            earlier = read_json(file) if file.is_file() else {}
            write_json(file, {**earlier, out.name: round(time.monotonic() - start, 1)})
        return out


@dataclass(frozen=True)
class SelfTraining:
    """A self-training that continues a training: its mode, and overrides of the training's configuration."""

    mode: SelfTrainingMode
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def folder(self) -> str:
        """The name of its folder in that of the chain: the mode, and a digest of the overrides."""
        if not self.overrides:
            return self.mode
        text = json.dumps(dict(self.overrides), sort_keys=True, allow_nan=False)
        return f"{self.mode}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Scoring:
    """Options of the evaluate step that replace a trained model's own settings of inference; None keeps one."""

    seen_penalty: float | None = None
    picture_cosine: float | None = None
    patch_cosine: float | None = None
    inference_map: InferenceMap | None = None

    @property
    def options(self) -> dict[str, float | str]:
        """The options that replace something."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def name(self) -> str:
        """The setting in the name of the evaluation's folder, such as `penalty_0.05`."""
        return "_".join(
            f"{key.removeprefix('seen_')}_{value if isinstance(value, str) else f'{value:g}'}"
            for key, value in self.options.items()
        )


@dataclass(frozen=True)
class Chain:
    """One training of a recipe, and the self-trainings, controls and further scorings that start from it.

    With `random_tower`, a control, random weights replace CLIP, and the model is only evaluated. `model` is a registered
    version ("models:/NAME/3") that is fetched and evaluated instead of a training. `overrides` are pairs of a dotted name
    and a value. `processes` share each batch of a training.
    """

    recipe: str
    seed: int
    data: Data[Path]
    self_trainings: tuple[SelfTraining, ...] = ()
    control_words: bool = False
    random_tower: bool = False
    model: str | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    processes: int | None = None
    scorings: tuple[Scoring, ...] = ()

    @property
    def digest(self) -> str:
        """A digest of the configuration and of the content of the data: equal ones give equal trainings."""
        return training_digest(named_recipe(self.recipe, dict(self.overrides), seed=self.seed), self.data)


def training_digest(config: RunConfig, data: Data[Path]) -> str:
    """Return the digest of a training."""
    assert data.text and data.clip and data.prepared, "the data of a chain lack a folder"
    inputs = [input_hash(data.text), input_hash(data.clip), data_hash(data.prepared)]
    return hashlib.sha256("".join([config.model_dump_json(), *inputs]).encode()).hexdigest()[:12]


def run_chains(
    chains: Mapping[Path, Chain],
    *,
    split: str,
    workers: int | None,
    environment: Mapping[str, str] | None = None,
) -> list[Measured[Path]]:
    """Run chains, each in the folder that is its key; return the models of all, in the chains' order.

    Single-threaded processes run `workers` chains at a time (as many as there are cores if None), with this
    environment updated by `environment`. A chain keeps what its folder holds already, so an interrupted call resumes. If one fails, those
    that run come to their end before this raises its error, and no other begins.
    """
    at_once, waiting = workers or usable_cores(), list(chains.items())
    running: dict[Future[list[Measured[Path]]], Path] = {}
    done: dict[Path, list[Measured[Path]]] = {}
    with (
        ProcessPoolExecutor(
            max_workers=at_once,
            mp_context=get_context("spawn"),
            initializer=_set_environment,
            initargs=({**(environment or {}), **_commit(), "OMP_NUM_THREADS": "1"},),
        ) as pool,
        progress("trainings", len(chains)) as bar,
    ):
        while waiting or running:
            # A pool begins whatever it was handed, so it gets no more chains than it has processes: after a failure none begins.
            while waiting and len(running) < at_once:
                folder, chain = waiting.pop(0)
                running[pool.submit(run_chain, chain, folder, split)] = folder
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                folder = running.pop(future)
                done[folder] = future.result()
                bar.advance(len(done), f"{chains[folder].recipe} seed {chains[folder].seed}")
    return [model for folder in chains for model in done[folder]]


def run_untracked(chains: Mapping[Path, Chain], *, split: str, workers: int | None) -> list[Measured[Path]]:
    """Run chains as `run_chains` does, without MLflow runs: a page names their code and data."""
    return run_chains(chains, split=split, workers=workers, environment={SWITCH_VARIABLE: "off"})


def run_chain(
    chain: Chain, folder: Path, split: str, *, runner: Callable[[Path], Runner[Path]] = FolderRunner
) -> list[Measured[Path]]:
    """Run the steps of one chain that `folder` lacks, by the `runner` of a folder, and return its models."""
    run, overrides = runner(folder), dict(chain.overrides)
    scoring: dict[str, Any] = {"split": split}
    if chain.model is not None:
        model = folder / "train"
        if not model.exists():
            champions.fetch(chain.model, model)
        return [measure(run, chain.data, model, "champion", scoring)]
    training: dict[str, Any] = {"recipe": chain.recipe, "overrides": overrides, "seed": chain.seed}
    if not named_recipe(chain.recipe, {}).model.trains:
        return [train_and_measure(run, chain.data, **training, scoring=scoring, setting="training_free")]
    if chain.random_tower:
        without_clip, control = replace(chain.data, clip=None), {**scoring, "control": "random_tower"}
        return [train_and_measure(run, without_clip, **training, random_clip=True, scoring=control)]
    start = train_and_measure(run, chain.data, **training, scoring=scoring, processes=chain.processes)
    models = [start]
    for one in chain.self_trainings:
        run_mode = runner(folder / one.folder)
        models.append(
            self_train_and_score(
                run_mode,
                chain.data,
                start,
                mode=one.mode,
                overrides={**overrides, **dict(one.overrides)},
                scoring=scoring,
                processes=chain.processes,
            )
        )
    if chain.control_words:
        control = {**scoring, "control": "words"}
        evaluation = run(evaluate.run, chain.data, "control_words", checkpoint=start.model, **control)
        models.append(replace(start, evaluation=evaluation))
    for replaced in chain.scorings:
        other = {**scoring, **replaced.options}
        evaluation = run(evaluate.run, chain.data, replaced.name, checkpoint=start.model, **other)
        models.append(replace(start, evaluation=evaluation))
    return models


def _commit() -> dict[str, str]:
    """Return the variable that names the code of this call to its workers, whatever the call writes into the repository."""
    commit = git_commit()
    return {} if commit is None else {COMMIT_VARIABLE: commit}


def _set_environment(variables: Mapping[str, str]) -> None:
    """Set variables in a worker, before it loads torch, which reads the number of threads once."""
    os.environ.update(variables)
