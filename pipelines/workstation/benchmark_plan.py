"""The benchmark rerun on one machine: train recipes over seeds or take their champions, score them, and compare."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cascade_core.clip.home import clip_folder
from cascade_core.configs.overrides import read_parameters
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.recipes import trained_recipe_names
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.targets import check_gathering_folder
from cascade_core.runtime.validation import validated
from components.contract.output import checked_output
from components.registry import champions
from components.results.accepted import EXPERIMENT, Models, check_accepted
from components.results.regression import Thresholds
from components.steps import benchmark_rerun
from components.steps.benchmark_rerun import Rerun
from components.tracking.pipeline_run import whole_run
from pipelines.graphs.runner import Data
from pipelines.graphs.training import kept_templates, prepare_data
from pipelines.workstation.chains import Chain, FolderRunner, SelfTraining, run_chains

log = logging.getLogger(__name__)


class DataSet(BaseModel):
    """A data set of the benchmark: folders of the data and of CLIP, protocol (or label file), and image sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: Path
    clip: Annotated[Path, AfterValidator(clip_folder)]
    protocol: str
    image_sets: dict[str, str]


class BenchmarkPlan(BaseModel):
    """The section `benchmark` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Models = "train"
    seeds: tuple[int, ...] = Field(min_length=1)
    split: str
    self_training: SelfTrainingMode
    self_trained: tuple[str, ...]
    datasets: dict[str, DataSet]
    thresholds: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "BenchmarkPlan":
        """Read the plan from a parameter file.

        Raises:
            UserError: the file or its section is missing, or a field is wrong; the message names it.
        """
        values = read_parameters(path).get("benchmark")
        if values is None:
            raise UserError(f"{path}: section benchmark is missing")
        return validated(cls, values, source=f"{path}: benchmark")


def run(
    *,
    plan: BenchmarkPlan,
    out: Path,
    recipes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    overrides: Mapping[str, Any] | None = None,
    accept: bool = False,
    workers: int | None = None,
    models: Models | None = None,
) -> Rerun:
    """Score recipes on every available data set, and compare the scores with the accepted results.

    `recipes`, `seeds` and `models`, if given, replace the plan's. Without `recipes`, champions are those of all
    recipes that have one. Trainings lie below `out/work`; an interrupted rerun resumes. The comparison lies in
    `out/report`.

    Raises:
        UserError: `out` is not to be written, a recipe is unknown, lacks a data set or lacks a champion, a threshold is wrong, champions come
            with seeds or overrides, the accepted results cannot be read, or a step refuses its input.
    """
    Thresholds.read(plan.thresholds, source="benchmark.thresholds")
    check_gathering_folder(out)
    checked_output(
        out / "report", step=benchmark_rerun.run.name, inputs=()
    )  # before the trainings, not after
    models = models or plan.models
    available = _available(plan, recipes)
    if models == "champions" and (seeds or overrides):
        excess = "seeds" if seeds else f"overrides ({', '.join(overrides or ())})"
        raise UserError(
            f"champions are scored as they were trained; leave out {excess}, or give --models train"
        )
    check_accepted(models)
    with whole_run(pipeline="benchmark rerun", protocol=EXPERIMENT):
        if models == "champions":
            chains = _champions(plan, available, out / "work", named=bool(recipes))
        else:
            chains = _trainings(plan, available, out / "work", seeds or plan.seeds, overrides or {})
        measured = run_chains(chains, split=plan.split, workers=workers)
        return benchmark_rerun.run(
            evaluations=[model.evaluation for model in measured],
            profiles=[model.cost for model in measured],
            thresholds=plan.thresholds,
            out=out / "report",
            accept=accept,
            models=models,
        )


def _available(plan: BenchmarkPlan, recipes: Sequence[str]) -> dict[str, list[str]]:
    """Return the recipes to score by data set: those of its protocol. Data sets without folders are left out.

    On a label file, every recipe that `recipes` names runs. Label files are read here, so that an error in one is
    reported before any training.
    """
    protocols = {name: named_recipe(name).data.protocol for name in recipes or trained_recipe_names()}
    available: dict[str, list[str]] = {}
    for name, data in plan.datasets.items():
        own_labels = is_label_file(data.protocol)
        fitting = [
            recipe
            for recipe, protocol in protocols.items()
            if (recipes if own_labels else protocol == data.protocol)
        ]
        if not (data.raw.is_dir() and data.clip.is_dir()):
            log.info("data set %s is left out: %s or %s does not exist", name, data.raw, data.clip)
        elif fitting:
            named_protocol(data.protocol)
            available[name] = fitting
    if missing := [name for name in recipes if not any(name in fitting for fitting in available.values())]:
        raise UserError(
            f"no data set at hand for {', '.join(missing)}; add one to benchmark.datasets of the parameter file"
        )
    if not available:
        raise UserError(
            "no data set of benchmark.datasets is at hand; run `dvc pull`, or correct their paths"
        )
    return available


def _trainings(
    plan: BenchmarkPlan,
    available: Mapping[str, list[str]],
    work: Path,
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
) -> dict[Path, Chain]:
    """Plan a training per recipe and seed, by folder.

    The folder's name holds a digest of the configuration, so that another configuration does not resume in it.
    """
    chains = {}
    for name, recipes in available.items():
        for recipe in recipes:
            data = _prepared(plan.datasets[name], recipe, work / name, overrides)
            modes = (SelfTraining(plan.self_training),) if recipe in plan.self_trained else ()
            for seed in seeds:
                digest = _digest(named_recipe(recipe, overrides, seed=seed).model_dump_json())
                chains[work / name / f"{recipe}-s{seed}-{digest}"] = Chain(
                    recipe, seed, data, self_trainings=modes, overrides=tuple(sorted(overrides.items()))
                )
    return chains


def _champions(
    plan: BenchmarkPlan, available: Mapping[str, list[str]], work: Path, *, named: bool
) -> dict[Path, Chain]:
    """Plan an evaluation of each recipe's champion, by folder; with `named`, a recipe without one is an error.

    The folder's name holds the version, so that a newer champion does not resume in it.
    """
    protocols = {name: named_protocol(plan.datasets[name].protocol).name for name in available}
    find = champions.every_champion if named else champions.known_champions
    versions = {name: find(recipes, protocol=protocols[name]) for name, recipes in available.items()}
    if not any(versions.values()):
        first = next(iter(available))
        champions.every_champion(available[first], protocol=protocols[first])  # raises, naming them
    chains = {}
    for name, recipes in available.items():
        if others := [recipe for recipe in recipes if recipe not in versions[name]]:
            log.info("%s: %s left out, because no champion is registered", name, ", ".join(others))
        for recipe, version in versions[name].items():
            data = _prepared(plan.datasets[name], recipe, work / name)
            seed = int(version.tags.get("seed", 0))  # only a label here: the model brings its own seed
            chains[work / name / f"{recipe}-v{version.number}"] = Chain(recipe, seed, data, model=version.uri)
    return chains


def _prepared(
    data: DataSet, recipe: str, folder: Path, overrides: Mapping[str, Any] | None = None
) -> Data[Path]:
    """Prepare a data set once, and its text vectors once per combination of templates and background names."""
    config = named_recipe(recipe, overrides or {})
    templates, background = config.data.templates, config.evaluate.background.names
    kept = kept_templates([recipe], overrides)
    key = repr((templates, background) if background else templates)
    return prepare_data(
        FolderRunner(folder),
        Data(raw=data.raw, clip=data.clip),
        protocol=data.protocol,
        image_sets=data.image_sets,
        vectors={"templates": templates, "background": background, **kept},
        vectors_name=_digest(key + "by_template" * bool(kept)),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
