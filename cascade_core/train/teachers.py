"""Teachers: models that make pseudo-labels in the place of the model in training, or the map that it is drawn to."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting, is_self_training
from cascade_core.configs.training_free import model_changes
from cascade_core.model.build import build_segmentor
from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import GridLogits, Images, Segmentor
from cascade_core.train.training_maps import half_precision

TRAINING_FREE_TEACHER = "naclip"
"""The training-free method of teachers."""


@dataclass
class Teacher:
    """A model in eval mode that gets no gradient.

    With a `decay` its trainable weights are the exponential moving average of the model in training: after every step
    decay * average + (1 - decay) * weights, from the weights at the start on (Tarvainen and Valpola 2017). Without
    one it stays as it is.
    """

    model: Segmentor
    names: tuple[str, ...] = ()
    decay: float | None = None

    @torch.no_grad()
    def grid_logits(
        self, images: Images, class_vectors: ClassVectors, *, mixed: bool = False
    ) -> tuple[GridLogits, tuple[int, int]]:
        """Return the logits on the patch grid, and height and width of the masks that they become; `mixed` computes in bf16."""
        with half_precision(images.device, mixed):
            logits = self.model.grid_logits(images, class_vectors)
        height, width = images.shape[-2:]
        return logits, self.model.mask_size(logits, (height, width))

    @torch.no_grad()
    def follow(self, student: Segmentor) -> None:
        """Move the average towards the weights of the model in training."""
        if self.decay is None:
            return
        own, weights = self.averages, dict(student.named_parameters())
        get_ema_multi_avg_fn(self.decay)(list(own.values()), [weights[name] for name in own], 0)

    @property
    def averages(self) -> dict[str, Tensor]:
        """The averaged weights by name, the only ones that change."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name].detach() for name in self.names}

    @torch.no_grad()
    def restore(self, averages: Mapping[str, Tensor]) -> None:
        """Take averages that an interrupted training kept."""
        for name, average in self.averages.items():
            average.copy_(averages[name])


def teacher_of(config: RunConfig, setting: TrainedSetting, student: Segmentor) -> Teacher | None:
    """Return the teacher of a self-training, on the device of the model in training; None if that labels itself."""
    if not is_self_training(setting):
        return None
    match config.self_train.teacher:
        case "ema":
            return _averaging(student, config.self_train.ema_decay)
        case "training_free":
            return _training_free(config, student)
        case _:
            return None


def distillation_teacher(config: RunConfig, student: Segmentor) -> Teacher | None:
    """Return the teacher of the loss with `loss.distil_weight`, on the device of the model in training; None without that."""
    return _training_free(config, student) if config.loss.distil_weight else None


def _averaging(student: Segmentor, decay: float) -> Teacher:
    """Return a copy of the model, which shares the frozen weights and adds the cosines that training adds."""
    frozen = {id(weights): weights for weights in student.parameters() if not weights.requires_grad}
    names = tuple(name for name, weights in student.named_parameters() if weights.requires_grad)
    model = deepcopy(student, frozen).eval().requires_grad_(False)
    model.decoder.compute_as_in_training()
    return Teacher(model, names, decay)


def _training_free(config: RunConfig, student: Segmentor) -> Teacher:
    """Return NACLIP around the frozen tower of the model, whose position grid fits the training's pictures."""
    changes = model_changes(TRAINING_FREE_TEACHER)
    plain = {"clip": config.model.clip, "image_size": config.model.image_size, "decoder_heads": 1}
    model = type(config.model).model_validate({**plain, **changes})
    segmentor = build_segmentor(model, student.trunk.visual, seed=config.seed)
    return Teacher(segmentor.to(next(student.parameters()).device).eval().requires_grad_(False))
