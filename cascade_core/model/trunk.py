"""The trunk: a frozen CLIP, with or without deep prompts, computes the features that a decoder reads."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.clip.dense import dense_tokens
from cascade_core.clip.transformer import ResidualBlock
from cascade_core.clip.vision import DeepPrompts, VisionTransformer
from cascade_core.configs.model import LastBlock, PositionResize
from cascade_core.model.spectral import SpectralPrompt


@dataclass(frozen=True)
class TrunkFeatures:
    """The features of one batch of pictures; patches are in row-major order.

    Attributes:
        global_embedding: the CLS token's embedding, unit length.
        patches: the last block's patch embeddings in CLIP's common space, unit length.
        mid_tokens: the patch tokens of each tapped block (after the prompts' norm, if there are prompts).
        grid: height and width in patches.
        lengths: the lengths of the patch embeddings before they got unit length; None where nothing computed them.
    """

    global_embedding: Float[Tensor, "batch embed"]
    patches: Float[Tensor, "batch patches embed"]
    mid_tokens: tuple[Float[Tensor, "batch patches width"], ...]
    grid: tuple[int, int]
    lengths: Float[Tensor, "batch patches"] | None = field(default=None, kw_only=True)


SHORTEST = 1e-12
"""Lengths below are raised to it, as torch's `normalize` does."""
SPECTRAL_BLOCKS = 2
"""The spectral prompt changes the inputs of so many first blocks (published)."""


class Trunk(nn.Module):
    """A frozen CLIP image tower with optional deep prompts and spectral prompt; it also returns the tokens of `tapped_blocks`."""

    def __init__(
        self,
        visual: VisionTransformer,
        prompts: DeepPrompts | None,
        *,
        tapped_blocks: tuple[int, ...],
        double_class_embedding: bool,
        position_resize: PositionResize = "bilinear",
        last_block: LastBlock | None = None,
        spectral: SpectralPrompt | None = None,
    ) -> None:
        super().__init__()
        self.visual = visual.requires_grad_(False)
        self.prompts = prompts
        self.spectral = spectral
        self.tapped_blocks = tapped_blocks
        self.double_class_embedding = double_class_embedding
        self.position_resize = position_resize
        self.last_block = last_block or LastBlock()
        # Compared here: the compiler cannot follow the making of a setting.
        self._last_block_is_clips = self.last_block == LastBlock()

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> TrunkFeatures:
        visual = self.visual
        tokens, grid = visual.embed(
            images,
            class_embedding_count=2 if self.double_class_embedding else 1,
            position_resize=self.position_resize,
        )
        mid_tokens = []
        for index, block in enumerate(visual.blocks):
            if self.spectral is not None and index < SPECTRAL_BLOCKS:
                tokens = self.spectral(tokens, grid)
            if index == len(visual.blocks) - 1 and not self._last_block_is_clips:
                assert isinstance(block, ResidualBlock)
                tokens = dense_tokens(block, tokens, self.last_block, grid)
            else:
                tokens = block(tokens, self._prompts(index, tokens))
            if index in self.tapped_blocks:
                mid_tokens.append(self._normalise(tokens[:, 1:]))
        # Published: the prompts' norm, then CLIP's ln_post.
        embeddings = visual.ln_post(self._normalise(tokens)) @ visual.proj
        lengths = embeddings.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
        final = embeddings / lengths
        # Contiguous: otherwise every decoder layer would copy it for its products.
        patches = final[:, 1:].contiguous()
        return TrunkFeatures(final[:, 0], patches, tuple(mid_tokens), grid, lengths=lengths[:, 1:, 0])

    def _prompts(
        self, block: int, tokens: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch prompts width"] | None:
        """Return a block's own prompts, if it has any; they have no position embedding and no norm."""
        if self.prompts is None or block >= self.prompts.layers:
            return None
        return self.prompts.tokens(block, tokens.shape[0]).to(tokens.dtype)

    def _normalise(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return tokens if self.prompts is None else self.prompts.prompt_norm(tokens)
