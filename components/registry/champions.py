"""Use registered champions instead of trainings: find each recipe's champion, and download its checkpoint."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cascade_core.checkpoints.manifest import CheckpointManifest, load_manifest
from cascade_core.checkpoints.model_folder import CHECKPOINT
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder
from components.artifacts.manifest import write_manifest
from components.registry import versions as registry
from components.tracking.store import open_store, require_store
from components.tracking.stored_files import download

log = logging.getLogger(__name__)

FINAL = "final"
"""The subfolder of a training's folder that holds its last checkpoint."""


def known_champions(recipes: Sequence[str], *, protocol: str | None = None) -> dict[str, registry.Version]:
    """Return the champion of every recipe that has one, in the order of `recipes`.

    The champion belongs to the model that `register` names by default, `<protocol>-<method>`. `protocol`
    replaces the recipe's own, for example by that of a label file.

    Raises:
        UserError: a recipe is unknown, tracking is off, or the store cannot be opened.
    """
    names = {recipe: _model_name(recipe, protocol) for recipe in recipes}
    require_store("take champions from")
    client = open_store()
    champions = {recipe: registry.champion(client, name) for recipe, name in names.items()}
    return {recipe: version for recipe, version in champions.items() if version is not None}


def every_champion(recipes: Sequence[str], *, protocol: str | None = None) -> dict[str, registry.Version]:
    """Return the champion of every recipe, for `protocol` or the recipe's own.

    Raises:
        UserError: a recipe has no champion; the message lists all such recipes with their model names.
    """
    champions = known_champions(recipes, protocol=protocol)
    if missing := [f"{name} ({_model_name(name, protocol)})" for name in recipes if name not in champions]:
        raise UserError(
            f"no champion is registered for {', '.join(missing)}; leave them out, train them instead, or "
            "register and promote one (`cascade-clip models list` shows what there is)"
        )
    return champions


def fetch(model: str, out: Path) -> CheckpointManifest:
    """Download the checkpoint of a version, such as "models:/mini-18-6-zegclip/3", to `out/final`.

    Raises:
        UserError: there is no such version, its files cannot be downloaded, or they contain no checkpoint.
    """
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=folder) as scratch:
        download(f"{model}/artifacts/{CHECKPOINT}", Path(scratch)).rename(folder / FINAL)
        manifest = load_manifest(folder / FINAL)
        write_manifest(folder, step="champion", inputs={}, parameters={"model": model})
    log.info("%s: %s %s, seed %d", model, manifest.config.method, manifest.setting, manifest.config.seed)
    return manifest


def _model_name(recipe: str, protocol: str | None) -> str:
    config = named_recipe(recipe)
    return f"{protocol or config.data.protocol}-{config.method}"
