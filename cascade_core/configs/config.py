"""The complete configuration of a run, as frozen models that refuse unknown keys.

A recipe makes a `RunConfig`, overrides change it, and every checkpoint's manifest stores it. It alone determines
the model, the data pipeline and the optimizer.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_core import to_jsonable_python

from cascade_core.configs.settings import (
    Activation,
    InferenceMap,
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
PositionResize = Literal["bilinear", "bicubic", "bicubic_exact"]
"""Interpolation that fits CLIP's position table to another grid of patches (`clip/vision.py`)."""
Refine = Literal["off", "pamr"]
"""Whether scores are refined along the picture's edges (`inference/refine.py`)."""
Aggregation = Literal["gaussian", "gaussian_fixed", "uniform", "learned", "concatenated", "attention"]
"""How the levels of a group become one memory (`model/aggregation.py`)."""
TextForm = Literal["mean", "templates", "tokens"]
"""What stands for a class: the mean of its text vectors over the prompt templates, one vector for each template, or the ids
of each text's tokens, as numbers: then the model has a text tower of its own."""
Average = Literal["probabilities", "logits"]
"""What is averaged over the windows and views of a picture."""
STRICT_SEEN_PENALTY = 0.1
EMA_DECAY: Final = 0.99
SIMILARITY_DECODERS = ("linear", "cosine")
"""Decoders that compare the last map of patches with the text."""
PUBLISHED_SIGMA: Final = 1.0
"""Of the Gaussian that weighs the levels of a group."""

MASK_DECODERS = ("masks", "two_frequency")
"""Decoders that give the masks of each stage of a head."""
PATCH_DECODERS = (*SIMILARITY_DECODERS, "cost_aggregation")
"""The decoders that read no CLS token, so that a last block may give patches only."""
MEAN_DECODERS = (*MASK_DECODERS, *PATCH_DECODERS)
"""The decoders that read one text vector per class."""

# A configuration may come from anywhere. These limits prevent overflows, and hours of work before a program compares
# the configuration with the weights. The largest CLIPs have 64 blocks and a width of 1,664.
Side = Annotated[int, Field(ge=1, le=2**12)]
"""Of a picture, in pixels."""
Width = Annotated[int, Field(ge=1, le=2**20)]
Depth = Annotated[int, Field(ge=1, le=256)]
MOST_PATCHES = 256  # along a side of a picture


def _added(published: Any, **limits: Any) -> Any:
    """Return a field that was added to a configuration later, with the published value as default.

    Files leave it out where it has that value. So older versions read a checkpoint that they can run, and the digest
    that names a training stays.
    """
    return Field(default=published, exclude_if=lambda value: bool(value == published), **limits)


def every_value(settings: BaseModel) -> dict[str, Any]:
    """Return the settings for people, as JSON values: with those that files leave out at their published value."""
    written = settings.model_dump(mode="json")
    return {
        name: every_value(value)
        if isinstance(value, BaseModel)
        else written.get(name, to_jsonable_python(value))
        for name, value in settings
    }


class Frozen(BaseModel):
    """Base of all configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClipConfig(Frozen):
    """Shapes of a CLIP model in OpenAI's ViT layout (Radford et al. 2021, section 2.4)."""

    name: Annotated[str, Field(max_length=300)]
    image_size: Side  # of the pretraining pictures
    patch_size: Side
    width: Width
    layers: Depth
    heads: Width
    embed_dim: Width
    text_width: Width
    text_layers: Depth
    text_heads: Width
    context_length: Width
    vocab_size: Width
    activation: Activation = "quick_gelu"
    image_feedforward: Width | None = None  # hidden width of the image tower's perceptrons; None: 4 x width

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        if self.patch_size > self.image_size:
            raise UserError(f"patch_size={self.patch_size} is larger than image_size={self.image_size}")
        if self.image_size > MOST_PATCHES * self.patch_size:
            raise UserError(
                f"patch_size={self.patch_size} makes more than {MOST_PATCHES} patches along image_size={self.image_size}"
            )
        for heads, width in (("heads", "width"), ("text_heads", "text_width")):
            if getattr(self, width) % getattr(self, heads):
                raise UserError(f"{heads}={getattr(self, heads)} must divide {width}={getattr(self, width)}")
        return self


