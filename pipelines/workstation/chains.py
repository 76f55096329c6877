"""Chains: one training with all that hangs on it, many of them side by side."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cascade_core.configs.settings import SelfTrainingMode
from components.progress import progress
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured, measured, scored, self_trained, trained
from pipelines.workstation.folders import InFolder


@dataclass(frozen=True)
class Chain:
    """One training of a recipe, and what is evaluated of it beside the training itself.

    A random tower stands in CLIP's place as a control; nothing else is evaluated of such a training. `model` is
    a registered version ("models:/NAME/3") that is fetched in place of a training, and evaluated as it is.
    `overrides` are pairs of a dotted name and a value.
    """

    recipe: str
    seed: int
    data: Data[Path]
    self_trainings: tuple[SelfTrainingMode, ...] = ()
    control_words: bool = False
    random_tower: bool = False
    model: str | None = None
    overrides: tuple[tuple[str, Any], ...] = ()


def run_chains(
    chains: Sequence[Chain],
    folders: Sequence[Path],
    *,
    split: str,
    workers: int | None,
    environment: Mapping[str, str] | None = None,
) -> list[list[Measured[Path]]]:
    """Run all chains, one thread each and as many side by side as `workers` (all cores if None).

    Each writes into its folder and keeps what that holds already, so an interrupted call goes on where it
    stopped. `environment` is put before their processes' own, such as to track nothing.
    """
    found: dict[int, list[Measured[Path]]] = {}
    with (
        ProcessPoolExecutor(
            max_workers=workers or os.cpu_count(),
            mp_context=get_context("spawn"),
            initializer=_alone,
            initargs=(environment or {},),
        ) as pool,
        progress("trainings", len(chains)) as bar,
    ):
        running = {
            pool.submit(run_chain, chain, folder, split): place
            for place, (chain, folder) in enumerate(zip(chains, folders, strict=True))
        }
        for done, future in enumerate(as_completed(running), start=1):
            place = running[future]
            found[place] = future.result()
            bar.advance(done, f"{chains[place].recipe} seed {chains[place].seed}")
    return [found[place] for place in range(len(chains))]


def run_chain(chain: Chain, folder: Path, split: str) -> list[Measured[Path]]:
    """Train (or fetch), profile, self-train and evaluate one chain, skipping what its folder holds already."""
    from components.registry import champions

    do, scoring, overrides = InFolder(folder), {"split": split}, dict(chain.overrides)
    if chain.model is not None:
        model = folder / "train"
        if not model.exists():
            champions.fetch(chain.model, model)
        return [measured(do, chain.data, model, "champion", scoring)]
    training: dict[str, Any] = {"recipe": chain.recipe, "overrides": overrides, "seed": chain.seed}
    if chain.random_tower:
        without, control = replace(chain.data, clip=None), {**scoring, "control": "random_tower"}
        return [trained(do, without, **training, random_clip=True, scoring=control)]
    first = trained(do, chain.data, **training, scoring=scoring)
    done = [first]
    for mode in chain.self_trainings:
        done.append(
            self_trained(
                InFolder(folder / mode), chain.data, first, mode=mode, overrides=overrides, scoring=scoring
            )
        )
    if chain.control_words:
        control = {**scoring, "control": "words"}
        evaluation = scored(do, chain.data, first.model, "control_words", control)
        done.append(replace(first, evaluation=evaluation))
    return done


def _alone(environment: Mapping[str, str]) -> None:
    """Make a worker one that takes one core; torch is not loaded yet."""
    os.environ.update({**environment, "OMP_NUM_THREADS": "1"})
