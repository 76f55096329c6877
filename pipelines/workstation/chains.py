"""Chains: one training with all that hangs on it, many of them side by side."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cascade_core.configs.settings import SelfTrainingMode
from components.progress import progress
from components.results.evaluation import Control


@dataclass(frozen=True)
class Sources:
    """The folders of the steps that come before training."""

    prepared: Path
    splits: Path
    text: Path
    clip: Path


@dataclass(frozen=True)
class Chain:
    """One training of a recipe, and what is evaluated of it beside the training itself.

    A random tower stands in CLIP's place as a control; nothing else is evaluated of such a training. `model` is
    a registered version ("models:/NAME/3") that is fetched in place of a training, and evaluated as it is.
    `overrides` are pairs of a dotted name and a value.
    """

    recipe: str
    seed: int
    sources: Sources
    self_trainings: tuple[SelfTrainingMode, ...] = ()
    control_words: bool = False
    random_tower: bool = False
    model: str | None = None
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a chain, and the profile that goes with it."""

    evaluation: Path
    profile: Path


def run_chains(
    chains: Sequence[Chain],
    folders: Sequence[Path],
    *,
    split: str,
    workers: int | None,
    environment: Mapping[str, str] | None = None,
) -> list[list[Evaluated]]:
    """Run all chains, one thread each and as many side by side as `workers` (all cores if None).

    Each writes into its folder and keeps what that holds already, so an interrupted call goes on where it
    stopped. `environment` is put before their processes' own, such as to track nothing.
    """
    found: dict[int, list[Evaluated]] = {}
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


def run_chain(chain: Chain, folder: Path, split: str) -> list[Evaluated]:
    """Train (or fetch), profile, self-train and evaluate one chain, skipping what its folder holds already."""
    from components.registry import champions
    from components.steps import evaluate, profile, self_train, train

    sources = chain.sources
    prepared, splits, text = sources.prepared, sources.splits, sources.text
    trained, profiled = folder / "train", folder / "profile"
    if chain.model is not None and not trained.exists():
        champions.fetch(chain.model, trained)
    if not trained.exists():
        train.run(
            prepared=prepared,
            splits=splits,
            text=text,
            clip=None if chain.random_tower else sources.clip,
            random_clip=chain.random_tower,
            recipe=chain.recipe,
            overrides=dict(chain.overrides),
            seed=chain.seed,
            out=trained,
        )
    if not profiled.exists():
        profile.run(checkpoints=(trained / "final",), text=text, out=profiled)
    for mode in chain.self_trainings:
        out = folder / f"self_train-{mode}"
        if not out.exists():
            self_train.run(
                prepared=prepared,
                splits=splits,
                text=text,
                trained=trained,
                mode=mode,
                overrides=dict(chain.overrides),
                out=out,
            )
    done = []
    for name, checkpoint, control in _evaluations(chain, folder):
        out = folder / f"evaluate-{name}-{split}"
        if not out.exists():
            evaluate.run(
                prepared=prepared,
                splits=splits,
                text=text,
                checkpoint=checkpoint,
                split=split,
                control=control,
                out=out,
            )
        done.append(Evaluated(out, profiled))
    return done


def _evaluations(chain: Chain, folder: Path) -> Iterator[tuple[str, Path, Control | None]]:
    trained = folder / "train" / "final"
    if chain.random_tower:
        yield "control_random_tower", trained, "random_tower"
        return
    if chain.model is not None:
        yield "champion", trained, None
        return
    yield "inductive", trained, None
    for mode in chain.self_trainings:
        yield f"transductive_{mode}", folder / f"self_train-{mode}" / "final", None
    if chain.control_words:
        yield "control_words", trained, "words"


def _alone(environment: Mapping[str, str]) -> None:
    """Make a worker one that takes one core; torch is not loaded yet."""
    os.environ.update({**environment, "OMP_NUM_THREADS": "1"})