class LastBlock(Frozen):
    """The last block of the image tower; the training-free methods change it to keep patches apart."""

    # Rows of softmax over: q k (vanilla), none (each token keeps its value: MaskCLIP), q q and k k, summed (SCLIP),
    # q q (ClearCLIP), k k plus a Gaussian of the distance between patches (NACLIP).
    attention: Literal["vanilla", "value", "qq_kk", "qq", "kk_neighbours"] = "vanilla"
    residual: bool = True  # False: the block's input is not added to the attention's output
    # Whose input is added to a token's attention: its own, or the CLS token's (CAT-Seg).
    residual_of: Literal["token", "class_token"] = _added("token")
    feedforward: bool = True
    sigma: PositiveFloat = 5.0  # of 'kk_neighbours', in patches

    @model_validator(mode="after")
    def _check_residual(self) -> Self:
        if self.residual_of != "token" and not self.residual:
            raise UserError(f"residual_of={self.residual_of!r} needs residual=true")
        return self


class CostAggregation(Frozen):
    """The sizes of decoder 'cost_aggregation' (`model/cost_aggregation.py`); those of CAT-Seg on a ViT-B/16 are the defaults."""

    width: Annotated[int, Field(ge=8, le=2**12, multiple_of=8)] = 128
    window: Annotated[int, Field(ge=1, le=MOST_PATCHES)] = 12  # side of the windows of attention, in patches
    # Each class attends to so many tokens: the classes of the picture, and copies of one token that is learned.
    class_tokens: Annotated[int, Field(ge=1, le=2**16)] = 256
    pooling: Annotated[int, Field(ge=1, le=MOST_PATCHES)] = 2  # classes attend on a grid so much smaller
    guide_blocks: tuple[int, int] = (3, 7)  # 0-based; their patches guide the upsampling


