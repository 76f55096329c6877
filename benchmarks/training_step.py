"""A whole training step, compared with the published computation: `python -m benchmarks.training_step`.

Cascade-CLIP and ZegCLIP on a ViT-B/16 with random weights: a step of the training loop (forward, loss, backward and
AdamW), batch 2, 512 x 512 pixels, on a CPU; by default the 156 seen classes of COCO-Stuff in float32. The plain
computation is in float32, whatever ours is in. The share of the peak is that of large matrix products in the same run
and ours' precision; a multiply-add counts as two operations, what is computed again to save memory as none.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import torch

from benchmarks.cases import METHODS, make_case, multiply_adds_of_a_step, recipe_for
from benchmarks.compare import Comparison, Work, compare
from benchmarks.machine import NO_BF16, has_bf16, load, surroundings
from benchmarks.options import add_cases, parsed, parser_of
from cascade_core.configs.config import Precision
from cascade_core.profile.cost import multiply_adds

BATCH, CLASSES = 2, 156


def make(
    method: str, classes: int, precision: Precision
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Build the model and one batch; both functions update the same weights, which does not change their cost."""
    config, setting = recipe_for(method, classes)
    case = make_case(config, torch.device("cpu"), batch=BATCH, setting=setting)
    return case.training(precision), case.plain_training(BATCH)


def measure(
    method: str, classes: int, precision: Precision, *, rounds: int, memory: bool = False
) -> Comparison:
    """Compare steps of one case in turns."""
    config, _ = recipe_for(method, classes)
    case = make_case(config, torch.device("meta"), batch=BATCH)
    parts = multiply_adds(case.segmentor, image_size=config.model.image_size, num_classes=classes)
    return compare(
        f"training step of {method}, {classes} classes, {precision}",
        partial(make, method, classes, precision),
        rounds=rounds,
        memory=memory,
        work=Work(2e9 * BATCH * multiply_adds_of_a_step(parts), precision),
    )


def main() -> None:
    parser = parser_of(__doc__)
    add_cases(parser, methods=tuple(METHODS), classes=CLASSES)
    options = parsed(parser)
    print(surroundings())
    for method, classes, precision in product(options.method, options.classes, options.precision):
        if precision == "bf16" and not has_bf16():
            print(f"training step of {method}, {classes} classes, bf16: {NO_BF16}")
            continue
        compared = measure(method, classes, precision, rounds=options.rounds, memory=options.memory)
        print(f"{compared.line()}; {load()}", flush=True)


if __name__ == "__main__":
    main()
