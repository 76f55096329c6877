"""Step: make a CLIP folder from published weights, in any of the usual formats."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.clip.home import clip_home, imported_clip
from cascade_core.configs.settings import Activation
from components.contract import Call, Option, Output, step

if TYPE_CHECKING:
    from cascade_core.configs.config import ClipConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """The CLIP folder, its configuration, and the file of the published weights."""

    folder: Path
    config: "ClipConfig"
    weights: Path

    def show(self) -> None:
        """Print model, activation and folder, and the name that `--clip` accepts for the folder."""
        print(f"{self.config.name}, {self.config.activation}: {self.folder}")
        if self.folder.parent == clip_home():
            print(f"commands take it as --clip {self.folder.name}")


@step(
    "import_clip",
    example="cascade-clip import-clip ViT-B-16 --tag openai",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    source: Annotated[
        str,
        Option(
            "Model name such as ViT-B-16, with --tag; or the path of a safetensors file, OpenAI's .pt, or a hub folder.",
            argument=True,
        ),
    ],
    tag: Annotated[
        str | None, Option("Weights of the model, by open_clip's tag: openai, laion2b_s34b_b88k, ...")
    ] = None,
    activation: Annotated[Activation | None, Option("Activation of a bare file without --tag.")] = None,
    out: Annotated[
        Path | None, Output("CLIP folder to write; if left out, clip/<name> in $CASCADE_HOME.")
    ] = None,
    cache: Annotated[Path | None, Option("Cache folder of open_clip; if left out, its usual one.")] = None,
) -> Imported:
    """Make a CLIP folder from published weights.

    The source is a model of open_clip, which is downloaded if it is not in the cache; or OpenAI's archive, a
    safetensors file, a state dict, or a folder of the hub. Shapes follow from the weights. The activation follows
    from the tag, the folder's configuration, or OpenAI's archive; for a bare file, --tag or --activation states it.

    Without --out, the folder is outside every project: in $CASCADE_HOME, or without that variable in the user's data
    folder. Every command then takes the name of the CLIP: --clip ViT-B-16.

    Raises:
        UserError: the weights are missing or not of OpenAI's ViT layout, statements about them contradict each other
            or the weights, or the activation is unknown.
    """
    from cascade_core.clip.archives import read_archive
    from cascade_core.clip.sources import config_of, source_of
    from cascade_core.clip.weights import clip_from_openai, save_clip

    published = source_of(source, tag=tag, cache=cache)
    archive = read_archive(published.weights)
    config = config_of(published, archive, tag=tag, given=activation)
    clip = clip_from_openai(archive.weights, config)
    folder = out or imported_clip(config.name)
    with call.writing(
        out=folder,
        inputs={"weights": published.weights},
        parameters={"source": Path(source).name, "tag": tag, "activation": config.activation},
    ) as work:
        save_clip(work.folder, clip)
    log.info("CLIP %s (%s) from %s: %s", config.name, config.activation, published.weights, folder)
    return Imported(folder, config, published.weights)
