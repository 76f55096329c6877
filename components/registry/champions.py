"""Registered champions in the place of trainings: which recipe has one, and its checkpoint as a step's folder."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cascade_core.checkpoints.manifest import CheckpointManifest, load_manifest
from cascade_core.checkpoints.model_folder import CHECKPOINT
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder
from components.artifacts import write_manifest
from components.registry import versions as registry
from components.tracking.store import open_store, require_store, told_of

log = logging.getLogger(__name__)

FINAL = "final"
"""Where the steps that measure a training look for its checkpoint."""

WEIGHTS = f"artifacts/{CHECKPOINT}"
"""Where a registered model keeps its checkpoint."""


def known_champions(recipes: Sequence[str], *, protocol: str | None = None) -> dict[str, registry.Version]:
    """Give the champion of every recipe that has one, in the order of `recipes`.

    A recipe's model is the one that `register` names by itself, `<protocol>-<method>`; on other data than the
    recipe's own, such as a label file's, `protocol` names those.

    Raises:
        UserError: a recipe is unknown, tracking is off, or the store cannot be opened.
    """
    names = {recipe: _model_name(recipe, protocol) for recipe in recipes}
    require_store("take champions from")
    client = open_store()
    held = {recipe: registry.champion(client, name) for recipe, name in names.items()}
    return {recipe: version for recipe, version in held.items() if version is not None}


def every_champion(recipes: Sequence[str], *, protocol: str | None = None) -> dict[str, registry.Version]:
    """Give the champion of every recipe, on its own protocol or the one that is named.

    Raises:
        UserError: some recipe has none; the message names all of those, and what they are looked for as.
    """
    found = known_champions(recipes, protocol=protocol)
    if missing := [recipe for recipe in recipes if recipe not in found]:
        listed = ", ".join(f"{recipe} ({_model_name(recipe, protocol)})" for recipe in missing)
        raise UserError(
            f"no champion is registered for {listed}; leave them out, train them instead, or register and "
            "promote one (`cascade-clip models list` shows what there is)"
        )
    return found


def fetch(model: str, out: Path) -> CheckpointManifest:
    """Fetch a version, such as "models:/mini-18-6-zegclip/3", as the folder of a training: `out/final`.

    Raises:
        UserError: there is no such version, its files cannot be had, or they hold no checkpoint.
    """
    import mlflow

    open_store()
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        with told_of(
            f"the checkpoint of {model}", way_out="see that the version and its artifacts are there"
        ):
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{model}/{WEIGHTS}", dst_path=scratch, tracking_uri=mlflow.get_tracking_uri()
            )
        Path(found).rename(folder / FINAL)
        manifest = load_manifest(folder / FINAL)
        write_manifest(folder, step="champion", inputs={}, parameters={"model": model})
    log.info("%s: %s %s, seed %d", model, manifest.config.method, manifest.setting, manifest.config.seed)
    return manifest


def _model_name(recipe: str, protocol: str | None) -> str:
    config = named_recipe(recipe)
    return f"{protocol or config.data.protocol}-{config.method}"
