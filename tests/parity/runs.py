"""Our side of the parity tests, computed once per golden set and setting."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_core.configs.config import EvalConfig, OptimConfig
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.label_views import IGNORE, hide_unseen, oracle_pseudo_labels
from cascade_core.losses.focal_dice import LossParts, segmentation_loss
from cascade_core.losses.resize import resize_logits
from cascade_core.model.cascade import MaskHead
from cascade_core.model.segmentor import Segmentor
from cascade_core.released.weights import our_name
from tests.score_maps import score_maps

from .golden import GoldenSet, golden_set

PICTURES = {"backbone": "img", "backbone_rect": "rect_img", "backbone_nonmult": "nonmult_img"}


@dataclass(frozen=True)
class TrainingView:
    """A training forward pass: logits, the labels of the loss, its value, and the accuracy that is logged with it."""

    mask_logits: Tensor
    labels: Tensor
    loss: LossParts
    accuracy: Tensor

    def as_released(self) -> dict[str, float]:
        """Return the numbers under the names that the released code logs."""
        return {
            "decode.loss_mask": self.loss.terms["focal"].item(),
            "decode.loss_dice": self.loss.terms["dice"].item(),
            "decode.acc_seg": 100 * self.accuracy.item(),
            "total": self.loss.total.item(),
        }


def training_view(golden: GoldenSet, segmentor: Segmentor, setting: str) -> TrainingView:
    """Run the forward pass of a setting of the JSON's `losses`."""
    dtype = segmentor.trunk.visual.proj.dtype
    text, images = golden.tensors["text"].to(dtype), golden.tensors["img"].to(dtype)
    match setting:
        case "inductive" | "inductive_one_empty" | "inductive_all_empty":
            truth = {
                "inductive": golden.labels,
                "inductive_one_empty": golden.tensors["gt_one_empty"][:, 0],
                "inductive_all_empty": torch.full_like(golden.labels, IGNORE),
            }[setting]
            grid_logits = segmentor.grid_logits(images, text[golden.seen])
            labels = hide_unseen(truth, golden.config["ncls"], golden.unseen)
        case "transductive":
            grid_logits = segmentor.grid_logits(images, text)
            unseen_logits = segmentor(images, text)[:, golden.unseen]
            labels = oracle_pseudo_labels(golden.labels, unseen_logits, golden.config["ncls"], golden.unseen)
        case "supervised":
            grid_logits, labels = segmentor.grid_logits(images, text), golden.labels
        case _:
            raise ValueError(f"no setting {setting!r}")
    mask_size = segmentor.mask_size(grid_logits, (images.shape[-2], images.shape[-1]))
    loss = segmentation_loss(grid_logits, labels, golden.loss_config, mask_size=mask_size)
    mask_logits = resize_logits(grid_logits, mask_size, mask_size)
    return TrainingView(mask_logits, labels, loss, _pixel_accuracy(mask_logits, labels))


def _pixel_accuracy(mask_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracy on pixels that are not `IGNORE`; 1 without such pixels, as the released code logs."""
    counted = labels != IGNORE
    right = (mask_logits.argmax(dim=1) == labels)[counted]
    return right.double().mean() if counted.any() else torch.ones(())


@dataclass(frozen=True)
class Differentiated:
    """A training view, and the gradient of every trainable weight by released name; None for a weight without."""

    view: TrainingView
    gradients: dict[str, Tensor | None]


@functools.cache
def differentiated(name: str, setting: str, dtype: torch.dtype = torch.float32) -> Differentiated:
    """Run a setting's forward and backward pass."""
    golden = golden_set(name)
    segmentor = golden.segmentor_without_dropout(dtype)
    view = training_view(golden, segmentor, setting)
    view.loss.total.backward()
    parameters = dict(segmentor.named_parameters())
    released = [key for key in golden.released_state if not key.endswith("empty_weight")]
    gradients = {
        key: parameters[our_name(key)].grad for key in released if parameters[our_name(key)].requires_grad
    }
    return Differentiated(view, gradients)


@functools.cache
def feature_maps(name: str, which: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the trunk's maps under the released backbone's names: `feat0`, `feat1`, ... and `global`."""
    golden = golden_set(name)
    segmentor = golden.segmentor(dtype)
    assert isinstance(segmentor.decoder, MaskHead)
    with torch.no_grad():
        features = segmentor.trunk(golden.tensors[PICTURES[which]].to(dtype))
        middle = [] if segmentor.decoder.mid is None else segmentor.decoder.mid(features.mid_tokens)
    maps = {
        f"feat{level}": patches.mT.unflatten(-1, features.grid)
        for level, patches in enumerate([*middle, features.patches])
    }
    return {**maps, "global": features.global_embedding}


@functools.cache
def mask_logits(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the logits of all classes for the batch, in eval mode."""
    golden = golden_set(name)
    with torch.no_grad():
        return golden.segmentor(dtype)(golden.tensors["img"].to(dtype), golden.tensors["text"].to(dtype))


def seen_penalty(golden: GoldenSet, kind: str) -> float:
    """Return the seen penalty, which only inductive models have."""
    return {"inductive": golden.config["seen_penalty"], "selftrain": 0.0}[kind]


def vocabulary(golden: GoldenSet, kind: str, dtype: torch.dtype = torch.float32) -> Vocabulary:
    """Return the inductive or the self-trained model with its candidate classes."""
    return Vocabulary(
        golden.segmentor(dtype),
        golden.tensors["text"].to(dtype),
        score_function="sigmoid",
        seen=golden.seen,
        seen_penalty=seen_penalty(golden, kind),
    )


def whole_scores(golden: GoldenSet, images: Tensor, kind: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the class scores of whole pictures, at the pictures' size."""
    return score_maps(vocabulary(golden, kind, dtype), images.to(dtype), evaluate=EvalConfig(mode="whole"))


def trajectory_optim(golden: GoldenSet) -> OptimConfig:
    """Read the optimiser's settings off the trajectory's record."""
    trajectory = golden.record["trajectory"]
    learning_rate = trajectory["base_lr"] * trajectory["lr_mult"]
    return OptimConfig(
        prompt_lr=learning_rate,
        decoder_lr=learning_rate,
        weight_decay=trajectory["weight_decay"],
        beta1=trajectory["betas"][0],
        beta2=trajectory["betas"][1],
        eps=trajectory["eps"],
        power=trajectory["power"],
        min_lr=trajectory["min_lr"],
        warmup_iterations=trajectory["warmup_iters"],
        warmup_ratio=trajectory["warmup_ratio"],
    )
