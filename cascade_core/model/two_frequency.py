"""SPT-SEG's decoder: patches mixed at two frequencies, and their products with the queries as masks (Xu et al. 2024)."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.model.decoder import Masks, Memory, Queries, StageDecoder

WINDOW = 3
LOW_SHARE = 0.9
"""Side of the high frequencies' windows in patches, and share of the heads (rounded down) for low frequencies."""

IDENTITY = "transform"
"""The name of the weights that start as an identity."""

Map = Float[Tensor, "batch height width _channels"]


class FrequencyMixer(nn.Module):
    """Mixes patches within windows (high frequencies), and with the means of all windows (low frequencies)."""

    fixed_size = True

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head_width = width // heads
        self.low_heads = int(heads * LOW_SHARE)
        low, high = (count * self.head_width for count in (self.low_heads, heads - self.low_heads))
        self.high_qkv = nn.Linear(width, 3 * high, bias=False)
        self.low_q = nn.Linear(width, low, bias=False)
        self.low_kv = nn.Linear(width, 2 * low, bias=False)
        self.low_proj = nn.Linear(low, low)

    def forward(self, memory: Memory, grid: tuple[int, int]) -> Memory:
        height, width = grid
        padding = (0, 0, 0, -width % WINDOW, 0, -height % WINDOW)
        patches = F.pad(memory.unflatten(1, grid), padding)
        mixed = torch.cat([self._high(patches), self._low(patches)], dim=-1)
        return mixed[:, :height, :width].flatten(1, 2)

    def _high(self, patches: Map) -> Map:
        """Return the attention of each patch to those of its window; published without an output projection."""
        batch, height, width, _ = patches.shape
        down, across = height // WINDOW, width // WINDOW
        qkv = self.high_qkv(patches).reshape(batch, down, WINDOW, across, WINDOW, -1)
        windows = qkv.transpose(2, 3).reshape(batch, down * across, WINDOW * WINDOW, -1)
        mixed = self._attend(*windows.chunk(3, dim=-1))
        mixed = mixed.reshape(batch, down, across, WINDOW, WINDOW, -1).transpose(2, 3)
        return mixed.reshape(batch, height, width, -1)

    def _low(self, patches: Map) -> Map:
        """Return the attention of each patch to the means of all windows."""
        means = F.avg_pool2d(patches.permute(0, 3, 1, 2), WINDOW).flatten(2).mT
        keys, values = self.low_kv(means).chunk(2, dim=-1)
        mixed = self._attend(self.low_q(patches.flatten(1, 2)), keys, values)
        return self.low_proj(mixed).unflatten(1, patches.shape[1:3])

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (-1, self.head_width)).transpose(-3, -2) for part in (queries, keys, values)
        )
        return F.scaled_dot_product_attention(queries, keys, values).transpose(-3, -2).flatten(-2)


class TwoFrequencyLayer(nn.Module):
    """Mixes the memory, gates it, scores the queries against it, and updates the queries, post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.mixer = FrequencyMixer(width, heads)
        self.gate = nn.Parameter(torch.randn(width))
        self.transform = nn.Parameter(torch.eye(width))
        self.proj = nn.Linear(width, width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def gated(self, memory: Memory, grid: tuple[int, int]) -> Memory:
        """Return the mixed patches, each times its cosine to the gate (at least 0), transformed."""
        mixed = self.mixer(memory, grid)
        share = F.cosine_similarity(mixed, self.gate, dim=-1).clamp(0, 1)[..., None]
        return (share * mixed) @ self.transform

    def forward(self, queries: Queries, patches: Memory) -> Queries:
        """Return the updated queries, from patches that are gated already."""
        weights = self.dropout((queries @ patches.mT).softmax(dim=-1))
        queries = self.norm2(queries + self.dropout(self.proj(weights @ patches)))
        hidden = self.linear2(F.relu(self.linear1(queries)))
        return self.norm3(queries + self.dropout(hidden))


class TwoFrequencyDecoder(StageDecoder):
    """A stack of layers on one memory; the products of the last layer's queries and patches are the masks.

    They are neither scaled nor projected. The rest of the last layer is unused, as in ZegCLIP's decoder.
    """

    unused_in_last_layer = ("proj.", "linear1.", "linear2.", "norm2.", "norm3.")

    def __init__(self, *, width: int, heads: int, layers: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        first = TwoFrequencyLayer(width, heads, feedforward, dropout)
        self.layers = nn.ModuleList([first, *(deepcopy(first) for _ in range(layers - 1))])

    def forward(self, queries: Queries, memory: Memory, grid: tuple[int, int]) -> Masks:
        for layer in self.layers[:-1]:
            assert isinstance(layer, TwoFrequencyLayer)
            queries = layer(queries, layer.gated(memory, grid))
        last = self.layers[-1]
        assert isinstance(last, TwoFrequencyLayer)
        return queries @ last.gated(memory, grid).mT
