"""What users run against the published computation written plainly: the same numbers."""

import pytest
import torch
from torch import Tensor

from benchmarks import plain
from cascade_core.clip.vision import VisionTransformer
from cascade_core.evaluate.inference import scorer
from cascade_core.evaluate.prediction import label_maps
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from tests.tiny import TINY_CLIP, tiny_config

CASCADE = tiny_config(mode="slide")
ZEGCLIP = CASCADE.model_copy(
    update={"model": CASCADE.model.model_copy(update={"fusion": "none", "groups": ()})}
)
SEEN = [0, 2, 3]


@pytest.fixture(params=[ZEGCLIP, CASCADE], ids=["zegclip", "cascade_clip"])
def model(request: pytest.FixtureRequest) -> Segmentor:
    torch.manual_seed(0)
    return build_segmentor(request.param.model, VisionTransformer(TINY_CLIP), seed=0)


def _vectors() -> Tensor:
    vectors = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(vectors, dim=-1)


def test_a_training_step_has_the_same_loss_and_gradients(model: Segmentor) -> None:
    model.eval()
    pictures, labels = torch.randn(2, 3, 32, 32), torch.randint(0, 5, (2, 32, 32))
    labels[0, :9] = 255
    logits = model.grid_logits(pictures, _vectors())
    ours = segmentation_loss(logits, labels, CASCADE.loss, mask_size=(32, 32)).total
    published_logits = plain.grid_logits(model, pictures, _vectors())
    torch.testing.assert_close(logits, published_logits)
    terms = plain.loss(published_logits, labels, CASCADE.loss)
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    gradients = [
        torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for loss in (ours, terms["focal"] + terms["dice"])
    ]
    torch.testing.assert_close(ours, terms["focal"] + terms["dice"])
    for name, mine, published in zip(weights, *gradients, strict=True):
        if mine is None:
            assert published is None or not published.any(), name
        else:
            torch.testing.assert_close(mine, published, msg=name)


@torch.no_grad()
def test_label_maps_are_the_same(model: Segmentor) -> None:
    model.eval()
    picture = torch.randn(1, 3, 40, 56)
    predict = scorer(model, _vectors(), kind="focal_dice", seen=SEEN, seen_penalty=0.1)
    ours = label_maps(predict, picture, evaluate=CASCADE.evaluate, num_classes=5, size=(50, 70))
    published = plain.label_map(
        model, picture, _vectors(), seen=SEEN, seen_penalty=0.1, size=(50, 70), crop=32, stride=24
    )
    # Where two classes are equal up to rounding, either may win.
    assert (ours != published).float().mean() < 0.001
