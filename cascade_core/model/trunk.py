"""The trunk: what a decoder sees of a picture, from a frozen CLIP with or without deep prompts."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.clip.prompts import DeepPrompts
from cascade_core.clip.vision import VisionTransformer


@dataclass(frozen=True)
class TrunkFeatures:
    """One batch of pictures as the decoders see them; patches are in row-major order.

    Attributes:
        global_embedding: the CLS token's embedding, unit length.
        patches: last block's patch embeddings in CLIP's common space, unit length.
        mid_tokens: for each tapped block its patch tokens (after the prompts' norm, if there are prompts).
        grid: height and width in patches.
    """

    global_embedding: Float[Tensor, "batch embed"]
    patches: Float[Tensor, "batch patches embed"]
    mid_tokens: tuple[Float[Tensor, "batch patches width"], ...]
    grid: tuple[int, int]


class Trunk(nn.Module):
    """A frozen CLIP image tower, optionally steered by deep prompts, tapped at chosen blocks."""

    def __init__(
        self,
        visual: VisionTransformer,
        prompts: DeepPrompts | None,
        *,
        tapped_blocks: tuple[int, ...],
        double_class_embedding: bool,
    ) -> None:
        super().__init__()
        self.visual = visual.requires_grad_(False)
        self.prompts = prompts
        self.tapped_blocks = tapped_blocks
        self.double_class_embedding = double_class_embedding

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> TrunkFeatures:
        visual, batch = self.visual, images.shape[0]
        tokens, grid = visual.embed(images, class_embedding_count=2 if self.double_class_embedding else 1)
        num_patches = grid[0] * grid[1]
        cls, patches = tokens[:, :1], tokens[:, 1:]
        mid_tokens = []
        for index, block in enumerate(visual.blocks):
            # Prompts enter behind ln_pre, without position or norm, and are replaced before every block.
            prompts = [] if self.prompts is None else [self.prompts.tokens(index, batch).to(patches.dtype)]
            tokens = block(torch.cat([cls, *prompts, patches], dim=1))
            cls, patches = tokens[:, :1], tokens[:, -num_patches:]
            if index in self.tapped_blocks:
                mid_tokens.append(self._normalise(patches))
        # Published: the prompts' norm and CLIP's ln_post follow each other.
        final = torch.cat([cls, patches], dim=1)
        final = F.normalize(visual.ln_post(self._normalise(final)) @ visual.proj, dim=-1)
        return TrunkFeatures(final[:, 0], final[:, 1:], tuple(mid_tokens), grid)

    def _normalise(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return tokens if self.prompts is None else self.prompts.prompt_norm(tokens)
