"""Label views: each setting of training knows of unseen classes what it may, and no more."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.labels.label_views import (
    IGNORE,
    WITHHELD,
    LabelRule,
    hide_unseen,
    inductive_table,
    oracle_pseudo_labels,
    strict_pseudo_labels,
    transductive_table,
)

NUM_CLASSES = 6
splits = st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1, max_size=NUM_CLASSES - 1, unique=True)
seeds = st.integers(0, 10**6)


def _labels(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, NUM_CLASSES + 1, (2, 5, 6), generator=generator)
    return torch.where(labels == NUM_CLASSES, IGNORE, labels)


def _logits(seed: int) -> Tensor:
    return torch.randn(2, NUM_CLASSES, 5, 6, generator=torch.Generator().manual_seed(seed + 1))


def _padding() -> Tensor:
    padding = torch.zeros(2, 5, 6, dtype=torch.bool)
    padding[:, :, 4:] = True
    return padding


def test_inductive_labels_are_positions_among_the_seen_classes() -> None:
    view = hide_unseen(torch.tensor([[[0, 1, 2, 3, 4, 5, IGNORE]]]), NUM_CLASSES, [1, 4])
    assert view.tolist() == [[[0, IGNORE, 1, 2, IGNORE, 3, IGNORE]]]


@given(unseen=splits, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_unseen_and_unlabelled_pixels_have_one_inductive_view(unseen: list[int], seed: int) -> None:
    labels = _labels(seed)
    unlabelled = labels.masked_fill(torch.isin(labels, torch.tensor(unseen)), IGNORE)
    assert torch.equal(hide_unseen(labels, NUM_CLASSES, unseen), hide_unseen(unlabelled, NUM_CLASSES, unseen))


@given(unseen=splits)
def test_tables_withhold_every_byte_but_seen_ids_and_ignore(unseen: list[int]) -> None:
    seen = [index for index in range(NUM_CLASSES) if index not in unseen]
    inductive, transductive = inductive_table(NUM_CLASSES, unseen), transductive_table(NUM_CLASSES, unseen)
    assert len(inductive) == len(transductive) == 256
    for raw in range(256):
        expected = seen.index(raw) if raw in seen else IGNORE if raw == IGNORE else WITHHELD
        assert inductive[raw] == expected
        kept = raw in seen or raw == IGNORE
        assert transductive[raw] == (raw if kept else WITHHELD)


@pytest.mark.parametrize("unseen", [[200], [3, 200, 253]])
def test_no_id_of_a_large_label_set_leaks_an_unseen_class(unseen: list[int]) -> None:
    inductive, transductive = inductive_table(254, unseen), transductive_table(254, unseen)
    assert torch.all(inductive[unseen] == WITHHELD)
    assert torch.all(transductive[unseen] == WITHHELD)
    assert int((transductive == WITHHELD).sum()) == len(unseen) + 1  # 254 is no class


@given(unseen=splits, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_the_oracle_gives_unseen_pixels_their_best_unseen_class(unseen: list[int], seed: int) -> None:
    labels, logits = _labels(seed), _logits(seed)
    view = _oracle(labels, logits, unseen)
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(6)).tolist():
        truth = int(labels[b, y, x])
        best = max(unseen, key=lambda c: float(logits[b, c, y, x]))
        assert view[b, y, x] == (best if truth in unseen else truth)


@given(unseen=splits, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_the_oracle_ignores_which_unseen_class_is_the_truth(unseen: list[int], seed: int) -> None:
    labels, logits = _labels(seed), _logits(seed)
    one_name = torch.where(torch.isin(labels, torch.tensor(unseen)), unseen[0], labels)
    assert torch.equal(_oracle(labels, logits, unseen), _oracle(one_name, logits, unseen))


def _oracle(labels: Tensor, logits: Tensor, unseen: list[int]) -> Tensor:
    return oracle_pseudo_labels(labels, logits[:, unseen], NUM_CLASSES, unseen)


def _strict(labels: Tensor, logits: Tensor, unseen: list[int], *, seen_penalty: float = 0.1) -> Tensor:
    return strict_pseudo_labels(labels, logits, unseen, padding=_padding(), rule=LabelRule(seen_penalty))


@given(unseen=splits, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_strict_views_ignore_which_pixels_were_hidden(unseen: list[int], seed: int) -> None:
    """Shuffle unseen ids and 255 among the pixels that hold either: the view must not move."""
    labels, logits = _labels(seed), _logits(seed)
    hidden = torch.isin(labels, torch.tensor([*unseen, IGNORE]))
    shuffled = labels.clone()
    values = labels[hidden]
    shuffled[hidden] = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))]
    assert torch.equal(_strict(labels, logits, unseen), _strict(shuffled, logits, unseen))
    assert torch.equal(
        _strict(labels, logits, unseen), _strict(labels.masked_fill(hidden, IGNORE), logits, unseen)
    )


@given(unseen=splits, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_strict_views_equal_the_inference_rule_in_a_loop(unseen: list[int], seed: int) -> None:
    labels, logits = _labels(seed), _logits(seed)
    view, padding, scores = _strict(labels, logits, unseen), _padding(), logits.sigmoid()
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(6)).tolist():
        truth = int(labels[b, y, x])
        if truth != IGNORE and truth not in unseen:
            assert view[b, y, x] == truth
            continue
        calibrated = [float(scores[b, c, y, x]) - (0.0 if c in unseen else 0.1) for c in range(NUM_CLASSES)]
        best = max(range(NUM_CLASSES), key=calibrated.__getitem__)
        expected = best if best in unseen and not padding[b, y, x] else IGNORE
        assert view[b, y, x] == expected


def test_padding_is_never_labelled_by_a_strict_view() -> None:
    labels = torch.full((2, 5, 6), IGNORE)
    logits = torch.zeros(2, NUM_CLASSES, 5, 6)
    logits[:, 2] = 5.0
    view = _strict(labels, logits, [2])
    assert torch.all(view[_padding()] == IGNORE)
    assert torch.all(view[~_padding()] == 2)


def test_a_greater_seen_penalty_labels_more_pixels() -> None:
    labels, logits = torch.full((2, 5, 6), IGNORE), _logits(7)
    counts = [int((_strict(labels, logits, [1, 3], seen_penalty=p) != IGNORE).sum()) for p in (0.0, 0.2, 1.1)]
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] == int((~_padding()).sum())


@pytest.mark.parametrize("kind", ["oracle", "strict"])
def test_pseudo_labels_have_no_gradient_and_keep_the_logits(kind: str) -> None:
    logits = _logits(0).requires_grad_()
    before = logits.detach().clone()
    view = (_oracle if kind == "oracle" else _strict)(_labels(0), logits, [1])
    assert not view.requires_grad
    assert torch.equal(logits.detach(), before)
