"""Build segmentors from the state dicts of the authors' checkpoints; every key must match.

Released files hold `{'meta', 'state_dict', 'optimizer'}`; this module takes the state dict. Its shapes give the
whole configuration except the numbers of attention heads and the blocks that Cascade-CLIP taps.
"""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from cascade_core.clip.text import TextTransformer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.model import ClipConfig, ModelConfig
from cascade_core.configs.published_recipes import CASCADE_GROUPS
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.tensors import check_finite, check_fit
from cascade_core.runtime.validation import validated

CLASS_WEIGHT_BUFFER = "decode_head.loss_decode.criterion.empty_weight"
TEXT_PREFIX = "text_encoder."
_UNFIT = "checkpoint does not fit"

# Prefixes of released keys and of ours; the first that matches counts.
_SHARED = (
    ("backbone.transformer.resblocks.", "trunk.visual.blocks."),
    ("backbone.prompt_", "trunk.prompts.prompt_"),
    ("backbone.deep_prompt_", "trunk.prompts.deep_prompt_"),
    ("backbone.ln_layers.", "decoder.mid.norms."),
    ("backbone.proj_layers", "decoder.mid.projections"),
    ("backbone.", "trunk.visual."),
    ("decode_head.weights_s1", "decoder.group_weights.0"),
    ("decode_head.weights_s2", "decoder.group_weights.1"),
)
_ZEGCLIP = (
    ("decode_head.q_proj.", "decoder.stages.0.query.proj."),
    ("decode_head.decoder_1.", "decoder.stages.0.decoder."),
)
_CASCADE = tuple(
    (f"decode_head.{theirs}.{stage}.", f"decoder.stages.{stage}.{ours}.")
    for stage in range(3)
    for theirs, ours in (("q_projs", "query.proj"), ("cascade_decoders", "decoder"))
)
_LAYER_PARTS = (
    (".self_attn.", ".unused_self_attention."),
    (".norm1.", ".unused_norm."),
    (".multihead_attn.", ".attention."),
)
_TEXT_LAYERS = 12
"""Text towers of released files have 12 layers; a count of the keys would accept a file without the last layers."""


def our_name(released: str) -> str:
    """Return our state-dict key for a released one (text encoder and class-weight buffer excepted)."""
    name = _replace_prefix(released, (*_SHARED, *_ZEGCLIP, *_CASCADE), _LAYER_PARTS)
    assert name is not None, f"{released} is no key of ZegCLIP or Cascade-CLIP"
    return name


def released_name(ours: str, *, cascade: bool) -> str:
    """Return the released state-dict key for one of ours: the inverse of `our_name`."""
    prefixes = [(ours, theirs) for theirs, ours in (*_SHARED, *(_CASCADE if cascade else _ZEGCLIP))]
    name = _replace_prefix(ours, prefixes, [(ours, theirs) for theirs, ours in _LAYER_PARTS])
    assert name is not None, f"{ours} is no weight of the released models"
    return name


def _replace_prefix(
    key: str, prefixes: Sequence[tuple[str, str]], parts: Sequence[tuple[str, str]]
) -> str | None:
    """Replace the first prefix that matches, then every part inside the key; None if no prefix matches."""
    renamed = (new + key.removeprefix(old) for old, new in prefixes if key.startswith(old))
    name = next(renamed, None)
    return name and reduce(lambda name, part: name.replace(*part), parts, name)


def segmentor_from_released(
    state_dict: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int = 8,
    groups: tuple[tuple[int, ...], ...] | None = None,
) -> Segmentor:
    """Build the segmentor of a released ZegCLIP or Cascade-CLIP state dict and load its weights.

    Two kinds of keys are optional. The class-weight buffer (`empty_weight`) is dropped, for its shape depends on the
    setting. `text_encoder.*`, which inference does not run, must be complete or absent. Shapes show neither
    `heads` of the image tower (by default width / 64, as in every CLIP ViT) nor the `groups` of blocks that
    Cascade-CLIP taps (by default the published ones).

    Raises:
        UserError: a key is missing, unexpected or of another shape than either method has; the message lists them.
    """
    _check_text_encoder(state_dict)
    released = {
        key: tensor
        for key, tensor in state_dict.items()
        if not key.startswith(TEXT_PREFIX) and key != CLASS_WEIGHT_BUFFER
    }
    config = released_config(state_dict, heads=heads, decoder_heads=decoder_heads, groups=groups)
    cascade = config.fusion == "cascade"
    with torch.device("meta"):  # New weights, which nobody uses, would take longer than the rest.
        segmentor = build_segmentor(config, VisionTransformer(config.clip), seed=0)
    check_fit(
        {released_name(key, cascade=cascade): tensor for key, tensor in segmentor.state_dict().items()},
        released,
        source=_UNFIT,
    )
    check_finite(released, source="checkpoint")
    weights = {
        our_name(key): tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for key, tensor in released.items()
    }
    segmentor.load_state_dict(weights, assign=True)
    return segmentor


