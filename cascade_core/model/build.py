"""Build a segmentor from a `ModelConfig`; only this module chooses its parts."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from cascade_core.clip.text import TextTransformer
from cascade_core.clip.tuning import tune_queries_and_values
from cascade_core.clip.vision import DeepPrompts, VisionTransformer, resize_position_grid
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.settings import INFERENCE_SETTINGS
from cascade_core.errors import UserError
from cascade_core.model.aggregation import AGGREGATORS, level_weights
from cascade_core.model.cascade import MaskHead, MaskStage, MidProjections
from cascade_core.model.cost_aggregation import CostDecoder
from cascade_core.model.decoder import CosineDecoder, Decoder, LinearDecoder, MaskDecoder
from cascade_core.model.optimal_transport import TransportDecoder
from cascade_core.model.queries import ClassQuery
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.spectral import SpectralPrompt
from cascade_core.model.text_cosines import TextCosines
from cascade_core.model.trunk import Trunk
from cascade_core.model.two_frequency import IDENTITY, TwoFrequencyDecoder
from cascade_core.runtime.listing import by_name
from cascade_core.runtime.validation import first_error

Part = TypeVar("Part", bound=nn.Module)


def build_segmentor(
    config: ModelConfig, visual: VisionTransformer, *, seed: int, text: TextTransformer | None = None
) -> Segmentor:
    """Compose a segmentor around a copy of `visual`; only `seed` decides its new weights.

    A model of tokens also gets a copy of the text tower `text`; without one, its tower is random.

    This resizes CLIP's position grid once, to the configured picture size, and keeps torch's global random state.

    Raises:
        UserError: `model.decoder` names no decoder.
    """
    decoder = by_name(config.decoder, DECODERS, kind="decoder (model.decoder)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = _tower_at(config, visual)
        trunk = Trunk(
            tower,
            _prompts(config),
            tapped_blocks=_tapped_blocks(config),
            double_class_embedding=config.double_class_embedding,
            position_resize=config.position_resize,
            last_block=config.last_block,
            spectral=_spectral(config),
        )
        segmentor = Segmentor(config, trunk, decoder(config, tower), _text_tower(config, text))
        if config.tuned == "queries_values":
            last_attends = config.last_block.attention != "value"
            tune_queries_and_values(trunk.visual.blocks, last_attends=last_attends)
            if segmentor.text is not None:
                tune_queries_and_values(segmentor.text.blocks, last_attends=True)
        return segmentor


def _text_tower(config: ModelConfig, text: TextTransformer | None) -> TextTransformer | None:
    if config.text != "tokens":
        return None
    tower = TextTransformer(config.clip) if text is None else deepcopy(text)
    return tower.requires_grad_(False)


def _tower_at(config: ModelConfig, visual: VisionTransformer) -> VisionTransformer:
    tower = deepcopy(visual)
    side = config.image_size // config.clip.patch_size
    positions = tower.positional_embedding.detach()
    resized = resize_position_grid(positions, side, side, kind=config.position_resize)
    tower.positional_embedding = nn.Parameter(resized.clone())
    return tower


def _tapped_blocks(config: ModelConfig) -> tuple[int, ...]:
    """Return the blocks whose patches the decoder reads."""
    if config.decoder == "cost_aggregation":
        return config.cost.guide_blocks
    return tuple(block for group in config.groups for block in group)


def _prompts(config: ModelConfig) -> DeepPrompts | None:
    if config.trunk == "frozen":
        return None
    return DeepPrompts(
        num_prompts=config.num_prompts,
        layers=config.prompt_depth or config.clip.layers,
        width=config.clip.width,
        patch_size=config.clip.patch_size,
        dropout=config.dropout,
    )


def _spectral(config: ModelConfig) -> SpectralPrompt | None:
    if config.trunk != "spectral_prompts":
        return None
    return SpectralPrompt(side=config.image_size // config.clip.patch_size, width=config.clip.width)


def _mask_head(config: ModelConfig, tower: VisionTransformer) -> MaskHead:
    sizes = tuple(len(group) for group in config.groups) if config.fusion == "cascade" else ()
    stages = [_stage(config, first=index == 0) for index in range(1 + len(sizes))]
    mid = _mid_projections(config, tower)
    weights = [level_weights(config.aggregation, size, config.aggregation_sigma) for size in sizes]
    make = AGGREGATORS.get(config.aggregation)
    return MaskHead(
        fusion=config.fusion,
        group_sizes=sizes,
        mid=mid,
        group_weights=[one for one in weights if one is not None],
        aggregators=[_initialise(make(size, config.clip.embed_dim), config) for size in sizes]
        if make
        else [],
        stages=stages,
        cosines=_cosines(config),
    )


def set_inference(segmentor: Segmentor, changes: Mapping[str, Any]) -> None:
    """Change a segmentor's settings of `INFERENCE_SETTINGS`, by their names; the weights stay as they are.

    Raises:
        UserError: its decoder adds no cosines, or has one map.
    """
    assert changes.keys() <= set(INFERENCE_SETTINGS), changes
    values = {**segmentor.config.model_dump(), **changes}
    values.pop("cosines_in_training", None)
    stated = ", ".join(f"{name}={value}" for name, value in changes.items())
    try:
        segmentor.config = ModelConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"the model cannot have {stated}: {first_error(error)}") from error
    match segmentor.decoder:
        case MaskHead() as head:
            head.cosines = _cosines(segmentor.config)
        case TransportDecoder() as transport:
            transport.inference_map = segmentor.config.inference_map


def _cosines(config: ModelConfig) -> TextCosines | None:
    if not config.adds_cosines:
        return None
    return TextCosines(
        of_picture=config.picture_cosine, of_patch=config.patch_cosine, in_training=config.cosines_in_training
    )


def _mid_projections(config: ModelConfig, tower: VisionTransformer) -> MidProjections | None:
    num_levels = sum(len(group) for group in config.groups)
    if num_levels == 0:
        return None
    with torch.random.fork_rng(devices=[], enabled=config.mid_projection_seed is not None):
        if config.mid_projection_seed is not None:
            torch.manual_seed(config.mid_projection_seed)
        mid = MidProjections(num_levels, config.clip.width, config.clip.embed_dim)
    if config.mid_projection_init == "clip":
        with torch.no_grad():
            mid.projections.copy_(tower.proj.expand_as(mid.projections))
        for norm in mid.norms:
            norm.load_state_dict(tower.ln_post.state_dict())
    return mid.requires_grad_(config.mid_projection_trains)


def _stage(config: ModelConfig, *, first: bool) -> MaskStage:
    """Make a stage; a later stage lacks the parts that it shares with the first."""
    embed_dim = config.clip.embed_dim
    query = ClassQuery(embed_dim, config.query) if first or config.query_projections == "own" else None
    decoder = None
    if first or config.decoders == "independent":
        decoder = STAGE_DECODERS[config.decoder](
            width=embed_dim,
            heads=config.decoder_heads,
            layers=config.decoder_layers,
            feedforward=config.feedforward_ratio * embed_dim,
            dropout=config.dropout,
        )
    return _initialise(MaskStage(query, decoder), config)


def _transport(config: ModelConfig, tower: VisionTransformer) -> TransportDecoder:
    decoder = TransportDecoder(
        width=config.clip.embed_dim,
        query=config.query,
        layers=config.decoder_layers,
        feedforward=config.feedforward_ratio * config.clip.embed_dim,
        dropout=config.dropout,
        inference_map=config.inference_map,
    )
    return _initialise(decoder, config)


def _cost_aggregation(config: ModelConfig, tower: VisionTransformer) -> CostDecoder:
    decoder = CostDecoder(
        config.cost,
        clip_width=config.clip.width,
        embed_dim=config.clip.embed_dim,
        layers=config.decoder_layers,
        heads=config.decoder_heads,
        ratio=config.feedforward_ratio,
    )
    return _initialise(decoder, config)


def _initialise(part: Part, config: ModelConfig) -> Part:
    """Draw the weights of a part of the head as `head_init` says; an identity stays."""
    if config.head_init == "trunc_normal":
        for name, parameter in part.named_parameters():
            if name.endswith(IDENTITY):
                continue
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=config.head_init_std, a=-2.0, b=2.0)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
    return part


STAGE_DECODERS: dict[str, type[MaskDecoder] | type[TwoFrequencyDecoder]] = {
    "masks": MaskDecoder,
    "two_frequency": TwoFrequencyDecoder,
}
"""The decoders of a stage, by the names of the heads that have them."""

DECODERS: dict[str, Callable[[ModelConfig, VisionTransformer], Decoder]] = {
    **dict.fromkeys(STAGE_DECODERS, _mask_head),
    "linear": lambda config, tower: LinearDecoder(config.clip.embed_dim),
    "cosine": lambda config, tower: CosineDecoder(config.temperature),
    "optimal_transport": _transport,
    "cost_aggregation": _cost_aggregation,
}
"""The decoders that `model.decoder` may name, each built from the configuration and the frozen image tower."""
