"""CAT-Seg's aggregation and decoder, written from their definition with loops over pictures, classes, patches and heads.

Only weights are read from the decoder. Volumes are nested dictionaries of vectors: volume[class][row, column].
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = dict[tuple[int, int], Tensor]


def may_see(
    grid: tuple[int, int], side: int, shift: int, one: tuple[int, int], other: tuple[int, int]
) -> bool:
    """Say whether two patches share a window, without meeting around the border of the picture."""
    windows = [
        tuple(
            (place - shift) % -(-length // side * side) // side
            for place, length in zip(patch, grid, strict=True)
        )
        for patch in (one, other)
    ]
    # In a window that wraps, those after the border lie before the shift, and the others do not.
    wrapped = [tuple(place < shift for place in patch) for patch in (one, other)]
    return windows[0] == windows[1] and wrapped[0] == wrapped[1]


def spatial_block(
    block: Any, patches: Grid, guide: Grid, grid: tuple[int, int], side: int, shift: int
) -> Grid:
    normed = {place: block.norm1(patch) for place, patch in patches.items()}
    both = {place: torch.cat([normed[place], guide[place]]) for place in patches}
    mixed = {}
    for place, patch in patches.items():
        seen = [other for other in patches if may_see(grid, side, shift, place, other)]
        heads = []
        for head in range(block.heads):
            query = _head(block.q.proj(both[place]), head, block.heads)
            keys = torch.stack([_head(block.k.proj(both[other]), head, block.heads) for other in seen])
            values = torch.stack([_head(block.v(normed[other]), head, block.heads) for other in seen])
            heads.append((keys @ query / len(query) ** 0.5).softmax(0) @ values)
        mixed[place] = patch + block.proj(torch.cat(heads))
    return {place: patch + block.mlp(block.norm2(patch)) for place, patch in mixed.items()}


def _head(vector: Tensor, head: int, heads: int) -> Tensor:
    return vector.view(heads, -1)[head]


def pooled(patches: Grid, grid: tuple[int, int], size: int) -> Grid:
    """Return the means of squares of patches; at the border of an odd grid there are fewer."""
    means = {}
    for row in range(-(-grid[0] // size)):
        for column in range(-(-grid[1] // size)):
            members = [v for (r, c), v in patches.items() if (r // size, c // size) == (row, column)]
            means[row, column] = torch.stack(members).mean(0)
    return means


def resized(patches: Grid, small: tuple[int, int], grid: tuple[int, int]) -> Grid:
    """Resize bilinearly with the corners' centres in place."""

    def shares(place: int, target: int, source: int) -> list[tuple[int, float]]:
        at = place * (source - 1) / (target - 1) if target > 1 else 0.0
        low = min(int(at), source - 1)
        return [(low, 1 - (at - low)), (min(low + 1, source - 1), at - low)]

    out = {}
    for row in range(grid[0]):
        for column in range(grid[1]):
            out[row, column] = sum(
                a * b * patches[i, j]
                for i, a in shares(row, grid[0], small[0])
                for j, b in shares(column, grid[1], small[1])
            )
    return out


def class_block(block: Any, volume: list[Grid], guides: list[Tensor], grid: tuple[int, int]) -> list[Grid]:
    small = [pooled(patches, grid, block.pooling) for patches in volume]
    new: list[Grid] = [{} for _ in volume]
    for place in small[0]:
        tokens = [patches[place] for patches in small]
        own = list(guides)
        while len(tokens) < block.tokens:
            tokens.append(block.padding_token)
            own.append(block.padding_guide)
        normed = [block.norm1(token) for token in tokens]
        both = [torch.cat(pair) for pair in zip(normed, own, strict=True)]
        for index in range(len(volume)):
            heads = []
            for head in range(block.heads):
                query = F.elu(_head(block.q.proj(both[index]), head, block.heads)) + 1
                weights, values = [], []
                for token, pair in zip(normed, both, strict=True):
                    key = F.elu(_head(block.k.proj(pair), head, block.heads)) + 1
                    weights.append(query @ key)
                    values.append(_head(block.v(token), head, block.heads))
                total = sum(weights) + 1e-6
                heads.append(sum(w * v for w, v in zip(weights, values, strict=True)) / total)
            mixed = tokens[index] + torch.cat(heads)
            new[index][place] = mixed + block.mlp(block.norm2(mixed))
    height, width = (max(axis) + 1 for axis in zip(*small[0], strict=True))
    enlarged = [resized(patches, (height, width), grid) for patches in new]
    return [
        {place: patches[place] + more[place] for place in patches}
        for patches, more in zip(volume, enlarged, strict=True)
    ]