def released_config(
    state_dict: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int = 8,
    groups: tuple[tuple[int, ...], ...] | None = None,
) -> ModelConfig:
    """Read the configuration from a released state dict's shapes; arguments as in `segmentor_from_released`.

    Raises:
        UserError: a key that both methods need is missing, or the shapes of two keys contradict each other.
    """

    def shape(key: str, ndim: int) -> torch.Size:
        if key not in state_dict:
            raise UserError(f"checkpoint lacks {key!r}: is it a whole ZegCLIP or Cascade-CLIP state dict?")
        return _shape(state_dict, key, ndim)

    width, _, patch_size, _ = shape("backbone.conv1.weight", 4)
    side = round(max(0, shape("backbone.positional_embedding", 2)[0] - 1) ** 0.5)
    cascade = any(key.startswith("decode_head.cascade_decoders.") for key in state_dict)
    decoder_name, query_name = ("cascade_decoders.0", "q_projs.0") if cascade else ("decoder_1", "q_proj")
    embed_dim = shape("backbone.proj", 2)[1]
    # Check sizes before the model is built with them.
    for key, size, other in (
        ("backbone.conv1.weight", width, "backbone.class_embedding"),
        ("backbone.proj", embed_dim, f"decode_head.{query_name}.bias"),
    ):
        if size != (width_of_other := shape(other, 1)[0]):
            raise UserError(f"checkpoint does not fit: {key} is {size} wide, {other} {width_of_other}")
    image_size = side * patch_size
    clip = {
        "name": "released",
        "image_size": image_size,
        "patch_size": patch_size,
        "width": width,
        "layers": _count(state_dict, r"backbone\.transformer\.resblocks\.(\d+)\."),
        "heads": heads or max(1, width // 64),
        "embed_dim": embed_dim,
        **_text_shapes(state_dict, embed_dim),
    }
    feedforward = shape(f"decode_head.{decoder_name}.layers.0.linear1.weight", 2)[0]
    model = {
        "clip": clip,
        "image_size": image_size,
        "num_prompts": shape("backbone.prompt_embeddings", 3)[1],
        "fusion": "cascade" if cascade else "none",
        "groups": (CASCADE_GROUPS if groups is None else groups) if cascade else (),
        "decoder_layers": _count(state_dict, rf"decode_head\.{re.escape(decoder_name)}\.layers\.(\d+)\."),
        "decoder_heads": decoder_heads,
        "feedforward_ratio": feedforward // max(1, embed_dim),
    }
    return validated(ModelConfig, model, source=_UNFIT)


def _text_shapes(state_dict: Mapping[str, Tensor], embed_dim: int) -> dict[str, Any]:
    """Read the shapes of the text tower; OpenAI's if the checkpoint has no text tower."""
    tokens = state_dict.get(f"{TEXT_PREFIX}token_embedding.weight")
    if tokens is None:
        openai = {"text_heads": 8, "context_length": 77, "vocab_size": 49408}
        return {"text_width": embed_dim, "text_layers": _TEXT_LAYERS, **openai}
    vocab_size, width = _shape(state_dict, f"{TEXT_PREFIX}token_embedding.weight", 2)
    return {
        "text_width": width,
        "text_layers": _TEXT_LAYERS,
        "text_heads": max(1, width // 64),
        "context_length": _shape(state_dict, f"{TEXT_PREFIX}positional_embedding", 2)[0],
        "vocab_size": vocab_size,
    }


def _shape(state_dict: Mapping[str, Tensor], key: str, ndim: int) -> torch.Size:
    shape = state_dict[key].shape
    if len(shape) != ndim:
        raise UserError(f"{_UNFIT}: {key} has shape {tuple(shape)}, expected {ndim} axes")
    return shape


def _count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """Return the highest index in the keys that match `pattern`, plus one."""
    indices = [int(match[1]) for key in state_dict if (match := re.match(pattern, key))]
    if not indices:
        raise UserError(f"checkpoint has no key matching {pattern!r}: is it a whole state dict?")
    return max(indices) + 1


def _check_text_encoder(state_dict: Mapping[str, Tensor]) -> None:
    """Check that `text_encoder.*` is absent or complete, with the shapes of a text tower."""
    present = {key.removeprefix(TEXT_PREFIX) for key in state_dict if key.startswith(TEXT_PREFIX)}
    if not present:
        return
    if missing := {"token_embedding.weight", "positional_embedding", "text_projection"} - present:
        names = short_list(sorted(missing), most=5)
        raise UserError(f"checkpoint's text_encoder is partial: {names} missing; keep all of it or none")
    shapes = _text_shapes(state_dict, embed_dim=0)
    embed_dim = _shape(state_dict, f"{TEXT_PREFIX}text_projection", 2)[1]
    with torch.device("meta"):  # Only key names and shapes matter, so no memory is allocated.
        image: dict[str, Any] = dict.fromkeys(("image_size", "patch_size", "width", "layers", "heads"), 1)
        config = {"name": "text", "embed_dim": embed_dim, **image, **shapes}
        tower = TextTransformer(validated(ClipConfig, config, source=_UNFIT))
    check_fit(
        {
            TEXT_PREFIX + re.sub(r"^blocks\.", "transformer.resblocks.", key): tensor
            for key, tensor in tower.state_dict().items()
        },
        {key: tensor for key, tensor in state_dict.items() if key.startswith(TEXT_PREFIX)},
        source=_UNFIT,
    )
