"""The configuration of a model: the shapes of its CLIP, and the settings of trunk and decoder."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from cascade_core.configs.frozen import MOST_PATCHES, Depth, Frozen, Side, Width, added
from cascade_core.configs.settings import Activation, InferenceMap
from cascade_core.errors import UserError

PositionResize = Literal["bilinear", "bicubic", "bicubic_exact"]
"""Interpolation that fits CLIP's position table to another grid of patches (`clip/vision.py`)."""
Aggregation = Literal["gaussian", "gaussian_fixed", "uniform", "learned", "concatenated", "attention"]
"""How the levels of a group become one memory (`model/aggregation.py`)."""
TextForm = Literal["mean", "templates", "tokens"]
"""What stands for a class: the mean of its text vectors over the prompt templates, one vector for each template, or the ids
of each text's tokens, as numbers: then the model has a text tower of its own."""
SIMILARITY_DECODERS = ("linear", "cosine")
"""Decoders that compare the last map of patches with the text."""
PUBLISHED_SIGMA: Final = 1.0
"""Of the Gaussian that weighs the levels of a group."""
MASK_DECODERS = ("masks", "two_frequency")
"""Decoders that give the masks of each stage of a head."""
PATCH_DECODERS = (*SIMILARITY_DECODERS, "cost_aggregation")
NO_PENALTY = (
    "a class's score depends on which other classes there are, so a penalty on seen classes has no meaning"
)
"""Why a model that couples classes takes no seen penalty."""
"""The decoders that read no CLS token, so that a last block may give patches only."""
MEAN_DECODERS = (*MASK_DECODERS, *PATCH_DECODERS)
"""The decoders that read one text vector per class."""


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
    residual_of: Literal["token", "class_token"] = added("token")
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
    text: TextForm = added("mean")  # what stands for a class
    # The weights of CLIP that train: those of queries and values in the attention of the image tower, and, with
    # text 'tokens', of the text tower (CAT-Seg).
    tuned: Literal["nothing", "queries_values"] = added("nothing")
    # The map of 'optimal_transport' at inference; training always adds the losses of both.
    inference_map: InferenceMap = added("both")
    cost: CostAggregation = added(CostAggregation())  # of decoder 'cost_aggregation'
    temperature: PositiveFloat = 40.0  # of decoder 'cosine': the logits are this times the cosine
    # Published: masks of square windows get `image_size`, whatever the window's own size.
    mask_size: Literal["configured", "input"] = "configured"
    fusion: Literal["none", "cascade", "naive"] = "none"
    groups: tuple[tuple[int, ...], ...] = ()  # 0-based middle blocks; 'cascade' has a decoder per group
    # Published: random; 'clip' starts from CLIP's own ln_post and proj.
    mid_projection_init: Literal["random", "clip"] = "random"
    mid_projection_trains: bool = False  # published: frozen
    mid_projection_seed: int | None = added(
        None, ge=0, lt=2**63
    )  # of 'random'; None: drawn by the run's seed
    aggregation: Aggregation = added("gaussian")  # of the levels of a group
    aggregation_sigma: PositiveFloat = added(PUBLISHED_SIGMA)  # of the Gaussian, in levels
    # Whether each group and the last block have their own decoder, and their own map from class vectors to queries.
    decoders: Literal["independent", "shared"] = added("independent")
    query_projections: Literal["own", "shared"] = added("own")
    prompt_depth: Depth | None = added(None)  # number of blocks with prompts, from the first on; None: all
    # Added to the masks: so many times the cosine of the text with the whole picture, and with each of the last patches.
    picture_cosine: float = added(0.0)
    patch_cosine: float = added(0.0)
    cosines_in_training: float = added(1.0, ge=0)  # multiplies both while the model trains
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
    def couples_classes(self) -> bool:
        """Whether a class's logits depend on which other classes there are (`NO_PENALTY`)."""
        return self.decoder == "cost_aggregation"

    @property
    def reads_templates(self) -> bool:
        """Whether a class has a row for each prompt template."""
        return self.text != "mean"
