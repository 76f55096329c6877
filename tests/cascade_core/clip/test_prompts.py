"""Deep prompts."""

import pytest
import torch

from cascade_core.clip.vision import DeepPrompts


def _prompts(*, dropout: float = 0.0) -> DeepPrompts:
    torch.manual_seed(0)
    return DeepPrompts(num_prompts=3, layers=4, width=8, patch_size=16, dropout=dropout)


def test_each_block_has_its_own_prompts_and_shares_a_projection() -> None:
    prompts = _prompts()
    rows = [prompts.prompt_embeddings[0], *prompts.deep_prompt_embeddings]
    for block, row in enumerate(rows):
        torch.testing.assert_close(prompts.tokens(block, 2), prompts.prompt_proj(row).expand(2, 3, 8))


def test_there_is_one_set_of_prompts_per_block_and_no_more() -> None:
    prompts = _prompts()
    assert prompts.prompt_embeddings.shape == (1, 3, 8)
    assert prompts.deep_prompt_embeddings.shape == (3, 3, 8)


def test_dropout_differs_from_picture_to_picture() -> None:
    tokens = _prompts(dropout=0.5).train().tokens(1, 2)
    assert not torch.equal(tokens[0] == 0, tokens[1] == 0)


def test_dropout_is_off_in_evaluation() -> None:
    prompts = _prompts(dropout=0.5).eval()
    assert torch.equal(prompts.tokens(0, 1), prompts.tokens(0, 1))


def test_prompts_start_uniform_within_the_published_bound() -> None:
    prompts = DeepPrompts(num_prompts=100, layers=12, width=768, patch_size=16, dropout=0.1)
    bound = (6 / (3 * 16**2 + 768)) ** 0.5
    assert bound == pytest.approx(0.0625, abs=1e-4)
    values = prompts.deep_prompt_embeddings
    assert values.abs().max() <= bound
    assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert prompts.prompt_proj.weight.std().item() == pytest.approx((2 / 768) ** 0.5, rel=0.01)


def test_the_prompt_norm_s_epsilon_differs_from_clip_s() -> None:
    assert _prompts().prompt_norm.eps == 1e-6
