"""Whether the batches of a run can be shared by the processes that its trainings get from the resources table."""

from collections.abc import Iterable, Mapping
from typing import Any

from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.errors import UserError
from pipelines.kubeflow.resources import Resources, nodes_of


def check_batches(
    recipes: Iterable[str],
    overrides: Mapping[str, Any],
    *,
    steps: Iterable[str],
    table: Mapping[str, Resources],
) -> None:
    """Hold the batch of every recipe, overrides put in, against nodes times GPUs of each of the training `steps`.

    One process takes any batch, so that only rows with several are looked at.

    Raises:
        UserError: a batch cannot be shared evenly; the message names recipe and step.
    """
    several = {step: processes for step in steps if (processes := nodes_of(table[step]).processes) > 1}
    if not several:
        return
    # Here: it loads torch, which no other check before a submission needs.
    from cascade_core.parallel import World

    for name in recipes:
        config = named_recipe(name, overrides, seed=0)
        batches = {"train": config.train.batch_size, "self_train": config.self_train.batch_size}
        for step, processes in several.items():
            try:
                World(size=processes).share(
                    batches[step], config.train.accumulation_steps, field=f"{step}.batch_size"
                )
            except UserError as error:
                raise UserError(
                    f"recipe {name!r}, step {step} (nodes x GPUs of the table): {error}"
                ) from None
