"""The decoder interface and decoders: attention as masks (ZegCLIP section 3.2, after SegViT), and cosines to text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cascade_core.model.queries import ClassVectors, PreparedClasses
from cascade_core.model.trunk import TrunkFeatures


class Decoder(nn.Module, ABC):
    """Turns a trunk's features and class vectors into mask logits; `build.py` chooses one for each method.

    A decoder declares where it differs from the others, and its callers go by that.

    Attributes:
        coupled_classes: a class's logits depend on which other classes there are, so all come in one call.
        cells_per_patch: its maps have so many cells along the side of a patch.
    """

    coupled_classes: bool = False
    cells_per_patch: int = 1

    @abstractmethod
    def prepare(self, class_vectors: ClassVectors) -> PreparedClasses:
        """Compute everything that depends on the class vectors only."""

    @abstractmethod
    def forward(
        self, features: TrunkFeatures, classes: ClassVectors | PreparedClasses
    ) -> Float[Tensor, "batch classes cells"]:
        """Return the logits of every class on the decoder's grid, cells in row-major order: the patches, in most decoders."""

    def training_maps(
        self, features: TrunkFeatures, classes: ClassVectors | PreparedClasses
    ) -> tuple[Float[Tensor, "batch classes cells"], ...]:
        """Return the logits whose losses training adds. Most decoders have one map."""
        return (self(features, classes),)

    def merged(
        self, maps: tuple[Float[Tensor, "batch classes *cells"], ...]
    ) -> Float[Tensor, "batch classes *cells"]:
        """Return the logits of inference from those of `training_maps`: pseudo-labels come from them."""
        (only,) = maps
        return only

    def compute_as_in_training(self) -> None:
        """Compute, in evaluation mode too, what training computes, where that differs; in most decoders it does not."""


Queries = Float[Tensor, "batch classes width"]
Memory = Float[Tensor, "batch patches width"]
Masks = Float[Tensor, "batch classes patches"]


class CrossAttention(nn.Module):
    """Queries attend to patches, with separate biased projections."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def _heads(
        self, tokens: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch heads tokens head_width"]:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, queries: Queries, memory: Memory) -> Queries:
        mixed = F.scaled_dot_product_attention(
            self._heads(self.q(queries)),
            self._heads(self.k(memory)),
            self._heads(self.v(memory)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def mean_scores(self, queries: Queries, memory: Memory) -> Masks:
        """Return the scaled query-patch scores before the softmax, averaged over heads.

        The mean of the per-head products is one product over the full width, divided by heads * sqrt(head width).
        q (W m + b) = (q W) m + q b, so this maps the few queries instead of the many patches.
        """
        head_width = queries.shape[-1] // self.heads
        query = self.q(queries) / (self.heads * head_width**0.5)
        of_bias = (query @ self.k.bias)[..., None]
        return torch.baddbmm(of_bias, query @ self.k.weight, memory.mT)


class DecoderLayer(nn.Module):
    """Cross-attention and feed-forward, post-norm, without self-attention or positions.

    `unused_self_attention` and `unused_norm` never run. The released checkpoints contain them, and the published
    parameter counts include them.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = CrossAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.unused_self_attention = nn.MultiheadAttention(width, heads)
        self.unused_norm = nn.LayerNorm(width)

    def forward(self, queries: Queries, memory: Memory) -> Queries:
        queries = self.norm2(queries + self.dropout(self.attention(queries, memory)))
        hidden = self.linear2(self.dropout(F.relu(self.linear1(queries))))
        return self.norm3(queries + self.dropout(hidden))


def memory_is_scarce(device: torch.device) -> bool:
    """Return whether memory for activations costs more than computing them again: a CPU has much for its speed."""
    return device.type != "cpu"


def recomputed(function: Callable[..., Float[Tensor, "*axes"]], *inputs: Tensor) -> Float[Tensor, "*axes"]:
    """Return `function(*inputs)` with activation checkpointing: the backward pass recomputes it from the inputs.

    Dropout uses the same mask in both calls. This is a plain call where memory is not scarce, without gradients, and
    inside `torch.compile`, whose partitioner chooses the stored activations itself.
    """
    plain = torch.compiler.is_compiling() or not torch.is_grad_enabled()
    if plain or not memory_is_scarce(inputs[0].device):
        return function(*inputs)
    outputs: Tensor = checkpoint(function, *inputs, use_reentrant=False)
    return outputs