class ModelConfig(Frozen):
    """A segmentor: a trunk (frozen CLIP, or CLIP with deep prompts) and a decoder."""

    clip: ClipConfig
    image_size: Side  # of pictures that fit the position grid; masks are upsampled to it
    # Prompts of every block, and with "spectral_prompts" a filter over the frequencies of the patches too (SPT-SEG).
    trunk: Literal["frozen", "deep_prompts", "spectral_prompts"] = "deep_prompts"
    num_prompts: int = Field(default=10, ge=0, le=2**16)
    double_class_embedding: bool = True  # published quirk: the CLS slot gets the class embedding twice
    position_resize: PositionResize = "bilinear"
    last_block: LastBlock = LastBlock()
    decoder: str = "masks"  # one of `DECODERS` in model/build.py
    text: TextForm = _added("mean")  # what stands for a class
    # The weights of CLIP that train: those of queries and values in the attention of the image tower, and, with
    # text 'tokens', of the text tower (CAT-Seg).
    tuned: Literal["nothing", "queries_values"] = _added("nothing")
    # The map of 'optimal_transport' at inference; training always adds the losses of both.
    inference_map: InferenceMap = _added("both")
    cost: CostAggregation = _added(CostAggregation())  # of decoder 'cost_aggregation'
    temperature: PositiveFloat = 40.0  # of decoder 'cosine': the logits are this times the cosine
    # Published: masks of square windows get `image_size`, whatever the window's own size.
    mask_size: Literal["configured", "input"] = "configured"
    fusion: Literal["none", "cascade", "naive"] = "none"
    groups: tuple[tuple[int, ...], ...] = ()  # 0-based middle blocks; 'cascade' has a decoder per group
    # Published: random; 'clip' starts from CLIP's own ln_post and proj.
    mid_projection_init: Literal["random", "clip"] = "random"
    mid_projection_trains: bool = False  # published: frozen
    mid_projection_seed: int | None = _added(
        None, ge=0, lt=2**63
    )  # of 'random'; None: drawn by the run's seed
    aggregation: Aggregation = _added("gaussian")  # of the levels of a group
    aggregation_sigma: PositiveFloat = _added(PUBLISHED_SIGMA)  # of the Gaussian, in levels
    # Whether each group and the last block have their own decoder, and their own map from class vectors to queries.
    decoders: Literal["independent", "shared"] = _added("independent")
    query_projections: Literal["own", "shared"] = _added("own")
    prompt_depth: Depth | None = _added(None)  # number of blocks with prompts, from the first on; None: all
    # Added to the masks: so many times the cosine of the text with the whole picture, and with each of the last patches.
    picture_cosine: float = _added(0.0)
    patch_cosine: float = _added(0.0)
    cosines_in_training: float = _added(1.0, ge=0)  # multiplies both while the model trains
    query: Literal["relationship_descriptor", "text"] = "relationship_descriptor"
    decoder_layers: Depth = 3
    decoder_heads: Width = 8
    feedforward_ratio: Depth = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)  # of prompts and decoder
    # The released code never calls its own initialisation of the head.
    head_init: Literal["torch_default", "trunc_normal"] = "torch_default"
    head_init_std: float = Field(default=0.02, gt=0)  # of 'trunc_normal'

    @model_validator(mode="after")
    def _check_composition(self) -> Self:
        if self.clip.patch_size > self.image_size:
            raise UserError(f"image_size={self.image_size} is smaller than a patch of {self.clip.patch_size}")
        tapped = [block for group in self.groups for block in group]
        last = self.clip.layers - 1
        if (self.fusion == "none") != (not tapped):
            raise UserError(
                f"fusion={self.fusion!r} does not go with groups={self.groups}: "
                "'none' takes no group, 'cascade' and 'naive' need at least one"
            )
        if any(not 0 <= block < last for block in tapped):
            raise UserError(
                f"groups={self.groups} name blocks outside 0..{last - 1} of a {self.clip.layers}-block CLIP"
            )
        if len(set(tapped)) != len(tapped):
            raise UserError(f"groups={self.groups} name a block twice")
        if self.clip.embed_dim % self.decoder_heads:
            raise UserError(f"decoder_heads={self.decoder_heads} must divide embed_dim={self.clip.embed_dim}")
        if self.trunk != "frozen" and self.num_prompts == 0:
            raise UserError(f"trunk={self.trunk!r} needs num_prompts >= 1; use trunk='frozen' for none")
        if self.decoder == "two_frequency" and self.decoder_heads < 2:
            raise UserError(
                "decoder='two_frequency' needs decoder_heads >= 2: one for high frequencies, the others for low ones"
            )
        if self.decoder in (*PATCH_DECODERS, "optimal_transport") and self.fusion != "none":
            raise UserError(f"decoder={self.decoder!r} reads the last map only: use fusion='none'")
        if self.last_block != LastBlock() and (self.trunk != "frozen" or self.decoder not in PATCH_DECODERS):
            raise UserError(
                f"last_block.attention={self.last_block.attention!r} gives patches only, without prompts and CLS: use "
                "trunk='frozen' and decoder='cosine', 'linear' or 'cost_aggregation'"
            )
        if self.decoder == "optimal_transport" and self.text != "templates":
            raise UserError(
                "decoder='optimal_transport' reads a vector of each template: use text='templates'"
            )
        if self.decoder == "cost_aggregation":
            self._check_cost()
        self._check_additions()
        return self

    def _check_cost(self) -> None:
        guides, last = self.cost.guide_blocks, self.clip.layers - 1
        if not 0 <= guides[0] < guides[1] < last:
            raise UserError(
                f"cost.guide_blocks={guides} must be two blocks in ascending order within 0..{last - 1} of a "
                f"{self.clip.layers}-block CLIP"
            )
        if self.cost.width % self.decoder_heads:
            raise UserError(f"decoder_heads={self.decoder_heads} must divide cost.width={self.cost.width}")

    def _check_additions(self) -> None:
        """Refuse settings that would change nothing."""
        settings = {
            "text": (
                self.text == "mean",
                "decoder='optimal_transport'"
                if self.text == "templates"
                else "tuned='queries_values' and a decoder of one vector per class",
                self.decoder not in MEAN_DECODERS
                if self.text == "templates"
                else self.tuned != "nothing" and self.decoder != "optimal_transport",
            ),
            "inference_map": (
                self.inference_map == "both",
                "decoder='optimal_transport'",
                self.decoder not in MEAN_DECODERS,
            ),
            "cost": (
                self.cost == CostAggregation(),
                "decoder='cost_aggregation'",
                self.decoder not in (*MASK_DECODERS, *SIMILARITY_DECODERS, "optimal_transport"),
            ),
            "aggregation": (self.aggregation == "gaussian", "fusion='cascade'", self.fusion == "cascade"),
            "decoders": (self.decoders == "independent", "fusion='cascade'", self.fusion == "cascade"),
            "query_projections": (
                self.query_projections == "own",
                "fusion='cascade'",
                self.fusion == "cascade",
            ),
            "aggregation_sigma": (
                self.aggregation_sigma == PUBLISHED_SIGMA,
                "fusion='cascade' and aggregation='gaussian' or 'gaussian_fixed'",
                self.fusion == "cascade" and self.aggregation.startswith("gaussian"),
            ),
            "mid_projection_seed": (
                self.mid_projection_seed is None,
                "groups and mid_projection_init='random'",
                bool(self.groups) and self.mid_projection_init == "random",
            ),
            **{
                name: (
                    getattr(self, name) == 0,
                    "decoder='masks' or 'two_frequency'",
                    self.decoder in MASK_DECODERS,
                )
                for name in ("picture_cosine", "patch_cosine")
            },
            "cosines_in_training": (
                self.cosines_in_training == 1,
                "picture_cosine or patch_cosine",
                self.adds_cosines,
            ),
            "prompt_depth": (
                self.prompt_depth is None,
                f"a trunk with prompts and at most the {self.clip.layers} blocks of the CLIP",
                self.trunk != "frozen" and (self.prompt_depth or 0) <= self.clip.layers,
            ),
        }
        for name, (published, needed, there) in settings.items():
            if not (published or there):
                raise UserError(f"{name}={getattr(self, name)!r} needs {needed}")

    @property
    def adds_cosines(self) -> bool:
        """Whether cosines with the text are added to the masks."""
        return bool(self.picture_cosine or self.patch_cosine)

    @property
    def trains(self) -> bool:
        """Whether the model has weights to train; a cosine decoder on a frozen CLIP has none."""
        return self.trunk != "frozen" or self.decoder != "cosine" or self.tuned != "nothing"

    @property
    def reads_templates(self) -> bool:
        """Whether a class has a row for each prompt template."""
        return self.text != "mean"


