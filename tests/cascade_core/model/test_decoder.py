"""The mask decoder."""

import torch
import torch.nn.functional as F

from cascade_core.model.decoder import (
    CrossAttention,
    DecoderLayer,
    LinearDecoder,
    MaskDecoder,
    names_without_gradient,
)
from cascade_core.model.trunk import TrunkFeatures

GRID = (1, 8)  # this decoder looks at no places


def _decoder(*, dropout: float = 0.0) -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(width=12, heads=3, layers=3, feedforward=20, dropout=dropout)


@torch.no_grad()
def test_mean_scores_equal_the_mean_over_heads_in_a_loop() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(12, 3, 0.0)
    queries, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    query, key = attention.q(queries), attention.k(memory)
    heads = []
    for head in range(3):
        columns = slice(4 * head, 4 * head + 4)
        heads.append(torch.einsum("bcd,bpd->bcp", query[..., columns], key[..., columns]) / 4**0.5)
    torch.testing.assert_close(attention.mean_scores(queries, memory), sum(heads) / 3, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_attention_equals_softmax_times_values_in_a_loop() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(12, 3, 0.0)
    queries, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    query, key, value = attention.q(queries), attention.k(memory), attention.v(memory)
    mixed = []
    for head in range(3):
        columns = slice(4 * head, 4 * head + 4)
        weights = (query[..., columns] @ key[..., columns].mT / 2).softmax(dim=-1)
        mixed.append(weights @ value[..., columns])
    expected = attention.proj(torch.cat(mixed, dim=-1))
    torch.testing.assert_close(attention(queries, memory), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_layer_is_post_norm_without_self_attention() -> None:
    torch.manual_seed(0)
    layer = DecoderLayer(12, 3, 20, 0.0).eval()
    queries, memory = torch.randn(1, 4, 12), torch.randn(1, 6, 12)
    attended = layer.norm2(queries + layer.attention(queries, memory))
    expected = layer.norm3(attended + layer.linear2(F.relu(layer.linear1(attended))))
    torch.testing.assert_close(layer(queries, memory), expected)
    torch.testing.assert_close(layer(queries[:, 2:3], memory), expected[:, 2:3])


def test_decoder_layers_start_identical_and_are_not_shared() -> None:
    first, *others = _decoder().layers
    for other in others:
        for mine, theirs in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)
            assert mine is not theirs


def test_masks_of_a_class_do_not_depend_on_other_classes() -> None:
    decoder = _decoder().eval()
    queries, memory = torch.randn(2, 6, 12), torch.randn(2, 9, 12)
    all_masks = decoder(queries, memory, GRID)
    torch.testing.assert_close(decoder(queries[:, [4, 1]], memory, GRID), all_masks[:, [4, 1]])


def test_masks_follow_a_permutation_of_the_patches() -> None:
    decoder = _decoder().eval()
    queries, memory, order = torch.randn(1, 3, 12), torch.randn(1, 8, 12), torch.randperm(8)
    torch.testing.assert_close(
        decoder(queries, memory[:, order], GRID), decoder(queries, memory, GRID)[..., order]
    )


def test_exactly_the_listed_weights_get_no_gradient() -> None:
    decoder = _decoder()
    decoder(torch.randn(1, 3, 12), torch.randn(1, 8, 12), GRID).square().sum().backward()
    without = {name for name, parameter in decoder.named_parameters() if parameter.grad is None}
    assert names_without_gradient(decoder) == without
    assert without


def test_dropout_acts_in_training_only() -> None:
    decoder = _decoder(dropout=0.5)
    queries, memory = torch.randn(1, 3, 12), torch.randn(1, 8, 12)
    assert not torch.equal(decoder.train()(queries, memory, GRID), decoder(queries, memory, GRID))
    assert torch.equal(decoder.eval()(queries, memory, GRID), decoder(queries, memory, GRID))


def test_the_linear_decoder_starts_as_scaled_cosine_similarity() -> None:
    patches, vectors = torch.randn(2, 5, 8), torch.randn(3, 8)
    features = TrunkFeatures(torch.randn(2, 8), patches, (), (1, 5))
    expected = F.cosine_similarity(patches[:, None], vectors[None, :, None], dim=-1) / 0.07
    torch.testing.assert_close(LinearDecoder(8)(features, vectors), expected, atol=1e-5, rtol=1e-5)
