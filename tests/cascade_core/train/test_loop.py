"""The training loop stops at a loss that is no number, before it updates anything."""

import pytest
import torch

from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.model.build import build_segmentor
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from tests.tiny import tiny_config


def test_a_loss_that_is_nan_ends_in_one_sentence() -> None:
    config, split = tiny_config(), protocol("mini-18-6")
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    optimizer = build_optimizer(segmentor, config.optim)
    with torch.no_grad():
        segmentor.trunk.visual.proj.fill_(float("nan"))
    before = {key: value.clone() for key, value in segmentor.state_dict().items()}
    batch = Batch(
        ("a", "b"),
        torch.zeros(2, 3, 32, 32),
        torch.zeros(2, 32, 32, dtype=torch.long),
        torch.zeros(2, 32, 32, dtype=torch.bool),
    )
    steps = train(
        segmentor,
        optimizer,
        [batch],
        config=config,
        supervision=Supervision("inductive", split),
        class_vectors=torch.eye(24, 16),
        start=0,
        total=1,
        device=torch.device("cpu"),
    )
    with pytest.raises(UserError, match=r"loss is nan at step 1 \(.*lower the learning rates"):
        next(steps)
    assert all(
        torch.equal(value.nan_to_num(), before[key].nan_to_num())
        for key, value in segmentor.state_dict().items()
    )
    assert not optimizer.state


def test_the_losses_of_all_maps_add_up() -> None:
    base, split = tiny_config(), protocol("mini-18-6")
    transport = {"fusion": "none", "groups": (), "decoder": "optimal_transport", "text": "templates"}
    config = base.model_copy(update={"model": base.model.model_copy(update={**transport, "dropout": 0.0})})
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).train()
    labels = torch.arange(2 * 32 * 32).view(2, 32, 32) % 24
    batch = Batch(("a", "b"), torch.randn(2, 3, 32, 32), labels, torch.zeros(2, 32, 32, dtype=torch.bool))
    vectors = torch.nn.functional.normalize(torch.randn(24, 2, 16), dim=-1)
    supervision = Supervision("inductive", split)
    maps = segmentor.training_maps(batch.images, supervision.training_vectors(vectors))
    targets = supervision.targets(batch, maps[0], mask_size=(32, 32))
    expected = [segmentation_loss(one, targets, config.loss, mask_size=(32, 32)) for one in maps]
    report = next(
        train(
            segmentor,
            build_optimizer(segmentor, config.optim),
            [batch],
            config=config,
            supervision=supervision,
            class_vectors=vectors,
            start=0,
            total=1,
            device=torch.device("cpu"),
        )
    )
    assert len(maps) == 2
    for name, value in report.terms.items():
        assert value == pytest.approx(sum(float(one.terms[name].detach()) for one in expected), rel=1e-5)
