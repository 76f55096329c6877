"""CAT-Seg's aggregation of a cost volume: over the patches of each class, then over the classes of each patch (Cho et al. 2024).

A cost volume has a vector for every class at every patch. A *guide* beside it says what the picture shows at a patch, or what a
class means; only queries and keys read it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Volume = Float[Tensor, "batch classes height width channels"]
Pooled = Float[Tensor, "batch classes small_height small_width channels"]
VisualGuide = Float[Tensor, "batch height width guide"]
TextGuide = Float[Tensor, "pictures classes guide"]
"""One guide per class; `pictures` is 1 where all pictures have the same classes."""

EPSILON = 1e-6


class GuidedLinear(nn.Module):
    """A linear map of the concatenation [vector, guide].

    It is the sum of a map of each half, and the guide's half is computed once for all vectors that share a guide.
    """

    def __init__(self, width: int, guide_width: int) -> None:
        super().__init__()
        self.width = width
        self.proj = nn.Linear(width + guide_width, width)

    def forward(
        self, vectors: Float[Tensor, "*axes width"], guide: Float[Tensor, "*guide_axes guide"]
    ) -> Float[Tensor, "*axes width"]:
        of_vectors = F.linear(vectors, self.proj.weight[:, : self.width], self.proj.bias)
        return of_vectors + F.linear(guide, self.proj.weight[:, self.width :])


def feed_forward(width: int, hidden: int, activation: nn.Module) -> nn.Sequential:
    """Return a two-layer perceptron."""
    return nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, width))


class SpatialBlock(nn.Module):
    """A Swin block (Liu et al. 2021) on the patches of each class: attention within windows, without position bias; pre-norm.

    With `shifted` the windows are moved by half their side, and patches that do not touch in the picture do not see each other.
    A grid whose shorter side is at most a window has unshifted windows of that side, as in Swin. Windows that reach over the
    grid's border are completed by patches that nothing sees; the released code takes one grid only.
    """

    fixed_size = True

    def __init__(
        self, width: int, guide_width: int, heads: int, *, window: int, shifted: bool, hidden: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(width)
        self.q = GuidedLinear(width, guide_width)
        self.k = GuidedLinear(width, guide_width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = feed_forward(width, hidden, nn.GELU())

    def forward(self, volume: Volume, guide: VisualGuide) -> Volume:
        normed = self.norm1(volume)
        shared = guide[:, None]
        mixed = self._attend(self.q(normed, shared), self.k(normed, shared), self.v(normed))
        volume = volume + self.proj(mixed)
        return volume + self.mlp(self.norm2(volume))

    def _attend(self, queries: Volume, keys: Volume, values: Volume) -> Volume:
        height, width = queries.shape[2:4]
        side, shift = window_of((height, width), self.window, shifted=self.shifted)
        visible = attention_mask((height, width), side, shift, device=queries.device)
        query, key, value = (self._windows(part, side, shift) for part in (queries, keys, values))
        if visible is not None:
            visible = visible.repeat_interleave(self.heads, dim=0)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self._joined(mixed, queries.shape, side, shift)

    def _windows(
        self, volume: Volume, side: int, shift: int
    ) -> Float[Tensor, "maps windows_heads tokens head_width"]:
        """Cut each class's map into windows; every window's heads are attended to by themselves."""
        height, width = volume.shape[2:4]
        maps = F.pad(volume.flatten(0, 1), (0, 0, 0, -width % side, 0, -height % side))
        if shift:
            maps = maps.roll((-shift, -shift), dims=(1, 2))
        down, across = maps.shape[1] // side, maps.shape[2] // side
        parts = maps.reshape(len(maps), down, side, across, side, self.heads, -1)
        # To [maps, down, across, heads, rows, columns, head width].
        return parts.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 3)

    def _joined(self, windows: Tensor, shape: torch.Size, side: int, shift: int) -> Volume:
        """Undo `_windows`; `shape` is the volume's."""
        height, width = shape[2:4]
        down, across = -(-height // side), -(-width // side)
        parts = windows.unflatten(2, (side, side)).unflatten(1, (down, across, self.heads))
        maps = parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(windows), down * side, across * side, -1)
        if shift:
            maps = maps.roll((shift, shift), dims=(1, 2))
        return maps[:, :height, :width].reshape(shape)


def window_of(grid: tuple[int, int], window: int, *, shifted: bool) -> tuple[int, int]:
    """Return the side of the windows on a grid, and by how much they are shifted."""
    side = min(window, *grid)
    return side, window // 2 if shifted and min(grid) > window else 0


