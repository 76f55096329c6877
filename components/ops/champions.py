"""Components about the model registry: ask the gate, register, take champions."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.ops.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(evaluation: Input[Artifact], margins: str, decision: Output[Artifact]) -> None:
    """Hold an evaluated candidate against the champion; `margins` (JSON) say how much better it must be."""
    import json
    from pathlib import Path

    from components.steps import gate
    from components.tracking import pipeline_run

    pipeline_run.join(evaluation.metadata.get("mlflow_run", ""))
    decided = gate.run(evaluation=Path(evaluation.path), out=Path(decision.path), **json.loads(margins))
    decision.metadata.update(promote=decided.promote, reason=decided.reason)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    trained: Input[Model],
    clip: str,
    evaluation: Input[Artifact],
    cost: Input[Artifact],
    decision: Input[Artifact],
    registered: Output[Artifact],
) -> None:
    """Put a checkpoint into the model registry; champion if the gate said so."""
    from pathlib import Path

    from components.steps import register
    from components.storage import places
    from components.tracking import pipeline_run

    pipeline_run.join(evaluation.metadata.get("mlflow_run", ""))
    result = register.run(
        checkpoint=Path(trained.path) / "final",
        clip=places.folder("clip", clip),
        evaluation=Path(evaluation.path),
        profile=Path(cost.path),
        decision=Path(decision.path),
        out=Path(registered.path),
    )
    registered.metadata.update(model=result.uri, champion=result.champion)


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
