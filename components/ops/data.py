"""Components before training: data checked and indexed, classes stated, a vector per class name."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    mlflow_run: str,
    raw: str,
    clip: str,
    protocol: str,
    image_sets: str,
    recipes: list,
    overrides: str,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
) -> list:
    """Check and index the data, state seen and unseen classes, make a vector per class name; return the runs to loop over.

    Each has its recipe, the protocol's name and the hash of the data. These take this way because `kfp.local` 2.17 puts the
    loop's item in the place of any other step's result that enters a loop.
    """
    import json
    from pathlib import Path

    from cascade_core.configs.recipes import recipe as named_recipe
    from components.bodies import before_training
    from components.inputs.split import read_split
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    config = named_recipe(recipes[0], json.loads(overrides))
    done = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=places.protocol(protocol),
        image_sets=json.loads(image_sets),
        templates=config.data.templates,
        background=config.evaluate.background.names,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
    )
    prepared.metadata.update(data_hash=done.data_hash, protocol=protocol, raw=raw, mlflow_run=mlflow_run)
    text.metadata.update(mlflow_run=mlflow_run)
    run = {"protocol": read_split(Path(splits.path)).name, "data_hash": done.data_hash}
    return [{"recipe": recipe, **run} for recipe in recipes]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_target(
    mlflow_run: str,
    raw: str,
    clip: str,
    checkpoint: str,
    protocol: str,
    image_sets: str,
    background: str,
    prepared: Output[Dataset],
    splits: Output[Dataset],
    text: Output[Dataset],
) -> None:
    """Prepare another data set for a checkpoint: its vectors come from the prompt templates that it was trained with.

    Names that stand for `background` get vectors too.
    """
    import json
    from pathlib import Path

    from cascade_core.checkpoints.manifest import load_manifest
    from cascade_core.labels.background import parse_background
    from components.bodies import before_training
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(mlflow_run)
    config = load_manifest(places.folder("checkpoint", checkpoint)).config
    done = before_training.run(
        raw=places.folder("raw", raw),
        clip=places.folder("clip", clip),
        protocol=places.protocol(protocol),
        image_sets=json.loads(image_sets),
        templates=config.data.templates,
        prepared=Path(prepared.path),
        split=Path(splits.path),
        text=Path(text.path),
        background=parse_background(background).names,
    )
    prepared.metadata.update(data_hash=done.data_hash, protocol=protocol, raw=raw, mlflow_run=mlflow_run)
