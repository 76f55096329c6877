"""The model of a prediction that names none: never a trained one by guess, but CLIP alone.

The order is the variable `CASCADE_MODEL`, `predict.model` in the working folder's params.yaml, and NACLIP on a given or
an imported CLIP.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from cascade_core.clip.files import CONFIG_FILE
from cascade_core.clip.home import clip_folder, clip_home, imported_clip
from cascade_core.clip.published import is_cached
from cascade_core.clip.sources import OPENAI
from cascade_core.configs.backbones import CLIP_VIT_B16, MINI_CLIP
from cascade_core.configs.overrides import read_parameters
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.listing import brief, short_list
from cascade_core.training_free import training_free_predictor
from components.registry.addresses import clip_for, load_predictor

log = logging.getLogger(__name__)

VARIABLE, PARAMETERS = "CASCADE_MODEL", Path("params.yaml")
METHOD, USUAL_CLIP = "naclip", CLIP_VIT_B16.name


def predictor_for(
    model: str | None,
    clip: Path | None = None,
    *,
    device: str | torch.device | None = None,
    may_fetch: Callable[[], bool] = lambda: False,
    import_clip: Callable[[str, str], Path],
) -> Predictor:
    """Load the named model, or the default one; log which it is if it was not named.

    Without any CLIP, `may_fetch` is asked whether to fetch OpenAI's ViT-B-16 through open_clip. `import_clip` imports
    a CLIP by its name and tag, and returns the folder.

    Raises:
        UserError: the model cannot be loaded; or none is named, and no CLIP is at hand or can be fetched.
    """
    named = model or os.environ.get(VARIABLE) or _of_parameters()
    if named is not None:
        predictor = load_predictor(named, clip_for(named, clip), device=device)
        if model is None:
            log.info("model: %s", named)
    else:
        folder = _clip(may_fetch, import_clip) if clip is None else clip_folder(clip)
        predictor = training_free_predictor(folder, METHOD, device=device)
        log.info("model: %s on %s, without training", METHOD, predictor.manifest.config.model.clip.name)
    if predictor.manifest.config.model.clip.name == MINI_CLIP.name:
        log.info("this is a toy: it knows the mini benchmark's drawings and few words, and no photographs")
    return predictor


def is_at_hand(clip: Path | None = None) -> bool:
    """Return whether `predictor_for` finds a model that is not named without fetching one."""
    named = os.environ.get(VARIABLE) or _of_parameters()
    imported = any(clip_home().glob(f"*/{CONFIG_FILE}"))
    return named is not None or clip is not None or imported or is_cached(USUAL_CLIP, OPENAI)


def _of_parameters() -> str | None:
    """Return `predict.model` of the working folder's params.yaml; None without that setting."""
    if not PARAMETERS.is_file():
        return None
    section = read_parameters(PARAMETERS).get("predict") or {}
    model = section.get("model") if isinstance(section, Mapping) else section
    if model is not None and not isinstance(model, str):
        raise UserError(
            f"{PARAMETERS}: predict.model is {brief(model)}; give a model's folder, name or address"
        )
    return model


def _clip(may_fetch: Callable[[], bool], import_clip: Callable[[str, str], Path]) -> Path:
    """Return the folder of the usual CLIP, or of the only imported one; import the usual one if it is at hand."""
    usual = imported_clip(USUAL_CLIP)
    if (usual / CONFIG_FILE).is_file():
        return usual
    imported = sorted(path.parent for path in clip_home().glob(f"*/{CONFIG_FILE}"))
    if len(imported) > 1:
        names = [folder.name for folder in imported]
        raise UserError(
            f"no model is named, and several CLIPs are imported; choose one: --clip {short_list(names, most=10)}"
        )
    if imported:
        return imported[0]
    if not is_cached(USUAL_CLIP, OPENAI) and not may_fetch():
        raise UserError(
            "no model is named and no CLIP is imported: add --yes to fetch OpenAI's ViT-B-16 (about 600 MB), or bring its "
            "file and run `cascade-clip import-clip ViT-B-16.pt`, or name a model (--model mini is a toy)"
        )
    return import_clip(USUAL_CLIP, OPENAI)