def layer_of(
    layer: Any, volume: list[Grid], visual: Grid, guides: list[Tensor], grid: tuple[int, int]
) -> list[Grid]:
    guide = {place: layer.guide_norm(vector) for place, vector in visual.items()}
    for block in layer.spatial:
        side = min(block.window, *grid)
        shift = block.window // 2 if block.shifted and min(grid) > block.window else 0
        volume = [spatial_block(block, patches, guide, grid, side, shift) for patches in volume]
    return class_block(layer.classes, volume, guides, grid)


def as_grid(maps: Tensor) -> Grid:
    """Turn [channels, height, width] into vectors by place."""
    _, height, width = maps.shape
    return {(row, column): maps[:, row, column] for row in range(height) for column in range(width)}


def as_maps(patches: Grid) -> Tensor:
    height, width = (max(axis) + 1 for axis in zip(*patches, strict=True))
    rows = [torch.stack([patches[row, column] for column in range(width)], dim=-1) for row in range(height)]
    return torch.stack(rows, dim=1)


def doubled(stage: Any, maps: Tensor, guide: Tensor) -> Tensor:
    """Double a class's map [channels, height, width], and mix in the guide, by plain convolutions of the concatenation."""
    both = torch.cat([stage.up(maps[None])[0], guide])
    for conv, norm in ((stage.conv1, stage.norm1), (stage.conv2, stage.norm2)):
        both = F.relu(_group_norm(norm, F.conv2d(both[None], conv.weight, padding=1)[0]))
    return both


def _group_norm(norm: nn.GroupNorm, maps: Tensor) -> Tensor:
    groups = []
    for part in maps.chunk(norm.num_groups):
        groups.append((part - part.mean()) / (part.var(unbiased=False) + norm.eps).sqrt())
    return torch.cat(groups) * norm.weight[:, None, None] + norm.bias[:, None, None]


def logits_of(decoder: Any, features: Any, vectors: Tensor) -> Tensor:
    """Return the decoder's logits, [pictures, classes, cells]; all classes must fit into its tokens."""
    grid = features.grid
    pictures = []
    texts = [vector / vector.norm() for vector in vectors]
    guides = [F.relu(decoder.text_guide(text)) for text in texts]
    for index, patches in enumerate(features.patches):
        raw = patches * features.lengths[index][:, None]
        visual = as_grid(F.relu(decoder.visual_guide(raw.T.unflatten(-1, grid)[None]))[0])
        volume = []
        for text in texts:
            cosines = torch.stack([patch @ text for patch in patches]).view(1, 1, *grid)
            volume.append(as_grid(decoder.embedding(cosines)[0]))
        for layer in decoder.layers:
            volume = layer_of(layer, volume, visual, guides, grid)
        maps = [as_maps(one) for one in volume]
        for stage, part, tokens in zip(
            decoder.upsampling, decoder.upsampling_guides, features.mid_tokens, strict=True
        ):
            guide = F.relu(part.conv(part.up(tokens[index].T.unflatten(-1, grid)[None])))[0]
            maps = [doubled(stage, one, guide) for one in maps]
        pictures.append(torch.stack([decoder.head(one[None]).flatten() for one in maps]))
    return torch.stack(pictures)
