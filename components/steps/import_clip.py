"""Step: make a CLIP folder from published weights, wherever they lie and whichever of the usual formats they have."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.configs.settings import Activation
from components.contract import Call, Option, Output, step

if TYPE_CHECKING:
    from cascade_core.configs.config import ClipConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """Where the CLIP folder lies, what it holds, and the file it was made from."""

    folder: Path
    config: "ClipConfig"
    weights: Path

    def show(self) -> None:
        """Print name, activation and folder."""
        print(f"{self.config.name}, {self.config.activation}: {self.folder}")


@step(
    "import_clip",
    example="cascade-clip import-clip ViT-B-16 --tag openai --out data/clip/ViT-B-16",
    tracked=False,
)
def run(
    call: Call,
    /,
    *,
    source: Annotated[
        str,
        Option(
            "Model name such as ViT-B-16, with --tag; or a path: safetensors, OpenAI's .pt, a hub folder.",
            argument=True,
        ),
    ],
    tag: Annotated[
        str | None, Option("Whose weights, as open_clip calls them: openai, laion2b_s34b_b88k, ...")
    ] = None,
    activation: Annotated[Activation | None, Option("Of a bare file, where no tag says it.")] = None,
    out: Annotated[Path | None, Output("CLIP folder to write; data/clip/<name> if left out.")] = None,
    cache: Annotated[Path | None, Option("open_clip's cache folder, where it is not the usual one.")] = None,
) -> Imported:
    """Make a CLIP folder from published weights.

    Of open_clip's models, which it fetches if they are not in its cache; or from OpenAI's archive, a safetensors
    file, a state dict, or a folder as on the hub. Shapes come from the weights. The activation comes from the tag,
    the folder's configuration or the archive being OpenAI's; of a bare file it must be stated, by --tag or
    --activation.

    Raises:
        UserError: the weights are not there or not of OpenAI's ViT layout, statements about them contradict
            each other or them, or the activation is not known.
    """
    from cascade_core.clip.archives import read_archive
    from cascade_core.clip.sources import config_of, source_of
    from cascade_core.clip.weights import clip_from_openai, save_clip

    found = source_of(source, tag=tag, cache=cache)
    archive = read_archive(found.weights)
    config = config_of(found, archive, tag=tag, given=activation)
    clip = clip_from_openai(archive.weights, config)
    folder = out or Path("data/clip") / re.sub(r"[^\w.-]", "-", config.name)
    with call.writing(
        out=folder,
        inputs={"weights": found.weights},
        parameters={"source": Path(source).name, "tag": tag, "activation": config.activation},
    ) as work:
        save_clip(work.folder, clip)
    log.info("CLIP %s (%s) from %s: %s", config.name, config.activation, found.weights, folder)
    return Imported(folder, config, found.weights)
