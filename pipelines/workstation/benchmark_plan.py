"""The benchmark rerun on one machine: train recipes over seeds, or take their champions, on every data set at hand, then
compare.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.configs.overrides import read_parameters
from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.validation import validated
from components.registry import champions
from components.results.accepted import EXPERIMENT, Models, check_accepted
from components.results.regression import Thresholds
from components.steps import benchmark_rerun
from components.steps.benchmark_rerun import Rerun
from components.tracking.pipeline_run import whole_run
from pipelines.graphs.runner import Data
from pipelines.graphs.training import made_ready
from pipelines.workstation.chains import Chain, run_chains
from pipelines.workstation.folders import InFolder

log = logging.getLogger(__name__)


class DataSet(BaseModel):
    """A data set that recipes can be benchmarked on: where it lies, its protocol (or label file), lists and CLIP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: Path
    clip: Path
    protocol: str
    image_sets: dict[str, str]

    @property
    def available(self) -> bool:
        """Whether both the data and the CLIP weights are there."""
        return self.raw.is_dir() and self.clip.is_dir()

    def serves(self, protocol: str, *, named: bool) -> bool:
        """Say whether a recipe of this protocol runs on it: on a label file any does that was asked for by name."""
        return named if is_label_file(self.protocol) else protocol == self.protocol


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
        """Read it from a parameter file.

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
    """Train every recipe, or take its champion, score it on every data set at hand, and compare with accepted results.

    `recipes` and `seeds` narrow the plan's, `models` takes the place of the plan's. Trainings lie below
    `out/work` and are not repeated where they stand, so that an interrupted rerun goes on; the comparison lies
    in `out/report`. Of champions, those of `recipes` are taken, or of all recipes that have one.

    Raises:
        UserError: a recipe is unknown, of no data set at hand or without a champion, a threshold is wrong,
            seeds or overrides are given for champions, accepted results cannot be read, or a step refuses its input.
    """
    Thresholds.read(plan.thresholds, source="benchmark.thresholds")
    models = models or plan.models
    found = _at_hand(plan, recipes)
    if models == "champions":
        _check_untouched(seeds, overrides)
    check_accepted(models)
    with whole_run(pipeline="benchmark rerun", protocol=EXPERIMENT):
        if models == "champions":
            planned = _champions(found, out / "work", named=bool(recipes))
        else:
            planned = _trainings(found, out / "work", plan, seeds or plan.seeds, overrides or {})
        chains, folders = [chain for chain, _ in planned], [folder for _, folder in planned]
        done = [
            one for chain in run_chains(chains, folders, split=plan.split, workers=workers) for one in chain
        ]
        return benchmark_rerun.run(
            evaluations=[one.evaluation for one in done],
            profiles=[one.cost for one in done],
            thresholds=plan.thresholds,
            out=out / "report",
            accept=accept,
            models=models,
        )


def _trainings(
    found: Sequence["Served"],
    work: Path,
    plan: BenchmarkPlan,
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
) -> list[tuple[Chain, Path]]:
    """Plan a training of every recipe with every seed, and the folder of each."""
    return [
        (
            Chain(
                recipe=chosen,
                seed=seed,
                data=ready,
                self_trainings=(plan.self_training,) if chosen in plan.self_trained else (),
                overrides=tuple(sorted(overrides.items())),
            ),
            # By configuration: a folder that is gone on with holds no training of another one.
            work
            / name
            / f"{chosen}-s{seed}-{_digest(recipe(chosen, overrides, seed=seed).model_dump_json())}",
        )
        for name, data, wanted in found
        for chosen in wanted
        for ready in [_made_ready(data, chosen, work / name, overrides)]
        for seed in dict.fromkeys(seeds)  # one given twice would be trained twice into one folder
    ]


def _champions(found: Sequence["Served"], work: Path, *, named: bool) -> list[tuple[Chain, Path]]:
    """Plan the champion of every recipe, all of which must have one if they were `named`, and the folder of each."""
    taking = champions.every_champion if named else champions.known_champions
    held = {name: taking(wanted, protocol=named_protocol(data.protocol).name) for name, data, wanted in found}
    if not any(held.values()):
        _, data, wanted = found[0]
        champions.every_champion(wanted, protocol=named_protocol(data.protocol).name)
    for name, _, wanted in found:
        if others := [chosen for chosen in wanted if chosen not in held[name]]:
            log.info("%s: left out, as nothing is registered for them: %s", name, ", ".join(others))
    return [
        (
            Chain(
                recipe=chosen,
                # Only a label here: the model brings the seed it was trained with.
                seed=int(version.tags.get("seed", 0)),
                data=_made_ready(data, chosen, work / name),
                model=version.uri,
            ),
            # By version: a champion that came since an interrupted rerun is another model.
            work / name / f"{chosen}-v{version.number}",
        )
        for name, data, _ in found
        for chosen, version in held[name].items()
    ]


def _check_untouched(seeds: Sequence[int], overrides: Mapping[str, Any] | None) -> None:
    if seeds or overrides:
        given = "seeds" if seeds else f"overrides ({', '.join(overrides or ())})"
        raise UserError(
            f"champions are measured as they were trained, {given} were given; leave them out, or train"
        )


Served = tuple[str, DataSet, list[str]]
"""A data set by name, and the recipes that are measured on it."""


def _at_hand(plan: BenchmarkPlan, recipes: Sequence[str]) -> list[Served]:
    """Give every data set that is here with its recipes: all of its protocol, or those of `recipes`.

    A label file is read here, so that one that is wrong is told before any training.
    """
    protocols = {name: recipe(name).data.protocol for name in recipes or recipe_names()}
    found = []
    for name, data in plan.datasets.items():
        wanted = [one for one, protocol in protocols.items() if data.serves(protocol, named=bool(recipes))]
        if not data.available:
            log.info("data set %s is left out: %s or %s does not exist", name, data.raw, data.clip)
        elif wanted:
            named_protocol(data.protocol)
            found.append((name, data, wanted))
    served = {chosen for _, _, wanted in found for chosen in wanted}
    if stray := [chosen for chosen in recipes if chosen not in served]:
        raise UserError(
            f"no data set at hand for {', '.join(stray)}; benchmark.datasets of the parameters names them"
        )
    if not found:
        raise UserError("no data set of benchmark.datasets is at hand; run `dvc pull`, or mend their paths")
    return found


def _made_ready(
    data: DataSet, chosen: str, folder: Path, overrides: Mapping[str, Any] | None = None
) -> Data[Path]:
    """Prepare a data set once, and its text vectors once per list of templates and names for background."""
    config = recipe(chosen, overrides or {})
    templates, background = config.data.templates, config.evaluate.background.names
    made_of = repr((templates, background) if background else templates)
    return made_ready(
        InFolder(folder),
        Data(raw=data.raw, clip=data.clip),
        protocol=data.protocol,
        image_sets=data.image_sets,
        vectors={"templates": templates, "background": background},
        vectors_of=_digest(made_of),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
