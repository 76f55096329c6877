"""The attention block shared by both towers."""

import pytest
import torch
from torch import nn

from cascade_core.clip.transformer import FeedForward, FusedAttention, QuickGELU, ResidualBlock


@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_fused_attention_equals_torch_s_multi_head_attention(causal: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = FusedAttention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True)
    nn.init.normal_(ours.in_proj_bias)
    nn.init.normal_(ours.out_proj.bias)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(2, 7, 24)
    mask = nn.Transformer.generate_square_subsequent_mask(7) if causal else None
    expected, _ = theirs(tokens, tokens, tokens, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(ours(tokens, causal=causal), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_causal_attention_sees_no_later_token() -> None:
    attention = FusedAttention(8, 2)
    tokens = torch.randn(1, 5, 8)
    changed = tokens.clone()
    changed[:, 3:] += 1
    before, after = attention(tokens, causal=True), attention(changed, causal=True)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads=5 must divide width=24"):
        FusedAttention(24, 5)


def test_quick_gelu_is_x_times_sigmoid_of_1_702_x() -> None:
    values = torch.linspace(-4, 4, 33)
    expected = torch.stack([x / (1 + torch.exp(-1.702 * x)) for x in values])
    torch.testing.assert_close(QuickGELU()(values), expected)


def test_quick_gelu_has_the_gradient_of_its_formula() -> None:
    values = torch.linspace(-9, 9, 37, dtype=torch.float64, requires_grad=True)
    before = values.detach().clone()
    ours, formula = QuickGELU()(values), values * torch.sigmoid(1.702 * values)
    gradients = [torch.autograd.grad(of.sum(), values)[0] for of in (ours, formula)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)
    assert torch.equal(values.detach(), before)


def test_quick_gelu_keeps_one_tensor_for_the_backward_pass() -> None:
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        QuickGELU()(torch.randn(3, 5, requires_grad=True))
    assert [tensor.shape for tensor in kept] == [(3, 5)]


def test_a_block_attends_to_prompts_as_to_tokens() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(16, 2, "quick_gelu").requires_grad_(False)
    tokens, prompts = (torch.randn(2, count, 16, requires_grad=True) for count in (5, 3))
    ours, joined = block(tokens, prompts), block(torch.cat([tokens, prompts], dim=1))[:, :5]
    torch.testing.assert_close(ours, joined)
    for mine, theirs in zip(
        *(torch.autograd.grad(out.square().sum(), (tokens, prompts)) for out in (ours, joined)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_a_block_adds_attention_then_feed_forward_after_norms() -> None:
    block = ResidualBlock(16, 2, "gelu")
    tokens = torch.randn(2, 4, 16)
    middle = tokens + block.attn(block.ln_1(tokens), causal=False)
    torch.testing.assert_close(block(tokens), middle + block.mlp(block.ln_2(middle)))


def test_the_feed_forward_layer_is_four_times_as_wide() -> None:
    assert FeedForward(12, "quick_gelu").c_fc.out_features == 48


def test_a_block_acts_alike_in_training_and_evaluation() -> None:
    """It has neither dropout nor stochastic depth."""
    block, tokens = ResidualBlock(16, 2, "quick_gelu"), torch.randn(1, 3, 16)
    assert torch.equal(block.train()(tokens), block.eval()(tokens))
