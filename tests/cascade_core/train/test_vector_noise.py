"""Noise on class vectors: its length, its draw, and which models take it."""

import math

import pytest
import torch

from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.train.vector_noise import with_noise


def test_noise_moves_each_vector_and_keeps_its_length() -> None:
    vectors = torch.tensor([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]])
    torch.manual_seed(5)
    directions = torch.randn(2, 3).tolist()
    torch.manual_seed(5)
    noisy = with_noise(vectors, 0.5)
    for vector, noise, ours in zip(vectors.tolist(), directions, noisy.tolist(), strict=True):
        length, reach = math.hypot(*vector), math.hypot(*noise)
        moved = [own + 0.5 * length * part / reach for own, part in zip(vector, noise, strict=True)]
        expected = [length * value / math.hypot(*moved) for value in moved]
        assert ours == pytest.approx(expected, rel=1e-5)


def test_templates_of_a_class_have_noise_of_their_own() -> None:
    vectors = torch.ones(2, 3, 4)
    noisy = with_noise(vectors, 0.1)
    assert len({tuple(own) for own in noisy.flatten(0, 1).tolist()}) == 6
    assert torch.allclose(noisy.norm(dim=-1), vectors.norm(dim=-1))


def test_without_noise_nothing_is_drawn() -> None:
    vectors, before = torch.randn(2, 3), torch.get_rng_state()
    assert with_noise(vectors, 0.0) is vectors
    assert torch.equal(torch.get_rng_state(), before)
    config = recipe("mini_zegclip")
    assert "vector_noise" not in config.model_dump_json()


def test_a_model_that_reads_tokens_refuses_noise() -> None:
    with pytest.raises(UserError, match=r"train.vector_noise=0.2 .* model.text is 'tokens'"):
        recipe("mini_cat_seg", {"train.vector_noise": 0.2})
    assert recipe("mini_otseg", {"train.vector_noise": 0.2}).train.vector_noise == 0.2
