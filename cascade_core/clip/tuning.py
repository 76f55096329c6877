"""Fine-tuning of CLIP's attention: the weights of queries and values train, and everything else stays frozen (CAT-Seg)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.clip.transformer import FusedAttention, ResidualBlock


class TunedAttention(FusedAttention):
    """The attention of a pretrained block with its own weights for queries and values, which start as the pretrained ones.

    The pretrained matrix stays beside them, frozen: its keys are in use, and a checkpoint holds CLIP's tensors as they were.
    Biases and the output projection do not train, as published.
    """

    query_weight: nn.Parameter

    def __init__(self, pretrained: FusedAttention, *, queries: bool) -> None:
        nn.Module.__init__(self)
        self.heads = pretrained.heads
        self.in_proj_weight = pretrained.in_proj_weight
        self.in_proj_bias = pretrained.in_proj_bias
        self.out_proj = pretrained.out_proj
        query, _, value = pretrained.in_proj_weight.detach().chunk(3)
        # None where nothing reads the queries: the weight would never get a gradient.
        self.register_parameter("query_weight", nn.Parameter(query.clone()) if queries else None)
        self.value_weight = nn.Parameter(value.clone())

    def input_weight(self) -> Float[Tensor, "inputs width"]:
        query, key, _ = self.in_proj_weight.chunk(3)
        return torch.cat([query if self.query_weight is None else self.query_weight, key, self.value_weight])


def tune_queries_and_values(blocks: nn.ModuleList, *, last_attends: bool) -> None:
    """Let the weights of queries and values train in all blocks of a frozen tower, in place.

    The last block's queries train only if it attends: a dense one keeps every token's own value.
    """
    for index, block in enumerate(blocks):
        assert isinstance(block, ResidualBlock)
        block.attn = TunedAttention(block.attn, queries=last_attends or index < len(blocks) - 1)
