"""Every method that trains, beside ZegCLIP in the same run: `python -m benchmarks.methods`.

The recipes of COCO-Stuff on a ViT-B/16 with random weights, on a CPU in float32: labels of a crop of 512 x 512 pixels for all 171
classes, and a training step (forward, loss, backward and AdamW) with the seen ones. Ratios are times divided by ZegCLIP's;
trainable parameters stand beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from benchmarks.cases import Case, make_case
from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from benchmarks.stopwatch import in_turns
from cascade_core.configs.recipes import recipe, trained_recipe_names
from cascade_core.model.segmentor import trainable_parameter_count

SUFFIX, BASE = "_cocostuff", "zegclip_cocostuff"


@dataclass(frozen=True)
class MethodTimes:
    """Median seconds of a method's inference and of its training step, for a picture."""

    recipe: str
    trainable: int
    inference: float
    step: float

    def line(self, base: "MethodTimes") -> str:
        """Return a row of a Markdown table with the ratios to the base."""
        return (
            f"| `{self.recipe}` | {self.trainable:,} | {self.inference / base.inference:.2f} ({self.inference:.2f} s) "
            f"| {self.step / base.step:.2f} ({self.step:.2f} s) |"
        )


def recipes() -> list[str]:
    """Return the recipes of COCO-Stuff, ZegCLIP's first."""
    own = [name for name in trained_recipe_names() if name.endswith(SUFFIX)]
    return [BASE, *(name for name in own if name != BASE)]


def measure(name: str, *, rounds: int, batch: int) -> tuple[MethodTimes, MethodTimes]:
    """Measure a recipe and ZegCLIP in turns; return both."""
    cases = [_case(one, batch) for one in dict.fromkeys((BASE, name))]
    inference = in_turns(_each(cases, lambda case: case.inference("fp32")), rounds)
    steps = in_turns(_each(cases, lambda case: case.training("fp32")), rounds)
    times = [
        MethodTimes(
            case.config.recipe, trainable_parameter_count(case.segmentor), seconds / batch, step / batch
        )
        for case, seconds, step in zip(cases, inference, steps, strict=True)
    ]
    return times[-1], times[0]


def _case(name: str, batch: int) -> Case:
    return make_case(recipe(name), torch.device("cpu"), batch=batch)


def _each(cases: Sequence[Case], call: Callable[[Case], Callable[[], object]]) -> list[Callable[[], object]]:
    return [call(case) for case in cases]


def rows(names: Sequence[str], *, rounds: int, batch: int) -> Iterator[str]:
    """Yield the table row of each recipe as soon as it is measured."""
    bases = []
    for name in names:
        times, base = measure(name, rounds=rounds, batch=batch)
        bases.append(base.inference)
        yield times.line(base)
    yield f"\nZegCLIP took {min(bases):.2f} to {max(bases):.2f} s for a crop, {fmean(bases):.2f} s on average; {load()}"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--recipe", nargs="+", default=recipes(), help="recipes; default: all of COCO-Stuff")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a call")
    options = parsed(parser)
    print(surroundings())
    print(
        "\n| recipe | trainable parameters | inference / ZegCLIP's | training step / ZegCLIP's |\n|---|--:|--:|--:|"
    )
    for row in rows(options.recipe, rounds=options.rounds, batch=options.batch):
        print(row, flush=True)


if __name__ == "__main__":
    main()
