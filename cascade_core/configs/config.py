"""The complete configuration of a run, as frozen models that refuse unknown keys.

A recipe makes a `RunConfig`, overrides change it, and every checkpoint's manifest stores it. It alone determines
the model, the data pipeline and the optimizer.
"""

from typing import Any, Final, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from cascade_core.configs.frozen import Frozen, Side, added
from cascade_core.configs.model import NO_PENALTY, ModelConfig
from cascade_core.configs.settings import (
    ScoreFunction,
    SelfTrainingMode,
    SelfTrainingTeacher,
    Synonyms,
)
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.labels.background import DROPPED, Background, parse_background
from cascade_core.labels.class_split import ClassSplit, split_of
from cascade_core.labels.label_file import LabelFile

Precision = Literal["fp32", "bf16"]
"""Precision of the model's arithmetic; 'bf16' is autocast. Losses and scores are always in float32."""
Compile = Literal["auto", "always", "never"]
"""Whether training compiles the model; 'auto' does so on a GPU. (None of these words is a YAML boolean.)"""
Refine = Literal["off", "pamr"]
"""Whether scores are refined along the picture's edges (`inference/refine.py`)."""
Average = Literal["probabilities", "logits"]
"""What is averaged over the windows and views of a picture."""
STRICT_SEEN_PENALTY = 0.1
EMA_DECAY: Final = 0.99


class LossConfig(Frozen):
    """The training loss: focal + dice, focal + SSIM or binary cross-entropy of each class, or softmax cross-entropy."""

    kind: Literal["focal_dice", "focal_ssim", "binary_cross_entropy", "cross_entropy"] = "focal_dice"
    focal_weight: float = 100.0
    dice_weight: float = 1.0
    focal_alpha: float = Field(default=0.25, ge=0, le=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    ssim_weight: float = added(1.0)  # of 1 - SSIM (SPT-SEG)
    distil_weight: float = added(0.0, ge=0)  # of the distance from NACLIP's map on the same frozen CLIP
    ignored_as_negative: bool = (
        True  # published quirk: 255 pixels are negatives in all losses but the softmax's
    )

    @property
    def score_function(self) -> ScoreFunction:
        """What turns logits into scores: classes that the loss treats as independent have a sigmoid each."""
        return "softmax" if self.kind == "cross_entropy" else "sigmoid"


class OptimConfig(Frozen):
    """AdamW with a polynomial schedule, or half a cosine, and a linear warm-up."""

    prompt_lr: float = Field(default=2e-4, gt=0)
    decoder_lr: float = Field(default=2e-4, gt=0)
    clip_lr: float = added(2e-6, gt=0)  # of the weights of CLIP that train (`model.tuned`)
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    power: float = 0.9
    schedule: Literal["polynomial", "cosine"] = added("polynomial")
    min_lr: float = 1e-6  # absolute, the same for every parameter group
    clip_norm: PositiveFloat | None = added(None)  # gradients of all weights together are scaled down to it
    warmup_iterations: NonNegativeInt = 1500
    warmup_ratio: float = 1e-6


class DataConfig(Frozen):
    """Label set, protocol and augmentation."""

    protocol: str  # a named class split, such as voc12-15-5, or a label file's
    own: LabelFile | None = None  # the label file's content, so that a checkpoint needs no file beside it
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)
    crop_size: Side
    resize_range: tuple[float, float] | None = (0.5, 2.0)
    max_class_share: float | None = 0.75
    photometric: bool = True
    flip: bool = True
    templates: tuple[str, ...] = ("a photo of a {}",)

    @property
    def split(self) -> ClassSplit:
        """The class split that `protocol` names; an unknown name raises UserError."""
        return named_protocol(self.protocol) if self.own is None else split_of(self.own)

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        if self.own is not None and self.own.protocol != self.protocol:
            raise UserError(
                f"protocol={self.protocol!r} differs from {self.own.protocol!r}, the protocol of the label set beside it; "
                "give data.protocol=FILE.yaml to change both"
            )
        return self


class TrainConfig(Frozen):
    """Length, batches, logging and checkpoints of a training."""

    iterations: PositiveInt
    batch_size: PositiveInt  # pictures per optimizer step, over all processes
    accumulation_steps: PositiveInt = 1
    precision: Precision = "fp32"
    compile: Compile = "auto"
    workers: NonNegativeInt = 0
    log_every: PositiveInt = 50
    checkpoint_every: PositiveInt = 1000
    supervision: Literal["zero_shot", "full"] = "zero_shot"  # 'full': labels of every class, an upper bound
    vector_noise: float = added(0.0, ge=0)  # on each class vector at each step, as a share of its length

    @model_validator(mode="after")
    def _check_accumulation(self) -> Self:
        if self.batch_size % self.accumulation_steps:
            raise UserError(
                f"accumulation_steps={self.accumulation_steps} must divide batch_size={self.batch_size}"
            )
        return self


