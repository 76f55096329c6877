"""Nothing in a training step or in inference waits for a GPU: on the device `meta` no number can ever be read.

It holds shapes alone, so that whatever asks for a number raises. What is left to see is what waits in sending: copies
that are not said to be `non_blocking`, at a second call, when what can be kept is there.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cascade_core.batches.samples import Batch, PackedBatch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import EvalConfig
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Kind, Vocabulary
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.train.supervision import Setting, Supervision
from tests.tiny import TINY_CLIP, tiny_config

CONFIG, GPU = tiny_config(), torch.device("meta")
SPLIT = CONFIG.data.split


class Waits(TorchDispatchMode):
    """Counts what is sent to the device in a way that waits until all that runs there is done."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            sent = args[0].device.type == "cpu" and given.get("device") == GPU
            self.count += sent and not given.get("non_blocking")
        if func is torch.ops.aten.lift_fresh.default:
            # Numbers of Python's made a tensor there, lists that index among them.
            self.count += args[0].device == GPU
        return func(*args, **given)


def _segmentor() -> Segmentor:
    return build_segmentor(CONFIG.model, VisionTransformer(TINY_CLIP), seed=0).to(GPU)


def test_a_copy_that_waits_is_seen() -> None:
    with Waits() as waits:
        maps = torch.zeros(4, 3, device=GPU)
        maps += torch.zeros(3).to(GPU, non_blocking=True)
        assert waits.count == 0
        maps += torch.zeros(3).to(GPU)
        assert waits.count == 1
        maps[[0, 2]]
        assert waits.count == 2
        torch.tensor([0, 2], device=GPU)
        assert waits.count == 3


@pytest.mark.parametrize("setting", ["inductive", "transductive_oracle", "transductive_strict"])
def test_a_training_step_up_to_its_labels_waits_for_nothing(setting: Setting) -> None:
    segmentor, supervision = _segmentor().train(), Supervision(setting, SPLIT)
    vectors = supervision.training_vectors(torch.zeros(SPLIT.num_classes, TINY_CLIP.embed_dim)).to(GPU)
    levels, labels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32, dtype=torch.uint8)
    padding = torch.ones(2, 32, 32, dtype=torch.bool)
    packed = PackedBatch(("a", "b"), levels, labels, padding, CONFIG.data.mean, CONFIG.data.std)

    def step() -> Tensor:
        batch = packed.to(GPU)
        return supervision.view(batch, segmentor.grid_logits(batch.images, vectors), mask_size=(32, 32))

    step()
    with Waits() as waits:
        assert step().device == GPU
    assert waits.count == 0


@pytest.mark.parametrize("kind", ["focal_dice", "cross_entropy"])
def test_evaluation_waits_for_no_picture(kind: Kind) -> None:
    vectors = torch.zeros(SPLIT.num_classes, TINY_CLIP.embed_dim, device=GPU)
    asked = Vocabulary(_segmentor().eval(), vectors, kind, seen=SPLIT.seen, seen_penalty=0.1)
    evaluate = EvalConfig(mode="slide", short_side=None, crop_size=32, stride=24, batch_size=2)
    confusion = ConfusionMatrix(SPLIT.num_classes, device=GPU)
    picture = (torch.zeros(1, 3, 40, 56), torch.zeros(1, 50, 70, dtype=torch.long))
    padding = torch.zeros(1, 40, 56, dtype=torch.bool)

    def go_through() -> None:
        pictures = [Batch((name,), *picture, padding) for name in ("a", "b")]
        for batch, predicted in predictions(asked, pictures, evaluate=evaluate):
            confusion.update(predicted, batch.labels)

    go_through()
    with Waits() as waits:
        go_through()
    assert waits.count == 0
    with pytest.raises(RuntimeError, match="meta"):
        _ = confusion.counts
