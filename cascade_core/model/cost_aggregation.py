"""CAT-Seg's decoder: the cosines of patches and texts as a cost volume, aggregated and upsampled (Cho et al. 2024)."""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cascade_core.configs.model import CostAggregation
from cascade_core.model.aggregator import AggregatorLayer, TextGuide, VisualGuide, Volume
from cascade_core.model.decoder import Decoder, recomputed
from cascade_core.model.queries import PreparedClasses
from cascade_core.model.trunk import TrunkFeatures

DROPPED = -100.0
"""The logit of a class that is not among the picture's best ones."""
CELLS_PER_PATCH = 4
CHANNELS_PER_GROUP = 16

Maps = Float[Tensor, "maps channels height width"]


class Upsampling(nn.Module):
    """Doubles the grid of each class's map, and mixes in a guide, which all classes of a picture share."""

    def __init__(self, channels: int, guide_channels: int, out_channels: int) -> None:
        super().__init__()
        self.own = channels - guide_channels
        self.up = nn.ConvTranspose2d(channels, self.own, 2, stride=2)
        # [own, guide] -> out: a convolution of each, as the guide's is computed once for all classes.
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_groups(out_channels), out_channels)

    def forward(
        self, maps: Maps, guide: Float[Tensor, "batch guide_channels height2 width2"]
    ) -> Float[Tensor, "maps out_channels height2 width2"]:
        of_maps = F.conv2d(self.up(maps), self.conv1.weight[:, : self.own], padding=1)
        of_guide = F.conv2d(guide, self.conv1.weight[:, self.own :], padding=1)
        mixed = (of_maps.unflatten(0, (len(guide), -1)) + of_guide[:, None]).flatten(0, 1)
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(mixed)))))


def _groups(channels: int) -> int:
    return max(1, channels // CHANNELS_PER_GROUP)


class UpsamplingGuide(nn.Module):
    """Enlarges the patches of a middle block `scale` times, and maps them to few channels."""

    def __init__(self, width: int, inner: int, channels: int, *, scale: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, inner, scale, stride=scale)
        self.conv = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(
        self, tokens: Float[Tensor, "batch patches width"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch channels height across"]:
        return F.relu(self.conv(self.up(tokens.mT.unflatten(-1, grid))))


class CostDecoder(Decoder):
    """Embeds the cosines of each class, aggregates them over patches and classes, and upsamples them by four.

    The classes of a picture attend to each other. Where there are more than `cost.class_tokens`, those with the highest cosines
    in the picture go on, and the others get the logit `DROPPED`.
    """

    coupled_classes = True
    cells_per_patch = CELLS_PER_PATCH

    def __init__(
        self, cost: CostAggregation, *, clip_width: int, embed_dim: int, layers: int, heads: int, ratio: int
    ) -> None:
        super().__init__()
        width = cost.width
        self.tokens = cost.class_tokens
        self.embedding = nn.Conv2d(1, width, 7, padding=3)
        self.visual_guide = nn.Conv2d(embed_dim, width, 3, padding=1)
        self.text_guide = nn.Linear(embed_dim, width)
        self.layers = nn.ModuleList(
            AggregatorLayer(
                width,
                heads,
                window=cost.window,
                tokens=cost.class_tokens,
                pooling=cost.pooling,
                hidden=ratio * width,
            )
            for _ in range(layers)
        )
        self.upsampling_guides = nn.ModuleList(
            (
                UpsamplingGuide(clip_width, 2 * width, width // 4, scale=2),
                UpsamplingGuide(clip_width, width, width // 8, scale=4),
            )
        )
        self.upsampling = nn.ModuleList(
            (Upsampling(width, width // 4, width // 2), Upsampling(width // 2, width // 8, width // 4))
        )
        self.head = nn.Conv2d(width // 4, 1, 3, padding=1)

    def prepare(self, class_vectors: Float[Tensor, "classes embed"]) -> PreparedClasses:
        """Return the vectors at unit length, and the classes' guides."""
        vectors = F.normalize(class_vectors, dim=-1)
        return PreparedClasses(vectors, (F.relu(self.text_guide(vectors)),))

    def forward(
        self, features: TrunkFeatures, classes: Float[Tensor, "classes embed"] | PreparedClasses
    ) -> Float[Tensor, "batch classes cells"]:
        prepared = self.prepare(classes) if isinstance(classes, Tensor) else classes
        cosines, guide = prepared.vectors @ features.patches.mT, prepared.terms[0][None]
        if len(prepared) <= self.tokens:
            return self._logits(features, cosines, guide)
        best = best_classes(cosines, self.tokens)
        kept = cosines.gather(1, best[..., None].expand(-1, -1, cosines.shape[-1]))
        logits = self._logits(features, kept, guide[0][best])
        dropped = logits.new_full((len(logits), len(prepared), logits.shape[-1]), DROPPED)
        return dropped.scatter(1, best[..., None].expand_as(logits), logits)

    def _logits(
        self, features: TrunkFeatures, cosines: Float[Tensor, "batch classes patches"], guide: TextGuide
    ) -> Float[Tensor, "batch classes cells"]:
        shape, grid = cosines.shape[:2], features.grid
        embedded = self.embedding(cosines.flatten(0, 1).unflatten(-1, (1, *grid)))
        volume: Volume = embedded.permute(0, 2, 3, 1).unflatten(0, shape)
        visual = self._visual_guide(features)
        for layer in self.layers:
            volume = recomputed(layer, volume, visual, guide)
        maps = volume.flatten(0, 1).permute(0, 3, 1, 2)
        guides = zip(self.upsampling_guides, features.mid_tokens, strict=True)
        for stage, (part, tokens) in zip(self.upsampling, guides, strict=True):
            maps = recomputed(stage, maps, part(tokens, grid))
        return self.head(maps).flatten(1).unflatten(0, shape)

    def _visual_guide(self, features: TrunkFeatures) -> VisualGuide:
        """Return the picture's guide, from patch embeddings of their own lengths, as published."""
        assert features.lengths is not None
        patches = features.patches * features.lengths[..., None]
        guide = F.relu(self.visual_guide(patches.mT.unflatten(-1, features.grid)))
        return guide.permute(0, 2, 3, 1)


def best_classes(
    cosines: Float[Tensor, "batch classes patches"], number: int
) -> Int64[Tensor, "batch {number}"]:
    """Return each picture's classes with the highest cosine to any patch, in any order."""
    return cosines.amax(dim=-1).topk(number, dim=-1, sorted=False).indices
