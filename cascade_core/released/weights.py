"""The authors' checkpoints: their state dicts in, segmentors out, strict about every key.

Released files hold `{'meta', 'state_dict', 'optimizer'}`; this module takes the state dict. Everything but
the numbers of attention heads and the tapped blocks is read off its shapes.
"""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from cascade_core.clip.text import TextTransformer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import ClipConfig, ModelConfig
from cascade_core.configs.recipes import CASCADE_GROUPS
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.listing import short_list

CLASS_WEIGHT_BUFFER = "decode_head.loss_decode.criterion.empty_weight"
TEXT_PREFIX = "text_encoder."

# Beginnings of released names and of ours; of several that fit, the first.
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
# Of every CLIP text tower; counting them instead would let a file pass that lacks the last ones.
_TEXT_LAYERS = 12


def our_name(released: str) -> str:
    """Return our state-dict key for a released one (text encoder and class-weight buffer excepted).

    Raises:
        UserError: the key belongs to neither method.
    """
    name = _renamed(released, (*_SHARED, *_ZEGCLIP, *_CASCADE), _LAYER_PARTS)
    if name is not None:
        return name
    raise UserError(
        f"checkpoint key {released!r} belongs to neither ZegCLIP nor Cascade-CLIP; "
        "expected keys starting with 'backbone.', 'decode_head.' or 'text_encoder.'"
    )


def released_name(ours: str, *, cascade: bool) -> str:
    """Return the released state-dict key of one of ours: the inverse of `our_name`.

    Raises:
        UserError: the released models have no such weight.
    """
    pairs, parts = (*_SHARED, *(_CASCADE if cascade else _ZEGCLIP)), _LAYER_PARTS
    name = _renamed(ours, [(back, key) for key, back in pairs], [(back, part) for part, back in parts])
    if name is None:
        raise UserError(f"{ours!r} is no weight of {'Cascade-CLIP' if cascade else 'ZegCLIP'} as released")
    return name


def _renamed(key: str, beginnings: Sequence[tuple[str, str]], parts: Sequence[tuple[str, str]]) -> str | None:
    begun = (new + key.removeprefix(old) for old, new in beginnings if key.startswith(old))
    name = next(begun, None)
    return name and reduce(lambda name, part: name.replace(*part), parts, name)


def segmentor_from_released(
    state_dict: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int = 8,
    groups: tuple[tuple[int, ...], ...] | None = None,
) -> Segmentor:
    """Build the segmentor of a released ZegCLIP or Cascade-CLIP state dict and fill it.

    Strict about every missing, unexpected or misshapen key. Two exceptions: the class-weight buffer
    (`empty_weight`) differs in shape between settings and is dropped, and `text_encoder.*`, which no
    inference runs, may be wholly there or wholly absent. `heads` is the image tower's; by default width / 64,
    as in every CLIP ViT. `groups` are the blocks a Cascade-CLIP taps, which no shape tells; by default the
    published ones.

    Raises:
        UserError: the keys or shapes are not those of either method; the message lists them.
    """
    _check_text_encoder(state_dict)
    released = {
        key: tensor
        for key, tensor in state_dict.items()
        if not key.startswith(TEXT_PREFIX) and key != CLASS_WEIGHT_BUFFER
    }
    ours = {key: our_name(key) for key in released}
    config = released_config(state_dict, heads=heads, decoder_heads=decoder_heads, groups=groups)
    segmentor = build_segmentor(config, VisionTransformer(config.clip), seed=0)
    cascade = config.fusion == "cascade"
    _compare(
        {released_name(key, cascade=cascade): tensor.shape for key, tensor in segmentor.state_dict().items()},
        {key: tensor.shape for key, tensor in released.items()},
    )
    segmentor.load_state_dict({ours[key]: tensor.float() for key, tensor in released.items()})
    return segmentor


