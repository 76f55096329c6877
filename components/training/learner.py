"""What changes in a training beside the weights of the model: the optimizer's state, and a teacher that follows the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor
from torch.optim import AdamW

from cascade_core.checkpoints.checkpoint import load_optimizer, read_averages, write_averages
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.optim import build_optimizer
from cascade_core.train.teachers import Teacher, teacher_of


@dataclass(frozen=True)
class Learner:
    """The optimizer of a training, and the teacher of a self-training if that is not the model itself."""

    optimizer: AdamW
    teacher: Teacher | None

    @classmethod
    def of(cls, segmentor: Segmentor, config: RunConfig, setting: TrainedSetting) -> Self:
        """Return those of a training that starts from the weights of `segmentor`."""
        return cls(build_optimizer(segmentor, config.optim), teacher_of(config, setting, segmentor))

    @property
    def averages(self) -> dict[str, Tensor]:
        """The weights of a teacher that follows the model; of another, or without one, nothing."""
        return {} if self.teacher is None else self.teacher.averages

    def write_averages(self, checkpoint: Path) -> None:
        """Write the weights of a teacher that follows the model beside the files of a checkpoint."""
        if averages := self.averages:
            write_averages(checkpoint, averages)

    def restore(self, checkpoint: Path) -> None:
        """Take the state that a checkpoint of an interrupted training holds.

        Raises:
            UserError: the checkpoint lacks a part, or it does not fit.
        """
        load_optimizer(self.optimizer, checkpoint)
        if self.teacher is not None and self.averages:
            self.teacher.restore(read_averages(checkpoint, self.averages))
