"""The published computation, written plainly: the baseline of the benchmarks and the oracle of the tests.

It is not slowed down on purpose: it uses torch's functions, such as scaled_dot_product_attention, but fuses, skips and
splits nothing. It takes the weights of a `Segmentor`, but not its code.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor

from cascade_core.clip.transformer import ResidualBlock
from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_set import IGNORE
from cascade_core.model.cascade import MaskHead
from cascade_core.model.decoder import DecoderLayer
from cascade_core.model.segmentor import Segmentor

CROP, STRIDE = 512, 426
"""Published size and stride of sliding windows, in pixels."""


def grid_logits(
    model: Segmentor,
    images: Float[Tensor, "batch 3 height width"],
    class_vectors: Float[Tensor, "classes embed"],
) -> Float[Tensor, "batch classes grid_height grid_width"]:
    """Return ZegCLIP's or Cascade-CLIP's mask logits of square pictures, on the patch grid."""
    head = model.decoder
    assert isinstance(head, MaskHead)
    memories, global_embedding, side = backbone(model, images)
    maps = []
    for stage, memory in enumerate(memories):
        query, decoder = head.parts(stage)
        related = global_embedding[:, None] * class_vectors[None]
        text = class_vectors[None].expand_as(related)
        queries = query.proj(torch.cat([related, text], dim=-1))
        for layer in decoder.layers:
            assert isinstance(layer, DecoderLayer)
            queries, scores = _decoder_layer(layer, queries, memory)
        maps.append(scores)
    return torch.stack(maps).sum(dim=0).unflatten(-1, (side, side))


@torch.no_grad()
def label_map(
    model: Segmentor,
    image: Float[Tensor, "1 3 height width"],
    class_vectors: Float[Tensor, "classes embed"],
    *,
    seen: list[int],
    seen_penalty: float,
    size: tuple[int, int],
    crop: int = CROP,
    stride: int = STRIDE,
) -> Int64[Tensor, "1 {size[0]} {size[1]}"]:
    """Label a picture at its own `size`: scores of all classes, softmax, argmax."""
    scores = score_maps(
        model, image, class_vectors, seen=seen, seen_penalty=seen_penalty, size=size, crop=crop, stride=stride
    )
    return scores.softmax(dim=1).argmax(dim=1)


@torch.no_grad()
def score_maps(
    model: Segmentor,
    image: Float[Tensor, "1 3 height width"],
    class_vectors: Float[Tensor, "classes embed"],
    *,
    seen: list[int],
    seen_penalty: float,
    size: tuple[int, int],
    crop: int = CROP,
    stride: int = STRIDE,
) -> Float[Tensor, "1 classes {size[0]} {size[1]}"]:
    """Score every class at every pixel of a picture: one window at a time, maps of all classes."""
    height, width = image.shape[-2:]
    total = image.new_zeros((1, len(class_vectors), height, width))
    visits = image.new_zeros((1, 1, height, width))
    side = model.config.image_size
    for top in _origins(height, crop, stride):
        for left in _origins(width, crop, stride):
            window = image[:, :, top : top + crop, left : left + crop]
            logits = _resized(grid_logits(model, window, class_vectors), (side, side))
            scores = logits.sigmoid()
            scores[:, seen] -= seen_penalty
            scores = _resized(scores, (window.shape[-2], window.shape[-1]))
            total[:, :, top : top + crop, left : left + crop] += scores
            visits[:, :, top : top + crop, left : left + crop] += 1
    return _resized(total / visits, size)


def backbone(
    model: Segmentor, images: Float[Tensor, "batch 3 height width"]
) -> tuple[list[Float[Tensor, "batch patches embed"]], Float[Tensor, "batch embed"], int]:
    """Return the memory of each decoder, the unit global embedding and the side of the patch grid."""
    trunk, visual, head = model.trunk, model.trunk.visual, model.decoder
    assert isinstance(head, MaskHead) and trunk.prompts is not None
    prompts = trunk.prompts
    patches = visual.conv1(images)
    side = patches.shape[-1]
    table = visual.positional_embedding
    grid = round((len(table) - 1) ** 0.5)
    positions = _resized(table[1:].T.reshape(1, -1, grid, grid), (side, side))
    # Published: the class embedding is added twice.
    cls = (2 * visual.class_embedding + table[0]).expand(len(images), 1, -1)
    tokens = visual.ln_pre(torch.cat([cls, patches.flatten(2).mT + positions.flatten(2).mT], dim=1))
    tapped = []
    for i, block in enumerate(visual.blocks):
        assert isinstance(block, ResidualBlock)
        own = prompts.prompt_embeddings[0] if i == 0 else prompts.deep_prompt_embeddings[i - 1]
        own = prompts.dropout(prompts.prompt_proj(own).expand(len(images), -1, -1))
        replaced = 0 if i == 0 else own.shape[1]
        tokens = _block(block, torch.cat([tokens[:, :1], own, tokens[:, 1 + replaced :]], dim=1))
        if i in trunk.tapped_blocks:
            tapped.append(prompts.prompt_norm(tokens))
    tokens = visual.ln_post(prompts.prompt_norm(tokens)) @ visual.proj
    num = side * side
    memories, first = [], 0
    for weights in head.group_weights:
        assert head.mid is not None
        levels = [
            F.normalize((head.mid.norms[k](tapped[k]) @ head.mid.projections[k])[:, -num:], dim=-1)
            for k in range(first, first + len(weights))
        ]
        memories.append(torch.stack([w * level for w, level in zip(weights, levels, strict=True)]).sum(dim=0))
        first += len(weights)
    return [*memories, F.normalize(tokens[:, -num:], dim=-1)], F.normalize(tokens[:, 0], dim=-1), side


def loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    config: LossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Return the focal and dice terms of ZegCLIP (section 3.4) at the labels' full size, 255 as negatives.

    Targets are one-hot maps, as in the released code.
    """
    size = (labels.shape[-2], labels.shape[-1])
    logits = F.interpolate(grid_logits, size=size, mode="bilinear", align_corners=False)
    classes = logits.shape[1]
    hot = F.one_hot(labels.long().masked_fill(labels == IGNORE, classes), classes + 1)
    targets = hot[..., :classes].movedim(-1, 1).to(logits.dtype)
    present = targets.sum(dim=(2, 3)) > 0
    n = present.sum().clamp(min=1)

    probabilities = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    of_target = probabilities * targets + (1 - probabilities) * (1 - targets)
    alpha = config.focal_alpha * targets + (1 - config.focal_alpha) * (1 - targets)
    focal = (alpha * (1 - of_target) ** config.focal_gamma * entropy).mean(dim=(2, 3)).sum() / n

    overlap = (probabilities * targets).sum(dim=(2, 3))
    areas = probabilities.sum(dim=(2, 3)) + targets.sum(dim=(2, 3))
    dice = ((1 - (2 * overlap + 1) / (areas + 1)) * present).sum() / n
    return {"focal": config.focal_weight * focal, "dice": config.dice_weight * dice}


