"""The benchmark rerun on one machine: train recipes over seeds on every data set at hand, then compare."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cascade_core.recipes import recipe, recipe_names
from components import benchmark_rerun, prepare, splits, text_vectors
from components.benchmark_rerun import Rerun
from components.regression import Thresholds
from pipelines.chains import Chain, SelfTraining, Sources, run_chains

log = logging.getLogger(__name__)


class DataSet(BaseModel):
    """A data set that recipes can be benchmarked on: where it lies, its protocol, lists and CLIP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw: Path
    clip: Path
    protocol: str
    image_sets: dict[str, str]

    @property
    def available(self) -> bool:
        """Whether both the data and the CLIP weights are there."""
        return self.raw.is_dir() and self.clip.is_dir()


class BenchmarkPlan(BaseModel):
    """The section `benchmark` of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(min_length=1)
    split: str
    self_training: SelfTraining
    self_trained: tuple[str, ...]
    datasets: dict[str, DataSet]
    thresholds: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "BenchmarkPlan":
        """Read it from a parameter file.

        Raises:
            ValueError: the file or its section is missing, or a field is wrong; the message names it.
        """
        if not path.is_file():
            raise ValueError(f"{path} does not exist; give the file of parameters with --params")
        values = (yaml.safe_load(path.read_text()) or {}).get("benchmark")
        if values is None:
            raise ValueError(f"{path}: section benchmark is missing")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path}: benchmark.{field}: {first['msg']} (got {first['input']!r})") from error


def run(
    *,
    plan: BenchmarkPlan,
    out: Path,
    recipes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    overrides: Mapping[str, Any] | None = None,
    accept: bool = False,
    workers: int | None = None,
) -> Rerun:
    """Train and score every recipe on every data set at hand, and compare with the accepted results.

    `recipes` and `seeds` narrow the plan's. Trainings lie below `out/work` and are not repeated where they
    stand, so that an interrupted rerun goes on; the comparison lies in `out/report`.

    Raises:
        ValueError: a recipe is unknown or of no data set at hand, a threshold is wrong, or a step refuses
            its input.
    """
    Thresholds.read(plan.thresholds, source="benchmark.thresholds")
    chains, folders = [], []
    for name, data, wanted in _at_hand(plan, recipes):
        folder = out / "work" / name
        for chosen in wanted:
            sources = _sources(data, chosen, folder)
            for seed in seeds or plan.seeds:
                chains.append(
                    Chain(
                        recipe=chosen,
                        seed=seed,
                        sources=sources,
                        self_trainings=(plan.self_training,) if chosen in plan.self_trained else (),
                        overrides=tuple(sorted((overrides or {}).items())),
                    )
                )
                folders.append(folder / f"{chosen}-s{seed}")
    done = [one for chain in run_chains(chains, folders, split=plan.split, workers=workers) for one in chain]
    return benchmark_rerun.run(
        evaluations=[one.evaluation for one in done],
        profiles=[one.profile for one in done],
        thresholds=plan.thresholds,
        out=out / "report",
        accept=accept,
    )


def _at_hand(plan: BenchmarkPlan, recipes: Sequence[str]) -> list[tuple[str, DataSet, list[str]]]:
    """Give every data set that is here with its recipes: all of its protocol, or those of `recipes`."""
    protocols = {name: recipe(name).data.protocol for name in recipes or recipe_names()}
    found = []
    for name, data in plan.datasets.items():
        wanted = [chosen for chosen, protocol in protocols.items() if protocol == data.protocol]
        if not data.available:
            log.info("data set %s is left out: %s or %s does not exist", name, data.raw, data.clip)
        elif wanted:
            found.append((name, data, wanted))
    served = {chosen for _, _, wanted in found for chosen in wanted}
    if stray := [chosen for chosen in recipes if chosen not in served]:
        raise ValueError(
            f"no data set at hand for {', '.join(stray)}; benchmark.datasets of the parameters names them"
        )
    if not found:
        raise ValueError("no data set of benchmark.datasets is at hand; run `dvc pull`, or mend their paths")
    return found


def _sources(data: DataSet, chosen: str, folder: Path) -> Sources:
    """Prepare a data set once, and its text vectors once per list of templates."""
    templates = recipe(chosen).data.templates
    text = folder / f"text-{hashlib.sha256(repr(templates).encode()).hexdigest()[:8]}"
    if not (folder / "prepared").exists():
        prepare.run(raw=data.raw, protocol=data.protocol, image_sets=data.image_sets, out=folder / "prepared")
    if not (folder / "splits").exists():
        splits.run(prepared=folder / "prepared", protocol=data.protocol, out=folder / "splits")
    if not text.exists():
        text_vectors.run(protocol=data.protocol, templates=templates, clip=data.clip, out=text)
    return Sources(folder / "prepared", folder / "splits", text, data.clip)
