"""The last block of the training-free methods: the identities that define them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.clip import dense
from cascade_core.clip.dense import dense_tokens, distance_bias
from cascade_core.clip.transformer import ResidualBlock
from cascade_core.configs.model import LastBlock

GRID, WIDTH, HEADS = (3, 4), 16, 2


def block(seed: int = 0) -> ResidualBlock:
    """A random block, norms and biases included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ResidualBlock(WIDTH, HEADS, "quick_gelu")
        for parameter in made.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made.requires_grad_(False)


def tokens() -> Tensor:
    return torch.randn(2, 13, WIDTH, generator=torch.Generator().manual_seed(1))


def defined(made: ResidualBlock, rows: Tensor, *, residual: bool = True, feedforward: bool = True) -> Tensor:
    """Mix the values of each head by the given rows [heads, queries, keys], in loops."""
    inputs, query_key_value = tokens(), made.attn.projected(made.ln_1(tokens()))
    value = query_key_value[2]
    mixed = torch.stack([torch.stack([rows[b, h] @ value[b, h] for h in range(HEADS)]) for b in range(2)])
    attended = made.attn.out_proj(mixed.transpose(1, 2).reshape(2, 13, WIDTH))
    attended = inputs + attended if residual else attended
    return attended + made.mlp(made.ln_2(attended)) if feedforward else attended


def products(made: ResidualBlock, left: int, right: int) -> Tensor:
    """Scaled products of queries (0) or keys (1) with queries or keys: [batch, heads, 13, 13]."""
    parts = made.attn.projected(made.ln_1(tokens()))
    return parts[left] @ parts[right].mT / math.sqrt(WIDTH // HEADS)


def test_vanilla_is_the_block_itself() -> None:
    torch.testing.assert_close(dense_tokens(block(), tokens(), LastBlock(), GRID), block()(tokens()))


def test_value_is_vanilla_with_attention_forced_to_the_identity() -> None:
    identity = torch.eye(13).expand(2, HEADS, 13, 13)
    for residual, feedforward in ((True, True), (False, False), (False, True)):
        last = LastBlock(attention="value", residual=residual, feedforward=feedforward)
        expected = defined(block(), identity, residual=residual, feedforward=feedforward)
        torch.testing.assert_close(dense_tokens(block(), tokens(), last, GRID), expected)


def test_rows_of_sclip_s_attention_sum_to_two() -> None:
    made = block()
    rows = products(made, 0, 0).softmax(dim=-1) + products(made, 1, 1).softmax(dim=-1)
    torch.testing.assert_close(rows.sum(dim=-1), torch.full((2, HEADS, 13), 2.0))
    last = LastBlock(attention="qq_kk")
    torch.testing.assert_close(dense_tokens(made, tokens(), last, GRID), defined(made, rows))
    # With equal values, a row's sum is all that attention adds.
    made.attn.in_proj_weight.data[2 * WIDTH :] = 0
    value = made.attn.in_proj_bias[2 * WIDTH :]
    bare = dense_tokens(made, tokens(), LastBlock(attention="qq_kk", residual=False, feedforward=False), GRID)
    torch.testing.assert_close(bare, made.attn.out_proj(2 * value).expand_as(bare))


def test_clearclip_attends_by_queries_and_drops_the_rest() -> None:
    made, last = block(), LastBlock(attention="qq", residual=False, feedforward=False)
    rows = products(made, 0, 0).softmax(dim=-1)
    expected = defined(made, rows, residual=False, feedforward=False)
    torch.testing.assert_close(dense_tokens(made, tokens(), last, GRID), expected)


def _naclip(sigma: float) -> Tensor:
    last = LastBlock(attention="kk_neighbours", residual=False, feedforward=False, sigma=sigma)
    return dense_tokens(block(), tokens(), last, GRID)


def test_naclip_with_sigma_to_zero_adds_one_on_the_diagonal() -> None:
    """Patches alone; the class token has no neighbours."""
    diagonal = torch.eye(13)
    diagonal[0, 0] = 0
    rows = (products(block(), 1, 1) + diagonal).softmax(dim=-1)
    expected = defined(block(), rows, residual=False, feedforward=False)
    torch.testing.assert_close(_naclip(1e-3), expected)


def test_naclip_with_endless_sigma_gives_cls_less_weight() -> None:
    bias = torch.ones(13, 13)
    bias[0] = bias[:, 0] = 0
    scores = products(block(), 1, 1)
    rows = (scores + bias).softmax(dim=-1)
    torch.testing.assert_close(_naclip(1e4), defined(block(), rows, residual=False, feedforward=False))
    assert (rows[..., 1:, 0] < scores.softmax(dim=-1)[..., 1:, 0]).all()


def test_the_bias_is_a_gaussian_of_the_distance_in_patches() -> None:
    bias = distance_bias(GRID, 1.5)
    places = [(i, j) for i in range(GRID[0]) for j in range(GRID[1])]
    for a, (i, j) in enumerate(places):
        for b, (m, n) in enumerate(places):
            distance = (i - m) ** 2 + (j - n) ** 2
            assert bias[1 + a, 1 + b].item() == pytest.approx(math.exp(-distance / (2 * 1.5**2)))
    assert not bias[0].any() and not bias[:, 0].any()


def test_a_bias_made_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _naclip(2.0)
    monkeypatch.setattr(dense, "BIAS_NUMBERS", 30)
    torch.testing.assert_close(_naclip(2.0), whole)


def test_every_head_attends_for_itself() -> None:
    """Scores are scaled by the width of a head, not of the block."""
    made, last = block(), LastBlock(attention="qq", residual=False, feedforward=False)
    query, _, value = made.attn.projected(made.ln_1(tokens()))
    heads = [
        F.softmax(query[:, h] @ query[:, h].mT / math.sqrt(8), dim=-1) @ value[:, h] for h in range(HEADS)
    ]
    expected = made.attn.out_proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(dense_tokens(made, tokens(), last, GRID), expected)
