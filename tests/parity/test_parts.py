"""Single parts: learning rates, position grids, losses on random logits, label tables, metrics."""

import math
import re

import pytest
import torch

from cascade_core.clip.vision import resize_position_grid
from cascade_core.configs.config import LossConfig, OptimConfig
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, train_id_table
from cascade_core.labels.label_views import IGNORE, WITHHELD, inductive_table, transductive_table
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import Scores, scores
from cascade_core.train.optim import learning_rate

from .golden import GoldenSet, covers, golden_set, largest_difference, relative_l2

GENERIC = ("generic",)


@covers(r"json/lr/().*", sets=GENERIC)
def test_learning_rates_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    record = golden.record["lr"]
    settings = record["settings"]
    bases = [settings["base_lr"] * settings[f"lr_mult_{kind}"] for kind in ("trainable", "default")]
    assert record["warmup"] == "linear"
    assert len(record["columns"]) == 1 + len(bases)
    for base, column in zip(bases, (1, 2), strict=True):
        config = OptimConfig(
            prompt_lr=base,
            decoder_lr=base,
            power=record["power"],
            min_lr=record["min_lr"],
            warmup_iterations=record["warmup_iters"],
            warmup_ratio=record["warmup_ratio"],
        )
        for total, rows in record["values"].items():
            ours = [learning_rate(base, row[0], int(total), config) for row in rows]
            assert ours == pytest.approx(
                [row[column] for row in rows], rel=golden.tolerances["lr_rtol"], abs=0
            )


