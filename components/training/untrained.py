"""A recipe without weights to train becomes a model as it is, so that all runners treat it as the trained ones."""

import logging
import os

from cascade_core.checkpoints.checkpoint import save_checkpoint
from cascade_core.checkpoints.without_training import training_free_model
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import RunConfig
from cascade_core.parallel import world_of
from cascade_core.runtime.files import new_file
from components.artifacts.manifest import data_hash
from components.contract import Call
from components.inputs.split import read_split
from components.results.names import FINAL_FOLDER, HISTORY_FILE
from components.training.inductive import towers
from components.vectors.vector_files import templates_of

log = logging.getLogger(__name__)


def write_untrained(config: RunConfig, call: Call) -> None:
    """Write the checkpoint `final/` of a training-free recipe, and a loss curve without a point.

    Its protocol is that of the splits. Its prompt templates are those of the text vectors, which all recipes of a run
    share, because prediction must name classes as the evaluation did.

    Raises:
        UserError: the CLIP is another than the recipe's, or an input folder is broken.
    """
    if not world_of(os.environ).leads:
        return
    inputs, split = call.inputs, read_split(call.inputs["splits"])
    tower, _ = towers(config, inputs.get("clip"))
    templates = templates_of(inputs["text"]) or config.data.templates
    if templates != config.data.templates:
        log.info(
            "%s: %d prompt templates of the text vectors replace its own %d",
            config.recipe,
            len(templates),
            len(config.data.templates),
        )
    config = with_overrides(
        config,
        {
            "data.protocol": split.own or split.name,
            "data.templates": templates,
            "model.clip": tower.config.model_dump(),
        },
    )
    segmentor, manifest = training_free_model(tower, config)
    with call.writing(
        method=config.method,
        setting=manifest.setting,
        protocol=config.data.protocol,
        seed=config.seed,
        parameters=config.model_dump(mode="json"),
        tags={"data_hash": data_hash(inputs["prepared"])},
    ) as work:
        save_checkpoint(work.folder / FINAL_FOLDER, segmentor, manifest)
        with new_file(work.folder / HISTORY_FILE) as path:
            path.write_text("iteration,loss\n", encoding="utf-8")
