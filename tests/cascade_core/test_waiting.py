"""Training steps and inference cause no device sync, tested on the device `meta`.

Tensors on `meta` have shapes but no values, so code that reads a value raises. The tests count the other device syncs:
copies that are not `non_blocking`, in a second call, when all caches are filled.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cascade_core.batches.samples import Batch, PackedBatch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import EvalConfig
from cascade_core.configs.settings import ScoreFunction, TrainedSetting
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.losses.focal_dice import _by_role
from cascade_core.losses.ssim import ssim_loss
from cascade_core.model import optimal_transport
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.sinkhorn import sinkhorn
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.train.supervision import Supervision
from tests.cascade_core.model.small import METHODS, classes_for, segmentor
from tests.tiny import TINY_CLIP, tiny_config

CONFIG, GPU = tiny_config(), torch.device("meta")
SPLIT = CONFIG.data.split


class DeviceSyncs(TorchDispatchMode):
    """Counts the copies to the device that are a device sync."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            to_device = args[0].device.type == "cpu" and options.get("device") == GPU
            self.count += to_device and not options.get("non_blocking")
        if func is torch.ops.aten.lift_fresh.default:
            # Python numbers become a tensor on the device, also as lists that index.
            self.count += args[0].device == GPU
        if func is torch.ops.aten.index.Tensor and args[0].device == GPU:
            # Indices on the CPU are copied to the device first.
            self.count += any(index is not None and index.device != GPU for index in args[1])
        return func(*args, **options)


def _segmentor() -> Segmentor:
    return build_segmentor(CONFIG.model, VisionTransformer(TINY_CLIP), seed=0).to(GPU)


def test_blocking_copies_are_counted() -> None:
    with DeviceSyncs() as syncs:
        maps = torch.zeros(4, 3, device=GPU)
        maps += torch.zeros(3).to(GPU, non_blocking=True)
        assert syncs.count == 0
        maps += torch.zeros(3).to(GPU)
        assert syncs.count == 1
        maps[[0, 2]]
        assert syncs.count == 2
        torch.tensor([0, 2], device=GPU)
        assert syncs.count == 3
        maps[torch.tensor([0, 2])]
        assert syncs.count == 4


@pytest.mark.parametrize("setting", ["inductive", "transductive_oracle", "transductive_strict"])
def test_a_training_step_causes_no_device_sync(setting: TrainedSetting) -> None:
    segmentor, supervision = _segmentor().train(), Supervision(setting, SPLIT)
    vectors = supervision.training_vectors(torch.zeros(SPLIT.num_classes, TINY_CLIP.embed_dim)).to(GPU)
    levels, labels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32, dtype=torch.uint8)
    padding = torch.ones(2, 32, 32, dtype=torch.bool)
    packed = PackedBatch(("a", "b"), levels, labels, padding, CONFIG.data.mean, CONFIG.data.std)

    def step() -> Tensor:
        batch = packed.to(GPU)
        return supervision.targets(batch, segmentor.grid_logits(batch.images, vectors), mask_size=(32, 32))

    step()
    with DeviceSyncs() as syncs:
        assert step().device == GPU
    assert syncs.count == 0


@pytest.mark.parametrize("method", ["spt_seg_cascade", "otseg", "cat_seg", "cat_seg_frozen"])
def test_training_maps_of_other_methods_cause_no_device_sync(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimal_transport, "sinkhorn", partial(sinkhorn, iterations=2))  # all are alike
    model = segmentor(**METHODS[method]).train()
    images, classes = torch.zeros(2, 3, 32, 32, device=GPU), classes_for(model).to(GPU)
    model.to(GPU)

    def step() -> None:
        torch.stack([maps.sum() for maps in model.training_maps(images, classes)]).sum().backward()

    step()
    with DeviceSyncs() as syncs:
        step()
    assert syncs.count == 0


def test_groups_of_pictures_in_a_loss_cause_no_device_sync() -> None:
    logits, labels = torch.zeros(3, 4, 2, 2, device=GPU), torch.zeros(3, 8, 8, dtype=torch.long, device=GPU)
    with DeviceSyncs() as syncs:
        groups = list(_by_role(logits, labels, (True, False, True)))
    assert [(len(own), len(of), role) for own, of, role in groups] == [(2, 2, True), (1, 1, False)]
    assert syncs.count == 0


@pytest.mark.parametrize("negative", [(True, True), (True, False), (False, False)])
def test_the_structural_loss_causes_no_device_sync(negative: tuple[bool, ...]) -> None:
    logits, labels = torch.zeros(2, 5, 4, 4, device=GPU), torch.zeros(2, 32, 32, dtype=torch.long, device=GPU)

    def loss() -> Tensor:
        return ssim_loss(logits, labels, mask_size=(32, 32), ignored_as_negative=negative)

    loss()
    with DeviceSyncs() as syncs:
        assert loss().device == GPU
    assert syncs.count == 0


@pytest.mark.parametrize(
    ("method", "score_function"),
    [
        ("cascade_clip", "sigmoid"),
        ("cascade_clip", "softmax"),
        ("otseg", "sigmoid"),
        ("cat_seg_frozen", "sigmoid"),
    ],
)
def test_evaluation_causes_no_device_sync(
    method: str, score_function: ScoreFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimal_transport, "sinkhorn", partial(sinkhorn, iterations=2))
    model = segmentor(**METHODS[method])
    vectors, penalty = classes_for(model, SPLIT.num_classes).to(GPU), 0.0 if model.coupled_classes else 0.1
    vocabulary = Vocabulary(model.to(GPU), vectors, score_function, seen=SPLIT.seen, seen_penalty=penalty)
    mode = "slide_and_whole" if model.coupled_classes else "slide"
    evaluate = EvalConfig(mode=mode, short_side=None, crop_size=32, stride=24, batch_size=2)
    confusion = ConfusionMatrix(SPLIT.num_classes, device=GPU)
    picture = (torch.zeros(1, 3, 40, 56), torch.zeros(1, 50, 70, dtype=torch.long))
    padding = torch.zeros(1, 40, 56, dtype=torch.bool)

    def update() -> None:
        pictures = [Batch((name,), *picture, padding) for name in ("a", "b")]
        for batch, predicted in predictions(vocabulary, pictures, evaluate=evaluate):
            confusion.update(predicted, batch.labels)

    update()
    with DeviceSyncs() as syncs:
        update()
    assert syncs.count == 0
    with pytest.raises(RuntimeError, match="meta"):
        _ = confusion.counts
