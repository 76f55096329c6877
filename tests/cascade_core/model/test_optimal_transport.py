"""OTSeg's decoder against loops, and what must hold of it: one text, permuted texts, class chunks, gradients."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.model.build import DECODERS, set_inference
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.optimal_transport import TransportDecoder
from cascade_core.model.segmentor import Segmentor, trainable_parameter_count

from .small import CLIP, TRANSPORT, config, segmentor
from .transport_in_loops import maps_of


def _vectors(classes: int = 3, templates: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return F.normalize(torch.randn(classes, templates, 12, generator=generator), dim=-1)


def _images(side: int = 32) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(6))


def _decoder(model: Segmentor) -> TransportDecoder:
    assert isinstance(model.decoder, TransportDecoder)
    return model.decoder


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_both_paths_are_those_of_the_loops(layers: int) -> None:
    model = segmentor(**TRANSPORT, decoder_layers=layers).double()
    features = model.trunk(_images(16).double())
    vectors = _vectors(2, 3).double()
    expected = maps_of(_decoder(model), features, vectors)
    for ours, slow in zip(_decoder(model).training_maps(features, vectors), expected, strict=True):
        torch.testing.assert_close(ours, slow, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(
        model.decode(features, vectors).flatten(2), sum(expected) / 2, atol=1e-9, rtol=1e-7
    )


@torch.no_grad()
def test_with_one_text_the_score_map_is_the_cosine() -> None:
    model = segmentor(**TRANSPORT)
    features, vectors = model.trunk(_images()), _vectors(templates=1)
    queries = _decoder(model).query(
        features.global_embedding, vectors[:, 0], _decoder(model).prepare(vectors).terms[0][:, 0]
    )
    _, by_score = _decoder(model).training_maps(features, vectors)
    torch.testing.assert_close(by_score, F.normalize(queries, dim=-1) @ features.patches.mT)


@torch.no_grad()
def test_the_order_of_the_texts_changes_nothing() -> None:
    model = segmentor(**TRANSPORT)
    expected = model.grid_logits(_images(), _vectors())
    torch.testing.assert_close(model.grid_logits(_images(), _vectors()[:, [2, 0, 3, 1]]), expected)


@torch.no_grad()
def test_classes_in_parts_give_the_maps_of_the_whole() -> None:
    model = segmentor(**TRANSPORT)
    features, prepared = model.trunk(_images()), model.prepare(_vectors(5))
    parts = [model.decode(features, prepared[start : start + 2]) for start in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model.decode(features, _vectors(5)))


def test_gradients_of_both_maps_reach_every_weight_that_trains() -> None:
    model = segmentor(**TRANSPORT).train()
    maps = model.training_maps(_images(), _vectors())
    assert len(maps) == 2
    sum(one.square().sum() for one in maps).backward()
    trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in trainable.values())
    assert not names_without_gradient(model)


@torch.no_grad()
def test_inference_reads_both_maps_or_one() -> None:
    maps = {
        name: segmentor(**TRANSPORT, inference_map=name).grid_logits(_images(), _vectors())
        for name in ("both", "decoder", "scores")
    }
    torch.testing.assert_close(maps["both"], (maps["decoder"] + maps["scores"]) / 2)
    assert not torch.allclose(maps["decoder"], maps["scores"])
    model = segmentor(**TRANSPORT)
    set_inference(model, {"inference_map": "scores"})
    assert model.config.inference_map == "scores"
    assert torch.equal(model.grid_logits(_images(), _vectors()), maps["scores"])


@torch.no_grad()
def test_a_rectangular_picture_has_a_map_of_its_grid() -> None:
    assert segmentor(**TRANSPORT).grid_logits(_images(32)[..., :24], _vectors()).shape == (2, 3, 4, 3)


def test_vectors_of_another_form_are_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(3, 12\), expected \[classes, templates, 12\]"):
        segmentor(**TRANSPORT).prepare(_vectors()[:, 0])
    with pytest.raises(UserError, match=r"shape \(3, 4, 12\), expected \[classes, 12\]"):
        segmentor().prepare(_vectors())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "templates"}, "text='templates' needs decoder='optimal_transport'"),
        ({"decoder": "optimal_transport"}, "use text='templates'"),
        ({**TRANSPORT, "fusion": "naive", "groups": ((0,),)}, "reads the last map only"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


@pytest.mark.parametrize(("name", "total"), [("otseg_voc12", 8_039_168), ("otseg_cocostuff", 8_868_608)])
def test_parameter_counts_at_full_size_are_these(name: str, total: int) -> None:
    settings, width = recipe(name).model, 768
    decoder = DECODERS["optimal_transport"](settings, VisionTransformer(CLIP))
    square, hidden, norm = 512 * 512 + 512, 2 * 512 * 2048 + 2048 + 512, 2 * 512
    layer = 4 * square + hidden + 2 * norm
    assert trainable_parameter_count(decoder) == (1024 * 512 + 512) + 2 * layer + 2 * square == 7_354_880
    prompts = 12 * settings.num_prompts * width + (width * width + width) + 2 * width
    assert prompts + trainable_parameter_count(decoder) == total