def is_of_fixed_size(part: nn.Module) -> bool:
    """Say whether a part computes with the numbers of the grid, so that a graph for pictures of any size cannot have it.

    Such a part declares it by an attribute `fixed_size`.
    """
    return bool(getattr(part, "fixed_size", False))


class StageDecoder(nn.Module, ABC):
    """Turns queries and one memory into masks: a part of a head, by layers of which the last gives the masks.

    `unused_in_last_layer` names the weights of the last layer, and `unused` those of any layer, that get no gradient.
    """

    layers: nn.ModuleList
    unused_in_last_layer: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, queries: Queries, memory: Memory, grid: tuple[int, int]) -> Masks:
        """Return the logits of every query on the patches, in row-major order of the grid."""

    def names_without_gradient(self) -> Iterator[str]:
        """Yield the names of weights that never get a gradient."""
        last = f"layers.{len(self.layers) - 1}."
        in_last = tuple(last + part for part in self.unused_in_last_layer)
        for name, _ in self.named_parameters():
            if name.startswith(in_last) or any(part in name for part in self.unused):
                yield name


class MaskDecoder(StageDecoder):
    """A stack of decoder layers; the attention scores of the last layer are the masks.

    The rest of the last layer (values, output projection, feed-forward) is unused and gets no gradient, but released
    checkpoints hold it. On a GPU the backward pass recomputes the other layers: their scores of every class with every patch
    in every head take most of a decoder's memory and little of its time.
    """

    unused_in_last_layer = ("attention.v.", "attention.proj.", "linear1.", "linear2.", "norm2.", "norm3.")
    unused = ("unused_",)

    def __init__(self, *, width: int, heads: int, layers: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        first = DecoderLayer(width, heads, feedforward, dropout)
        # Published: layers are copies of one, so they start identical.
        self.layers = nn.ModuleList([first, *(deepcopy(first) for _ in range(layers - 1))])

    def forward(self, queries: Queries, memory: Memory, grid: tuple[int, int]) -> Masks:
        for layer in self.layers[:-1]:
            queries = recomputed(layer, queries, memory)
        last = self.layers[-1]
        assert isinstance(last, DecoderLayer)
        return last.attention.mean_scores(queries, memory)


def names_without_gradient(model: nn.Module) -> set[str]:
    """Return the names of `model`'s trainable weights that never get a gradient, as in the released models."""
    return {
        f"{path}.{name}".removeprefix(".")
        for path, decoder in model.named_modules()
        if isinstance(decoder, StageDecoder)
        for name in decoder.names_without_gradient()
    }


class SimilarityDecoder(Decoder):
    """Scores patches by their scaled cosine similarity to the text; subclasses map the patches and give the scale."""

    def prepare(self, class_vectors: Float[Tensor, "classes embed"]) -> PreparedClasses:
        """Return the vectors at unit length."""
        return PreparedClasses(F.normalize(class_vectors, dim=-1), ())

    def forward(
        self, features: TrunkFeatures, classes: Float[Tensor, "classes embed"] | PreparedClasses
    ) -> Masks:
        prepared = self.prepare(classes) if isinstance(classes, Tensor) else classes
        return self.scale() * (prepared.vectors @ self.mapped(features.patches).mT)

    @abstractmethod
    def scale(self) -> float | Float[Tensor, ""]:
        """Return the factor of the cosines."""

    @abstractmethod
    def mapped(self, patches: Float[Tensor, "batch patches embed"]) -> Float[Tensor, "batch patches embed"]:
        """Return what is compared with the text, at unit length."""


class LinearDecoder(SimilarityDecoder):
    """Maps patch vectors linearly, initially by the identity, and learns the scale."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(embed_dim, embed_dim, bias=False)
        nn.init.eye_(self.proj.weight)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def scale(self) -> Float[Tensor, ""]:
        return self.logit_scale.exp()

    def mapped(self, patches: Float[Tensor, "batch patches embed"]) -> Float[Tensor, "batch patches embed"]:
        return F.normalize(self.proj(patches), dim=-1)


class CosineDecoder(SimilarityDecoder):
    """Compares the trunk's own patch vectors; this has no weights (MaskCLIP, SCLIP, ClearCLIP, NACLIP)."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def scale(self) -> float:
        return self.temperature

    def mapped(self, patches: Float[Tensor, "batch patches embed"]) -> Float[Tensor, "batch patches embed"]:
        return patches