def structural_loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Return 1 - SSIM of logits and one-hot maps at the labels' full size, blurred by one convolution of 11 x 11."""
    size = (labels.shape[-2], labels.shape[-1])
    logits = F.interpolate(grid_logits, size=size, mode="bilinear", align_corners=False)
    own = (labels[:, None] == torch.arange(logits.shape[1], device=labels.device)[:, None, None]).to(
        logits.dtype
    )
    line = torch.exp(-((torch.arange(11, device=logits.device) - 5) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2

    def blurred(maps: Tensor) -> Tensor:
        return F.conv2d(maps.flatten(0, 1)[:, None], window[None, None], padding=5).view_as(maps)

    a, b = blurred(logits), blurred(own)
    aa, bb, ab = blurred(logits * logits) - a * a, blurred(own * own) - b * b, blurred(logits * own) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return 1 - ((2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2))).mean()


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _origins(length: int, crop: int, stride: int) -> list[int]:
    number = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride + crop, length) - crop, 0) for i in range(number)]


def _block(block: ResidualBlock, tokens: Tensor) -> Tensor:
    attention, inner = block.attn, block.ln_1(tokens)
    projected = F.linear(inner, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value)
    tokens = tokens + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    hidden = block.mlp.c_fc(block.ln_2(tokens))
    return tokens + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))


def _decoder_layer(layer: DecoderLayer, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's queries, even if unused, and the mean over heads of its scores."""
    attention = layer.attention
    query, key, value = (
        part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for part in (attention.q(queries), attention.k(memory), attention.v(memory))
    )
    scores = query @ key.mT / query.shape[-1] ** 0.5
    weights = F.dropout(scores.softmax(dim=-1), attention.dropout, layer.training)
    mixed = attention.proj((weights @ value).transpose(1, 2).flatten(2))
    queries = layer.norm2(queries + layer.dropout(mixed))
    hidden = layer.linear2(layer.dropout(F.relu(layer.linear1(queries))))
    return layer.norm3(queries + layer.dropout(hidden)), scores.mean(dim=1)