class LossConfig(Frozen):
    """The training loss: focal + dice, focal + SSIM or binary cross-entropy of each class, or softmax cross-entropy."""

    kind: Literal["focal_dice", "focal_ssim", "binary_cross_entropy", "cross_entropy"] = "focal_dice"
    focal_weight: float = 100.0
    dice_weight: float = 1.0
    focal_alpha: float = Field(default=0.25, ge=0, le=1)
    focal_gamma: float = Field(default=2.0, ge=0)
    ssim_weight: float = _added(1.0)  # of 1 - SSIM (SPT-SEG)
    distil_weight: float = _added(0.0, ge=0)  # of the distance from NACLIP's map on the same frozen CLIP
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
    clip_lr: float = _added(2e-6, gt=0)  # of the weights of CLIP that train (`model.tuned`)
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    power: float = 0.9
    schedule: Literal["polynomial", "cosine"] = _added("polynomial")
    min_lr: float = 1e-6  # absolute, the same for every parameter group
    clip_norm: PositiveFloat | None = _added(None)  # gradients of all weights together are scaled down to it
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
    vector_noise: float = _added(0.0, ge=0)  # on each class vector at each step, as a share of its length

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
    confidence: float = _added(0.0, ge=0, le=1)  # least score of a pseudo-label; a pixel below it is ignored
    teacher: SelfTrainingTeacher = _added("self")
    ema_decay: float = _added(
        EMA_DECAY, ge=0, lt=1
    )  # of teacher 'ema': the share that its weights keep at a step
    extra_splits: tuple[str, ...] = _added(())  # splits whose pictures take part too, without their labels

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
    keep_ratio: bool = _added(True)  # False: pictures are resized to squares of `short_side`
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
    def _check_noise(self) -> Self:
        if self.train.vector_noise and self.model.text == "tokens":
            raise UserError(
                f"train.vector_noise={self.train.vector_noise:g} changes the class vectors that a model is given, and "
                "model.text is 'tokens': its text tower makes them; take train.vector_noise=0"
            )
        return self
