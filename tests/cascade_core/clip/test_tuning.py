"""Attention whose weights of queries and values train."""

import pytest
import torch

from cascade_core.clip.transformer import FusedAttention
from cascade_core.clip.tuning import TunedAttention


def _pretrained() -> FusedAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = FusedAttention(8, 2)
        torch.nn.init.normal_(attention.in_proj_bias)
        return attention.requires_grad_(False)


@torch.no_grad()
@pytest.mark.parametrize("queries", [True, False])
def test_it_starts_as_the_pretrained_one(queries: bool) -> None:
    attention, tokens, prompts = _pretrained(), torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    tuned = TunedAttention(attention, queries=queries)
    assert torch.equal(tuned(tokens), attention(tokens))
    assert torch.equal(tuned(tokens, prompts), attention(tokens, prompts))
    assert torch.equal(tuned(tokens, causal=True), attention(tokens, causal=True))


def test_its_own_weights_count_in_place_of_the_pretrained() -> None:
    attention, tokens = _pretrained(), torch.randn(2, 5, 8)
    tuned = TunedAttention(attention, queries=True)
    changed = _pretrained()
    with torch.no_grad():
        tuned.query_weight.mul_(3)
        tuned.value_weight.mul_(-2)
        changed.in_proj_weight[:8].mul_(3)
        changed.in_proj_weight[16:].mul_(-2)
    torch.testing.assert_close(tuned(tokens), changed(tokens))
    assert {name for name, weight in tuned.named_parameters() if weight.requires_grad} == {
        "query_weight",
        "value_weight",
    }
    assert set(tuned.state_dict()) == {*attention.state_dict(), "query_weight", "value_weight"}
