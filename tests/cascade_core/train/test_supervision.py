"""The labels that the loss sees; pseudo-labels need the logits of one picture at a time."""

import pytest
import torch
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.labels.label_set import IGNORE
from cascade_core.labels.label_views import LabelRule, oracle_pseudo_labels, strict_pseudo_labels
from cascade_core.losses.resize import resize_logits
from cascade_core.model.probabilities import probabilities
from cascade_core.train.supervision import Supervision

SPLIT = protocol("mini-18-6")
SIDE = (16, 16)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    labels = torch.randint(0, SPLIT.num_classes + 1, (3, *SIDE))
    labels[labels == SPLIT.num_classes] = IGNORE
    return Batch(("a", "b", "c"), torch.randn(3, 3, *SIDE), labels, torch.rand(3, *SIDE) < 0.1)


def _whole_batch_labels(batch: Batch, maps: Tensor, setting: str) -> Tensor:
    if setting == "transductive_oracle":
        unseen = maps[:, list(SPLIT.unseen)]
        return oracle_pseudo_labels(batch.labels, unseen, SPLIT.num_classes, SPLIT.unseen)
    return strict_pseudo_labels(batch.labels, maps, SPLIT.unseen, padding=batch.padding, rule=LabelRule(0.1))


@pytest.mark.parametrize("setting", ["transductive_oracle", "transductive_strict"])
def test_pseudo_labels_equal_those_of_the_whole_batch(
    batch: Batch, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid_logits = 3 * torch.randn(3, SPLIT.num_classes, 4, 4)
    expected = _whole_batch_labels(batch, resize_logits(grid_logits, (24, 24), SIDE), setting)
    batch_sizes = []
    monkeypatch.setattr(
        "cascade_core.train.supervision.resize_logits",
        lambda logits, *sizes: batch_sizes.append(len(logits)) or resize_logits(logits, *sizes),
    )
    labels = Supervision(setting, SPLIT).targets(batch, grid_logits, mask_size=(24, 24))
    assert torch.equal(labels, expected)
    assert batch_sizes == [1, 1, 1]


@pytest.mark.parametrize("setting", ["transductive_oracle", "transductive_strict"])
def test_a_teachers_labels_stay_as_they_are(batch: Batch, setting: str) -> None:
    grid_logits = 3 * torch.randn(3, SPLIT.num_classes, 4, 4)
    supervision = Supervision(setting, SPLIT)
    own = supervision.targets(batch, grid_logits, mask_size=SIDE)
    mixed = supervision.targets(batch._replace(by_teacher=(False, True, False)), grid_logits, mask_size=SIDE)
    assert not torch.equal(own[1], batch.labels[1])
    assert torch.equal(mixed, torch.stack([own[0], batch.labels[1], own[2]]))


@pytest.mark.parametrize("setting", ["transductive_oracle", "transductive_strict"])
@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_pixels_below_the_confidence_are_ignored(batch: Batch, setting: str, confidence: float) -> None:
    maps = 3 * torch.randn(3, SPLIT.num_classes, *SIDE) - 5
    every = Supervision(setting, SPLIT).targets(batch, maps, mask_size=SIDE)
    sure = Supervision(setting, SPLIT, LabelRule(0.1, confidence)).targets(batch, maps, mask_size=SIDE)
    pseudo = torch.isin(every, torch.tensor(SPLIT.unseen))
    expected, scores = every.clone(), maps.sigmoid()
    for picture, row, column in pseudo.nonzero().tolist():
        if scores[picture, every[picture, row, column], row, column] < confidence:
            expected[picture, row, column] = IGNORE
    assert torch.equal(sure, expected)
    assert 0 < (sure[pseudo] == IGNORE).sum() < pseudo.sum()


@pytest.mark.parametrize("name", ["mini_zegclip", "mini_baseline"])
def test_pseudo_labels_follow_the_rule_of_inference(name: str) -> None:
    """Independent classes have a sigmoid, classes in competition a softmax; the seen ones pay their penalty."""
    config = recipe(name)
    logits = 4 * torch.randn(1, SPLIT.num_classes, *SIDE) + 4
    batch = Batch(
        ("a",), torch.zeros(1, 3, *SIDE), torch.full((1, *SIDE), IGNORE), torch.zeros(1, *SIDE) > 0
    )._replace(unlabelled=(True,))
    scores = probabilities(logits, config.loss.score_function)
    scores[:, list(SPLIT.seen)] -= config.self_train.strict_seen_penalty
    labels = Supervision.of(config, "transductive_strict", SPLIT).targets(batch, logits, mask_size=SIDE)
    assert torch.equal(labels, scores.argmax(dim=1))


@pytest.mark.parametrize("setting", ["transductive_oracle", "transductive_strict"])
def test_a_picture_without_labels_gets_those_of_inference(batch: Batch, setting: str) -> None:
    maps = 3 * torch.randn(3, SPLIT.num_classes, *SIDE)
    supervision = Supervision(setting, SPLIT, LabelRule(0.1, 0.5))
    labels = supervision.targets(batch._replace(unlabelled=(False, True, False)), maps, mask_size=SIDE)
    own = supervision.targets(batch, maps, mask_size=SIDE)
    assert torch.equal(labels[[0, 2]], own[[0, 2]])
    seen, scores = set(range(SPLIT.num_classes)) - set(SPLIT.unseen), maps[1].sigmoid()
    for row in range(SIDE[0]):
        for column in range(SIDE[1]):
            ranked = {c: float(scores[c, row, column]) - 0.1 * (c in seen) for c in range(SPLIT.num_classes)}
            best = max(ranked, key=ranked.__getitem__)
            kept = scores[best, row, column] >= 0.5 and not batch.padding[1, row, column]
            assert labels[1, row, column] == (best if kept else IGNORE)


def test_ignored_pixels_of_a_picture_without_labels_say_nothing(batch: Batch) -> None:
    assert batch.unannotated == (False, False, False)
    mixed = batch._replace(by_teacher=(True, False, False), unlabelled=(False, True, False))
    assert mixed.unannotated == (True, True, False)
