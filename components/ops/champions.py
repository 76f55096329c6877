"""Components about the model registry: find champions, take them."""

from kfp import dsl
from kfp.dsl import Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def find_champions(runs: list) -> list:
    """Give every run the version that is its recipe's champion now, as ParallelFor takes them; each must have one."""
    from components.registry import champions

    held = champions.every_champion([run["recipe"] for run in runs], protocol=runs[0]["protocol"])
    return [{**run, "model": held[run["recipe"]].uri} for run in runs]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def take_champion(model: str, trained: Output[Model]) -> None:
    """Fetch a registered version as the folder of a training, for the steps that measure one."""
    from pathlib import Path

    from components.registry import champions

    manifest = champions.fetch(model, Path(trained.path))
    config = manifest.config
    trained.metadata.update(recipe=config.recipe, seed=config.seed, setting=manifest.setting, model=model)