def attention_mask(
    grid: tuple[int, int], side: int, shift: int, *, device: torch.device | None = None
) -> Bool[Tensor, "windows tokens tokens"] | None:
    """Say which tokens of each window see each other; None if all do.

    The shift moves the first rows and columns to the end. There they share windows with the last ones, but not a region.
    """
    height, width = grid
    if not shift and height % side == 0 and width % side == 0:
        return None
    regions = []
    for length in grid:
        whole = length + -length % side
        places = torch.arange(whole, device=device)
        region = torch.zeros_like(places)
        if shift:
            region = (places >= whole - side).long() + (places >= whole - shift).long()
        # Beyond the grid's border lies a region of its own.
        regions.append(torch.where((places + shift) % whole >= length, 3, region))
    ids = 4 * regions[0][:, None] + regions[1]
    tokens = ids.unflatten(1, (-1, side)).unflatten(0, (-1, side)).transpose(1, 2).flatten(2).flatten(0, 1)
    return tokens[:, :, None] == tokens[:, None, :]


class ClassBlock(nn.Module):
    """Linear attention (Katharopoulos et al. 2020) of the classes at each place of a smaller grid; pre-norm.

    There are always `tokens` tokens: those that no class takes are copies of one that is learned, with a learned guide. So a
    class's weight does not grow where there are few of them. The result is resized and added to the volume.
    """

    def __init__(
        self, width: int, guide_width: int, heads: int, *, tokens: int, pooling: int, hidden: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.tokens = tokens
        self.pooling = pooling
        self.norm1 = nn.LayerNorm(width)
        self.q = GuidedLinear(width, guide_width)
        self.k = GuidedLinear(width, guide_width)
        self.v = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = feed_forward(width, hidden, nn.ReLU())
        self.padding_token = nn.Parameter(torch.zeros(width))
        self.padding_guide = nn.Parameter(torch.zeros(guide_width))

    def forward(self, volume: Volume, guide: TextGuide) -> Volume:
        pooled = self._pooled(volume)
        mixed = pooled + self._attend(self.norm1(pooled), guide[:, :, None, None])
        mixed = mixed + self.mlp(self.norm2(mixed))
        return volume + _resized(mixed, volume.shape)

    def _pooled(self, volume: Volume) -> Pooled:
        """Return the means over squares of patches; those at the border of an odd grid have fewer."""
        if self.pooling == 1:
            return volume
        maps = volume.flatten(0, 1).permute(0, 3, 1, 2)
        pooled = F.avg_pool2d(maps, self.pooling, ceil_mode=True).permute(0, 2, 3, 1)
        return pooled.unflatten(0, volume.shape[:2])

    def _attend(self, normed: Volume, guide: Float[Tensor, "pictures classes 1 1 guide"]) -> Volume:
        queries, keys = (_positive(self._heads(part(normed, guide))) for part in (self.q, self.k))
        values = self._heads(self.v(normed))
        # All copies of the padding token are the same at every place: one of them, as often as it occurs.
        copies = max(0, self.tokens - normed.shape[1])
        padding = self.norm1(self.padding_token)
        key = _positive(self.k(padding, self.padding_guide)).unflatten(-1, (self.heads, -1))
        value = self.v(padding).unflatten(-1, (self.heads, -1))
        products = keys.mT @ values + copies * key[:, :, None] * value[:, None, :]
        total = keys.sum(dim=-2) + copies * key
        mixed = (queries @ products) / ((queries @ total[..., None]) + EPSILON)
        return mixed.permute(0, 4, 1, 2, 3, 5).flatten(-2)

    def _heads(self, volume: Volume) -> Float[Tensor, "batch height width heads classes head_width"]:
        return volume.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 4, 1, 5)


def _positive(vectors: Float[Tensor, "*axes width"]) -> Float[Tensor, "*axes width"]:
    # Contiguous, as the products that follow make them anyway: torch's compiler mistakes the strides of `elu`'s gradient.
    return F.elu(vectors.contiguous()) + 1


def _resized(volume: Pooled, shape: torch.Size) -> Volume:
    """Resize a volume bilinearly to the grid of `shape`; published: the corners' centres stay in place."""
    if volume.shape == shape:
        return volume
    maps = volume.flatten(0, 1).permute(0, 3, 1, 2)
    resized = F.interpolate(maps, size=tuple(shape[2:4]), mode="bilinear", align_corners=True)
    return resized.permute(0, 2, 3, 1).unflatten(0, shape[:2])


class AggregatorLayer(nn.Module):
    """Two spatial blocks, the second one shifted, and a class block."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        window: int,
        tokens: int,
        pooling: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.guide_norm = nn.LayerNorm(width)
        self.spatial = nn.ModuleList(
            SpatialBlock(width, width, heads, window=window, shifted=shifted, hidden=hidden)
            for shifted in (False, True)
        )
        self.classes = ClassBlock(width, width, heads, tokens=tokens, pooling=pooling, hidden=hidden)

    def forward(self, volume: Volume, visual_guide: VisualGuide, text_guide: TextGuide) -> Volume:
        guide = self.guide_norm(visual_guide)
        for block in self.spatial:
            volume = block(volume, guide)
        return self.classes(volume, text_guide)
