"""A yardstick for speed: one fixed network, so that machines, and busy hours of one, can be told from code."""

import torch
from torch import nn

BATCH, TOKENS, WIDTH, HEADS, LAYERS = 8, 64, 64, 4, 4


def reference_network(device: torch.device) -> nn.Module:
    """Give torch's own transformer encoder at the mini benchmark's size, its weights always the same.

    It is nobody's to make faster here: what changes its time is the machine, or torch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
        return nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).to(device).eval()


def reference_tokens(device: torch.device) -> torch.Tensor:
    """Give the reference network's input: [8, 64, 64], one batch of as many pictures."""
    return torch.zeros(BATCH, TOKENS, WIDTH, device=device)
