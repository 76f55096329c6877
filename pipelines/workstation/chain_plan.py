"""What chains still have to do, and how long that takes by what their steps took before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.runtime.cores import usable_cores
from cascade_core.runtime.files import read_json
from components.contract import Step
from components.progress import duration
from components.steps import self_train, train
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation.chains import SECONDS_FILE, Chain, run_chain, step_folder

TRAININGS = (train.run.name, self_train.run.name)


@dataclass(frozen=True)
class PlanningRunner:
    """The runner of `pipelines/graphs` that runs nothing, and lists the folders of all steps in `steps`."""

    folder: Path
    steps: list[Path]

    def __call__(
        self,
        step: Step[Any, Any],
        data: Data[Path],
        setting: str = "",
        *,
        after: Sequence[Path] = (),
        **arguments: Any,
    ) -> Path:
        """Return the step's folder."""
        out = step_folder(self.folder, step, setting, arguments)
        self.steps.append(out)
        return out


@dataclass(frozen=True)
class ChainPlan:
    """A chain in its folder: the models that it makes, and the folders of its steps, those that are there and those that are missing."""

    chain: Chain
    folder: Path
    models: tuple[Measured[Path], ...]
    finished: tuple[Path, ...]
    missing: tuple[Path, ...]

    @classmethod
    def of(cls, chain: Chain, folder: Path, split: str) -> "ChainPlan":
        """Plan a chain, without running a step of it."""
        steps: list[Path] = []
        models = run_chain(chain, folder, split, runner=partial(PlanningRunner, steps=steps))
        finished = tuple(out for out in steps if out.exists())
        return cls(chain, folder, tuple(models), finished, tuple(out for out in steps if out not in finished))

    @property
    def trains(self) -> bool:
        return named_recipe(self.chain.recipe, {}).model.trains


@dataclass
class Seconds:
    """The seconds that steps took, by recipe with overrides and the name of the step's folder."""

    measured: dict[tuple[str, Any, str], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, plans: Sequence[ChainPlan]) -> "Seconds":
        """Collect what earlier calls kept in the folders of chains, those of other chains beside them included."""
        seconds = cls()
        owners = {plan.folder: (plan.chain.recipe, plan.chain.overrides) for plan in plans}
        for work in sorted({plan.folder.parent for plan in plans}):
            for file in sorted(work.rglob(SECONDS_FILE)):
                folder = work / file.relative_to(work).parts[0]
                owner = owners.get(folder, (folder.name, ()))
                for name, value in read_json(file).items():
                    seconds.measured.setdefault((*owner, name), []).append(float(value))
        return seconds

    def expected(self, plan: ChainPlan, step: str) -> float | None:
        """Return the mean of the same step of the same recipe, else of any, else of that step in any setting; None if none was measured."""
        own = self.measured.get((plan.chain.recipe, plan.chain.overrides, step))
        if own:
            return fmean(own)
        kind = step.partition("-")[0]
        for same in (lambda name: name == step, lambda name: name.partition("-")[0] == kind):
            others = [value for (*_, name), values in self.measured.items() if same(name) for value in values]
            if others:
                return fmean(others)
        return None


def outlook(plans: Sequence[ChainPlan], workers: int | None) -> str:
    """Say in one sentence how many trainings are left, and how long all missing steps take, or the finished ones took."""
    seconds = Seconds.of(plans)
    total = sum(1 + len(plan.chain.self_trainings) for plan in plans if plan.trains)
    left = [(plan, out.name) for plan in plans for out in plan.missing]
    if not left:
        return f"nothing is left to do; {_past(plans, total)}"
    trainings = sum(name in TRAININGS and plan.trains for plan, name in left)
    text = f"{trainings} of {total} trainings are left to do, and {len(left) - trainings} shorter steps"
    expected = [seconds.expected(plan, name) for plan, name in left]
    if unknown := expected.count(None):
        return f"{text}; the time of {unknown} steps is not known yet, because none like them was measured"
    side_by_side = max(1, min(workers or usable_cores(), sum(bool(plan.missing) for plan in plans)))
    work = sum(value for value in expected if value is not None)
    return (
        f"{text}: about {duration(work / side_by_side)}, {side_by_side} at a time, by what earlier steps took"
    )


def _past(plans: Sequence[ChainPlan], trainings: int) -> str:
    """Say how long finished steps took, one after the other."""
    steps = [out for plan in plans for out in plan.finished]
    files = {folder: folder / SECONDS_FILE for folder in {out.parent for out in steps}}
    kept = {folder: read_json(file) for folder, file in files.items() if file.is_file()}
    seconds = [float(kept[out.parent][out.name]) for out in steps if out.name in kept.get(out.parent, {})]
    unknown = len(steps) - len(seconds)
    text = f"{trainings} trainings and {len(steps) - trainings} shorter steps took {duration(sum(seconds))}, one after the other"
    return f"{text}, without {unknown} whose time was not kept" if unknown else text


def plans_of(chains: Mapping[Path, Chain], split: str) -> list[ChainPlan]:
    """Plan chains, each in the folder that is its key."""
    return [ChainPlan.of(chain, folder, split) for folder, chain in chains.items()]
