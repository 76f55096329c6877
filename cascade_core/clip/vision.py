"""CLIP's image tower (ViT), and the deep prompts that may enter its blocks."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.clip.transformer import ResidualBlock, initialise_blocks
from cascade_core.configs.model import ClipConfig, PositionResize
from cascade_core.errors import UserError

EXTRA = 0.1
"""The factor of 'bicubic' is (target + EXTRA) / source."""


def resize_position_grid(
    positions: Float[Tensor, "slots width"], height: int, width: int, *, kind: PositionResize = "bilinear"
) -> Float[Tensor, "resized_slots width"]:
    """Resize the patch part of a position table to `height` x `width` patches.

    The first slot (CLS) stays; the others form a square grid. A table of the right size is returned as it is.
    No antialiasing and align_corners=False. ZegCLIP and Cascade-CLIP resize bilinearly. SCLIP, NACLIP and ClearCLIP
    resize bicubically by the factor (side + 0.1) / side of the table, a workaround for rounding that DINO introduced;
    CAT-Seg does so without it ('bicubic_exact').

    Raises:
        UserError: the table's patch part is not square.
    """
    side = round((positions.shape[0] - 1) ** 0.5)
    if side * side != positions.shape[0] - 1:
        raise UserError(
            f"a position table of {positions.shape[0]} slots is not 1 + a square; is it from a ViT?"
        )
    # An exported graph takes any size, so it always resizes; resizing to the same size must change nothing.
    exporting = torch.compiler.is_exporting()
    if not exporting and (height, width) == (side, side):
        return positions
    if positions.is_meta:  # shapes only: see `cascade_core.runtime.tensors.fitting`
        return positions.new_empty((1 + height * width, *positions.shape[1:]))
    if kind != "bilinear":
        extra: float | Tensor = 0.0
        if kind == "bicubic":
            extra = _extra(height, width, side, positions.device) if exporting else EXTRA
        down, across = (
            bicubic(target, side, extra=extra, device=positions.device).to(positions.dtype)
            for target in (height, width)
        )
        grid = positions[1:].unflatten(0, (side, side))
        tall = (down @ grid.flatten(1)).unflatten(1, grid.shape[1:])
        return torch.cat([positions[:1], (across @ tall).flatten(0, 1)])
    grid = positions[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], grid.flatten(2)[0].T])


def _extra(height: int, width: int, side: int, device: torch.device) -> Tensor:
    """Return `EXTRA`, or 0 for a grid of `side` x `side`, as a tensor: a graph for all sizes has no branch."""
    last_row, last_column = (torch.arange(size, device=device)[-1] for size in (height, width))
    return EXTRA * ((last_row != side - 1) | (last_column != side - 1)).float()


def bicubic(
    target: int, source: int, *, extra: float | Tensor = EXTRA, device: torch.device | None = None
) -> Float[Tensor, "target source"]:
    """Return the matrix that resizes a row of `source` numbers by the factor (target + extra) / source.

    It equals torch's bicubic interpolation with that `scale_factor` (Keys 1981, a = -0.75; borders repeat), which
    cannot be exported with a free size.
    """
    places = (torch.arange(target, device=device) + 0.5) * (source / (target + extra)) - 0.5
    taps = places.floor()[:, None] + torch.arange(-1, 3, device=device)
    away = (places[:, None] - taps).abs()
    near = 1.25 * away**3 - 2.25 * away**2 + 1
    far = -0.75 * (away**3 - 5 * away**2 + 8 * away - 4)
    weights = torch.where(away <= 1, near, far)
    read = taps.clamp(0, source - 1).long()[..., None] == torch.arange(source, device=device)
    return (weights[..., None] * read).sum(dim=1)


class VisionTransformer(nn.Module):
    """CLIP's ViT (Radford et al. 2021), split so that a segmentor can tap its blocks and prompt them."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        side = config.image_size // config.patch_size
        scale = config.width**-0.5
        self.conv1 = nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(config.width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(side * side + 1, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            ResidualBlock(config.width, config.heads, config.activation, config.image_feedforward)
            for _ in range(config.layers)
        )
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(scale * torch.randn(config.width, config.embed_dim))
        initialise_blocks(self.blocks, config.width)

    def embed(
        self,
        images: Float[Tensor, "batch 3 height width"],
        *,
        class_embedding_count: int = 1,
        position_resize: PositionResize = "bilinear",
    ) -> tuple[Float[Tensor, "batch tokens embed"], tuple[int, int]]:
        """Return [CLS, patches] after `ln_pre`, and the patch grid's (height, width).

        A picture whose size is no multiple of the patch size loses its last rows and columns. The released
        segmentation code adds the class embedding to the CLS slot twice (`class_embedding_count=2`).
        """
        patches = self.conv1(images)
        grid = (patches.shape[2], patches.shape[3])
        positions = resize_position_grid(self.positional_embedding, *grid, kind=position_resize)
        positions = positions.to(patches.dtype)
        cls = (class_embedding_count * self.class_embedding + self.positional_embedding[0]).to(patches.dtype)
        tokens = torch.cat(
            [cls.expand(images.shape[0], 1, -1), patches.flatten(2).transpose(1, 2) + positions[1:]], dim=1
        )
        return self.ln_pre(tokens), grid

    def encode_image(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Return CLIP's image embedding as in pretraining, not normalised."""
        tokens, _ = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.ln_post(tokens[:, 0]) @ self.proj


class DeepPrompts(nn.Module):
    """Deep visual prompts (Visual Prompt Tuning; ZegCLIP section 3.2), the only trainable part of the trunk.

    The first `layers` blocks have their own prompt tokens, which replace the previous block's: `prompt_embeddings` in the
    first block, row i-1 of `deep_prompt_embeddings` in block i >= 1 (None for a single layer). Later blocks see none, as in
    the released code. All share a projection and the norm of the trunk's output.
    """

    deep_prompt_embeddings: nn.Parameter

    def __init__(self, *, num_prompts: int, layers: int, width: int, patch_size: int, dropout: float) -> None:
        super().__init__()
        self.num_prompts = num_prompts
        self.layers = layers
        bound = math.sqrt(6 / (3 * patch_size**2 + width))
        self.prompt_embeddings = nn.Parameter(torch.empty(1, num_prompts, width).uniform_(-bound, bound))
        # No empty weight: it would never get a gradient.
        deep = torch.empty(layers - 1, num_prompts, width).uniform_(-bound, bound) if layers > 1 else None
        self.register_parameter("deep_prompt_embeddings", None if deep is None else nn.Parameter(deep))
        self.prompt_proj = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.prompt_proj.weight, a=0, mode="fan_out")
        # eps differs from CLIP's own norms (1e-5), as published.
        self.prompt_norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def tokens(self, block: int, batch: int) -> Float[Tensor, "batch prompts width"]:
        """Return the prompt tokens that enter `block`, with independent dropout for each picture."""
        embeddings = self.prompt_embeddings if block == 0 else self.deep_prompt_embeddings[block - 1 : block]
        return self.dropout(self.prompt_proj(embeddings).expand(batch, -1, -1))