def released_config(
    state_dict: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int = 8,
    groups: tuple[tuple[int, ...], ...] | None = None,
) -> ModelConfig:
    """Read the configuration of a released state dict off its shapes; what they do not tell is as published.

    Raises:
        UserError: a key that every such state dict has is missing, or two contradict each other.
    """

    def shape(key: str) -> torch.Size:
        if key not in state_dict:
            raise UserError(f"checkpoint lacks {key!r}: is it a whole ZegCLIP or Cascade-CLIP state dict?")
        return state_dict[key].shape

    width, _, patch_size, _ = shape("backbone.conv1.weight")
    side = round((shape("backbone.positional_embedding")[0] - 1) ** 0.5)
    cascade = any(key.startswith("decode_head.cascade_decoders.") for key in state_dict)
    decoder_name = "cascade_decoders.0" if cascade else "decoder_1"
    embed_dim = shape("backbone.proj")[1]
    query_name = "q_projs.0" if cascade else "q_proj"
    # Before anything is built with them.
    for key, size, other in (
        ("backbone.conv1.weight", width, "backbone.class_embedding"),
        ("backbone.proj", embed_dim, f"decode_head.{query_name}.bias"),
    ):
        if size != shape(other)[0]:
            raise UserError(
                f"checkpoint does not fit: {key} is of width {size}, {other} of {shape(other)[0]}"
            )
    feedforward = shape(f"decode_head.{decoder_name}.layers.0.linear1.weight")[0]
    image_size = side * patch_size
    clip = ClipConfig(
        name="released",
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        layers=_count(state_dict, r"backbone\.transformer\.resblocks\.(\d+)\."),
        heads=heads or max(1, width // 64),
        embed_dim=embed_dim,
        **_text_shapes(state_dict, embed_dim),
    )
    return ModelConfig(
        clip=clip,
        image_size=image_size,
        num_prompts=shape("backbone.prompt_embeddings")[1],
        fusion="cascade" if cascade else "none",
        groups=(CASCADE_GROUPS if groups is None else groups) if cascade else (),
        decoder_layers=_count(state_dict, rf"decode_head\.{re.escape(decoder_name)}\.layers\.(\d+)\."),
        decoder_heads=decoder_heads,
        feedforward_ratio=feedforward // embed_dim,
    )


def _text_shapes(state_dict: Mapping[str, Tensor], embed_dim: int) -> dict[str, Any]:
    """Read the text tower's shapes, or state OpenAI's where the checkpoint carries none."""
    tokens = state_dict.get(f"{TEXT_PREFIX}token_embedding.weight")
    if tokens is None:
        openai = {"text_heads": 8, "context_length": 77, "vocab_size": 49408}
        return {"text_width": embed_dim, "text_layers": _TEXT_LAYERS, **openai}
    return {
        "text_width": tokens.shape[1],
        "text_layers": _TEXT_LAYERS,
        "text_heads": max(1, tokens.shape[1] // 64),
        "context_length": state_dict[f"{TEXT_PREFIX}positional_embedding"].shape[0],
        "vocab_size": tokens.shape[0],
    }


def _count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    found = {int(match[1]) for key in state_dict if (match := re.match(pattern, key))}
    if not found:
        raise UserError(f"checkpoint has no key matching {pattern!r}: is it a whole state dict?")
    return max(found) + 1


def _check_text_encoder(state_dict: Mapping[str, Tensor]) -> None:
    present = {key.removeprefix(TEXT_PREFIX) for key in state_dict if key.startswith(TEXT_PREFIX)}
    if not present:
        return
    needed = {"token_embedding.weight", "positional_embedding", "text_projection"}
    if not needed <= present:
        raise UserError(
            f"checkpoint's text_encoder is partial: {short_list(sorted(needed - present), most=5)} missing; keep all of it or none"
        )
    shapes = _text_shapes(state_dict, embed_dim=0)
    embed_dim = state_dict[f"{TEXT_PREFIX}text_projection"].shape[1]
    with torch.device("meta"):
        # Only the key names and shapes of a text tower of this size are wanted; nothing is allocated.
        image: dict[str, Any] = dict.fromkeys(("image_size", "patch_size", "width", "layers", "heads"), 1)
        tower = TextTransformer(ClipConfig(name="text", embed_dim=embed_dim, **image, **shapes))
    _compare(
        {
            TEXT_PREFIX + re.sub(r"^blocks\.", "transformer.resblocks.", key): tensor.shape
            for key, tensor in tower.state_dict().items()
        },
        {key: tensor.shape for key, tensor in state_dict.items() if key.startswith(TEXT_PREFIX)},
    )


def _compare(expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> None:
    problems = []
    if missing := expected.keys() - found.keys():
        problems.append(f"missing {short_list(sorted(missing), most=5)}")
    if unexpected := found.keys() - expected.keys():
        problems.append(f"unexpected {short_list(sorted(unexpected), most=5)}")
    problems += [
        f"{key} has shape {tuple(found[key])}, expected {tuple(expected[key])}"
        for key in sorted(expected.keys() & found.keys())
        if expected[key] != found[key]
    ]
    if problems:
        raise UserError(f"checkpoint does not fit: {'; '.join(problems)}")
