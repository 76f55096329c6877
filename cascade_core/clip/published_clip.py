"""A CLIP read from published weights in any of the usual formats."""

from pathlib import Path

from cascade_core.clip.archives import read_archive
from cascade_core.clip.sources import config_of, source_of
from cascade_core.clip.weights import ClipModel, clip_from_openai
from cascade_core.configs.settings import Activation


def read_published(
    source: str, *, tag: str | None, activation: Activation | None = None, cache: Path | None = None
) -> tuple[ClipModel, Path]:
    """Return a CLIP and the file of its weights; `source` is a path, or open_clip's name of a model with its tag.

    Raises:
        UserError: the weights are missing or not of OpenAI's ViT layout, or statements about them contradict each
            other or the weights.
    """
    published = source_of(source, tag=tag, cache=cache)
    archive = read_archive(published.weights)
    config = config_of(published, archive, tag=tag, given=activation)
    return clip_from_openai(archive.weights, config), published.weights