class SelfTrainConfig(Frozen):
    """Transductive training, started from the inductive checkpoint at `start_iteration`."""

    iterations: PositiveInt | None = None  # None: half of the inductive schedule
    batch_size: PositiveInt  # pictures per optimizer step, over all processes
    start_iteration: PositiveInt | None = None  # None: half-way through the inductive schedule
    mode: SelfTrainingMode = "oracle"
    strict_seen_penalty: float = STRICT_SEEN_PENALTY  # subtracted from seen scores in mode 'strict'
    confidence: float = added(0.0, ge=0, le=1)  # least score of a pseudo-label; a pixel below it is ignored
    teacher: SelfTrainingTeacher = added("self")
    ema_decay: float = added(
        EMA_DECAY, ge=0, lt=1
    )  # of teacher 'ema': the share that its weights keep at a step
    extra_splits: tuple[str, ...] = added(())  # splits whose pictures take part too, without their labels

    @model_validator(mode="before")
    @classmethod
    def _read_old_key(cls, values: Any) -> Any:
        """Accept `protocol`, the name of `mode` in earlier checkpoints."""
        if isinstance(values, dict) and "protocol" in values:
            if "mode" in values:
                raise UserError(
                    "mode and protocol are given; protocol is the old name of mode: give only mode"
                )
            return {"mode" if key == "protocol" else key: value for key, value in values.items()}
        return values

    @model_validator(mode="after")
    def _check_additions(self) -> Self:
        if self.ema_decay != EMA_DECAY and self.teacher != "ema":
            raise UserError(f"ema_decay={self.ema_decay} needs teacher='ema'; teacher is {self.teacher!r}")
        if "train" in self.extra_splits or len(set(self.extra_splits)) != len(self.extra_splits):
            raise UserError(
                f"extra_splits={list(self.extra_splits)} must name splits other than 'train', each once"
            )
        return self


class EvalConfig(Frozen):
    """Inference and its calibration."""

    # 'slide_and_whole': the mean of the windows' scores and of those of the whole picture, shrunk to a window's size.
    mode: Literal["whole", "slide", "slide_and_whole"] = "slide"
    short_side: Side | None = 512  # pictures are resized to it; None keeps their size
    keep_ratio: bool = added(True)  # False: pictures are resized to squares of `short_side`
    crop_size: Side = 512
    stride: Side = 426
    seen_penalty: float = Field(default=0.1, ge=0)  # subtracted from seen scores of inductive models
    batch_size: PositiveInt = 1
    precision: Precision = "fp32"
    background: Background = DROPPED
    average: Average = "probabilities"
    synonyms: Synonyms = "mean"
    refine: Refine = "off"

    @field_validator("background", mode="before")
    @classmethod
    def _parse_background(cls, value: Any) -> Any:
        """Accept the form of the commands' --background, such as threshold=0.3."""
        return parse_background(value) if isinstance(value, str) else value


class RunConfig(Frozen):
    """Everything that decides a run's numbers."""

    recipe: str
    method: str
    seed: int = Field(default=0, ge=0, lt=2**63)  # torch and numpy take no others
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig
    train: TrainConfig
    self_train: SelfTrainConfig
    evaluate: EvalConfig

    def vectors_shape(self, num_classes: int) -> tuple[int, ...]:
        """Return the shape of what stands for some classes: [classes, embed], [classes, templates, embed or tokens]."""
        templates = (len(self.data.templates),) if self.model.reads_templates else ()
        clip = self.model.clip
        return (
            num_classes,
            *templates,
            clip.context_length if self.model.text == "tokens" else clip.embed_dim,
        )

    @property
    def self_train_start(self) -> int:
        """The inductive iteration whose snapshot self-training starts from; published: half-way."""
        return self.self_train.start_iteration or max(1, self.train.iterations // 2)

    @property
    def self_train_iterations(self) -> int:
        """The length of self-training; published: half the inductive schedule."""
        return self.self_train.iterations or max(1, self.train.iterations // 2)

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.self_train_start > self.train.iterations:
            raise UserError(
                f"self_train.start_iteration={self.self_train_start} lies beyond "
                f"train.iterations={self.train.iterations}; set it to at most that (published: half of it)"
            )
        return self

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        if self.self_train.teacher != "training_free":
            return self
        if self.model.tuned != "nothing":
            raise UserError(
                f"self_train.teacher='training_free' is CLIP alone, and with model.tuned={self.model.tuned!r} CLIP trains; take teacher "
                "'self' or 'ema'"
            )
        if self.model.text != "mean":
            raise UserError(
                f"self_train.teacher='training_free' reads one text vector per class, and model.text is {self.model.text!r}; "
                "take teacher 'self' or 'ema'"
            )
        return self

    @model_validator(mode="after")
    def _check_distillation(self) -> Self:
        weight, model = self.loss.distil_weight, self.model
        comparable = model.trains and model.tuned == "nothing" and model.decoder != "cost_aggregation"
        if weight and not (comparable and model.text == "mean"):
            raise UserError(
                f"loss.distil_weight={weight:g} compares a training's map with that of the frozen CLIP: it needs weights to "
                "train outside CLIP, one text vector per class and logits on the patch grid; model.decoder is "
                f"{model.decoder!r}, model.text {model.text!r} and model.tuned {model.tuned!r}: take a recipe of ZegCLIP, "
                "Cascade-CLIP or SPT-SEG, or loss.distil_weight=0"
            )
        return self

    @model_validator(mode="after")
    def _check_penalties(self) -> Self:
        stated = {
            "evaluate.seen_penalty": self.evaluate.seen_penalty,
            "self_train.strict_seen_penalty": self.self_train.strict_seen_penalty,
        }
        for key, penalty in stated.items():
            if penalty and self.model.couples_classes:
                raise UserError(
                    f"{key}={penalty:g}, but with model.decoder={self.model.decoder!r} {NO_PENALTY}; give {key}=0"
                )
        return self

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        if self.train.vector_noise and self.model.text == "tokens":
            raise UserError(
                f"train.vector_noise={self.train.vector_noise:g} changes the class vectors that a model is given, and "
                "model.text is 'tokens': its text tower makes them; take train.vector_noise=0"
            )
        return self