@covers(r"posembed/out_\d+x\d+", sets=GENERIC)
def test_position_grids_are_resized_in_one_step_as_released(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    height, width = (int(side) for side in re.findall(r"\d+", key))
    (stored,) = [k for k in golden.tensor_keys if k.startswith("posembed/in_")]
    ours = resize_position_grid(golden.tensors[stored], height, width)
    assert largest_difference(ours, golden.tensors[key]) <= golden.tolerances["posembed_atol"]


@covers(r"posembed/in_\d+x\d+", sets=GENERIC)
def test_a_position_grid_of_the_right_size_stays_as_it_is(golden: GoldenSet, keys: list[str]) -> None:
    (key,) = keys
    height, width = (int(side) for side in re.findall(r"\d+", key))
    stored = golden.tensors[key]
    assert torch.equal(resize_position_grid(stored, height, width), stored)


@covers(
    r"(loss_\w+)/(?:logits|label|grad)",
    r"json/(loss_\w+)/loss_(?:mask|dice)",
    given=(r"json/loss/.*",),
    sets=GENERIC,
)
def test_losses_on_random_logits_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    record = golden.record["loss"]
    config = LossConfig(
        focal_weight=record["mask_weight"],
        dice_weight=record["dice_weight"],
        focal_alpha=record["focal_alpha"],
        focal_gamma=record["focal_gamma"],
    )
    assert record["ignore_index"] == IGNORE
    for case in {key.split("/")[-2] for key in keys}:
        logits = golden.tensors[f"{case}/logits"].clone().requires_grad_()
        labels = golden.tensors[f"{case}/label"]
        loss = segmentation_loss(logits, labels, config, mask_size=labels.shape[-2:])
        loss.total.backward()
        ours = {"loss_mask": loss.terms["focal"].item(), "loss_dice": loss.terms["dice"].item()}
        assert ours == pytest.approx(golden.record[case], rel=golden.tolerances["losses_rtol"])
        assert logits.grad is not None
        assert relative_l2(logits.grad, golden.tensors[f"{case}/grad"]) <= golden.tolerances["grad_rel_l2"]


@covers(r"json/()remap_(?:inductive|transductive)", r"json/()remap/.*", sets=GENERIC)
def test_label_tables_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    record = golden.record["remap"]
    tables = {"remap_inductive": inductive_table, "remap_transductive": transductive_table}
    assert sorted(record["seen"] + record["unseen"]) == list(range(record["num_classes"]))
    for name, table in tables.items():
        ours = table(record["num_classes"], record["unseen"])
        # The released table keeps 200, a padding label that no map holds; `transductive_table` withholds it.
        released = [WITHHELD if raw == 200 else new for raw, new in enumerate(golden.record[name])]
        assert record["num_classes"] <= 200
        assert ours.tolist() == released
        assert len(ours) == record["table_length"]


def _confusion(golden: GoldenSet, case: str) -> tuple[ConfusionMatrix, ClassSplit]:
    """Accumulate the stored label maps as in `metrics_plain` or `metrics_reduce_zero_label`."""
    record = golden.record[case]
    names = tuple(f"c{index}" for index in range(record["num_classes"]))
    label_set = LabelSet("golden", names, train_id_table(len(names)))
    confusion = ConfusionMatrix(len(names))
    for key in golden.tensor_keys:
        if key.startswith("metric/label"):
            truth = golden.tensors[key]
            if record["reduce_zero_label"]:
                # Only labels are reduced: 0 is background, every other id moves down by one.
                truth = torch.where((truth == 0) | (truth == IGNORE), IGNORE, truth - 1)
            confusion.update(golden.tensors[key.replace("label", "pred")], truth)
    return confusion, ClassSplit("golden", label_set, tuple(names[index] for index in record["novel"]))


def _fractions(ours: Scores) -> dict[str, float | tuple[float, ...]]:
    """Return our scores under the record's names."""
    return {
        "aAcc": ours.pAcc,
        "IoU": ours.iou,
        "Acc": ours.accuracy,
        "mIoU": ours.miou,
        "mAcc": ours.macc,
        "mIoU_seen": ours.miou_seen,
        "mIoU_unseen": ours.miou_unseen,
        "mAcc_seen": ours.macc_seen,
        "mAcc_unseen": ours.macc_unseen,
        "hIoU_NOT_IN_REFERENCE": ours.hiou,
    }


@covers(
    r"metric/(?:label|pred)()\d+",
    r"json/metrics_(\w+)/area_(?:intersect|union|pred|label)",
    r"json/metrics_(\w+)/(?:num_classes|ignore_index|seen|novel|reduce_zero_label)",
    sets=GENERIC,
)
def test_pixel_counts_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    for case in _metric_cases(golden):
        record = golden.record[case]
        counts = _confusion(golden, case)[0].counts
        assert counts.diagonal().tolist() == record["area_intersect"]
        assert counts.sum(dim=0).tolist() == record["area_pred"]
        assert counts.sum(dim=1).tolist() == record["area_label"]
        union = counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()
        assert union.tolist() == record["area_union"]
        assert sorted(record["seen"] + record["novel"]) == list(range(record["num_classes"]))
        assert record["ignore_index"] == IGNORE


@covers(
    r"json/metrics_(\w+)/(?:aAcc|IoU|Acc|mIoU|mAcc|mIoU_seen|mIoU_unseen|mAcc_seen|mAcc_unseen|hIoU_NOT_IN_REFERENCE)",
    sets=GENERIC,
)
def test_scores_equal_the_released_ones(golden: GoldenSet, keys: list[str]) -> None:
    ours = _fractions(scores(*_confusion(golden, keys[0].split("/")[1])))
    for key in keys:
        theirs = golden.numbers[key]
        expected = [_nan_for_null(number) for number in (theirs if isinstance(theirs, list) else [theirs])]
        value = ours[key.rpartition("/")[2]]
        values = list(value) if isinstance(value, tuple) else [value]
        assert values == pytest.approx(expected, abs=golden.tolerances["metrics_atol"], rel=0, nan_ok=True), (
            key
        )


@covers(r"json/metrics_(\w+)/reference_evaluate_return/.*", sets=GENERIC)
def test_the_released_report_holds_our_rounded_scores(golden: GoldenSet, keys: list[str]) -> None:
    """Its per-class fractions come from rounded float32 percentages."""
    ours = scores(*_confusion(golden, keys[0].split("/")[1]))
    values = {"aAcc": ours.pAcc, "mIoU": ours.miou, "mAcc": ours.macc}
    values |= {f"IoU.c{index}": value for index, value in enumerate(ours.iou)}
    values |= {f"Acc.c{index}": value for index, value in enumerate(ours.accuracy)}
    atol = golden.tolerances["metrics_atol"]
    for key in keys:
        value, theirs = values[key.rpartition("/")[2]], _nan_for_null(golden.numbers[key])
        # A value within `atol` of a rounding boundary may round either way.
        rounded = [round(value + shift, 4) for shift in (-atol, 0, atol)]
        assert any(
            candidate == pytest.approx(theirs, abs=atol, rel=0, nan_ok=True) for candidate in rounded
        ), key


def test_the_generic_set_has_both_metric_cases() -> None:
    assert len(_metric_cases(golden_set("generic"))) >= 2


def _metric_cases(golden: GoldenSet) -> list[str]:
    return [name for name in golden.record if name.startswith("metrics_")]


def _nan_for_null(value: float | None) -> float:
    return math.nan if value is None else value
