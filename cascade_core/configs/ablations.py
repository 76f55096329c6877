"""The papers' ablations as grids: themes, each with cells that change a base recipe, and with claims about the cells.

A cell is a recipe of its own: `mini_cascade_clip:aggregation.attention` is the cell `attention` of the theme
`aggregation` on the recipe `mini_cascade_clip`. So every command and pipeline that takes a recipe takes a cell, of the
mini benchmark's recipes and of the published ones alike. Values may depend on the base: blocks count from the last one,
numbers of prompts are multiples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cascade_core.configs.cat_seg import CLIP_SHARE, FULL_SIZE, HEAD, MINI_LR, MINI_SIZE, TUNED
from cascade_core.configs.config import CostAggregation, ModelConfig, RunConfig
from cascade_core.configs.otseg import TRANSPORT
from cascade_core.configs.settings import SelfTrainingMode
from cascade_core.configs.training_free import without_training
from cascade_core.errors import UserError
from cascade_core.runtime.listing import by_name

Value = Any | Callable[[ModelConfig], Any]
"""The value of an override, or a function that computes it from the base recipe's model."""
Source = Literal["ZegCLIP", "Cascade-CLIP", "SPT-SEG", "OTSeg", "CAT-Seg", "released code", "here"]
"""Who makes a claim; "here" asks what neither paper says."""
SEPARATOR = ":"
"""Stands between a base recipe and its cell or theme."""


@dataclass(frozen=True)
class Cell:
    """One setting of a theme: a name for recipes, a label for people, and the overrides of the base recipe.

    With a `mode` it is a self-training in that mode: the changes are made for it alone, and it starts from the base's training.
    """

    name: str
    label: str
    changes: Mapping[str, Value] = field(default_factory=dict)
    mode: SelfTrainingMode | None = None


@dataclass(frozen=True)
class CellClaim:
    """The claim that one cell has a higher score than another; cells by their names."""

    text: str
    source: Source
    score: str
    better: str
    worse: str


@dataclass(frozen=True)
class Theme:
    """A question of a paper: cells, of which the first is the published one, and claims about them.

    Attributes:
        score: the score by which cells are compared with the first.
        paper: what the paper or its released code says, in our words, with its figures where they are known.
        fusion: the fusion that the base recipe must have: "none" is ZegCLIP, "cascade" Cascade-CLIP.
    """

    name: str
    title: str
    fusion: Literal["none", "cascade"]
    paper: str
    score: str
    cells: tuple[Cell, ...]
    claims: tuple[CellClaim, ...]

    @property
    def base(self) -> Cell:
        return self.cells[0]

    @property
    def without_self_training(self) -> Cell | None:
        """The cell of the training from which the other cells self-train; None if no cell does."""
        if all(cell.mode is None for cell in self.cells):
            return None
        return next(cell for cell in self.cells if cell.mode is None)

    def cell(self, name: str) -> Cell:
        """Return the cell of this name.

        Raises:
            UserError: there is none; the message lists the cells.
        """
        return by_name(name, {cell.name: cell for cell in self.cells}, kind=f"cell of {self.name}")


def before_last(*groups: Sequence[int]) -> Callable[[ModelConfig], Any]:
    """Return groups of middle blocks that are so many blocks before the last one: 1 is the nearest to it."""

    def blocks(model: ModelConfig) -> list[list[int]]:
        last = model.clip.layers - 1
        return [[last - distance for distance in group] for group in groups]

    return blocks


def times(factor: float) -> Callable[[ModelConfig], int]:
    """Return a multiple of the base's number of prompts, at least 1."""
    return lambda model: max(1, round(factor * model.num_prompts))


def share_of_blocks(share: float) -> Callable[[ModelConfig], int]:
    """Return the first blocks that make up a share of all, at least 1."""
    return lambda model: max(1, round(share * model.clip.layers))


def on_small_grids(small: Any, published: Any) -> Callable[[ModelConfig], Any]:
    """Return a value for models whose grid is smaller than one of CAT-Seg's windows, such as the mini benchmark's, and one for others."""
    window = CostAggregation().window
    return lambda model: small if model.image_size // model.clip.patch_size < window else published


_HEAD_SIZES = {key: on_small_grids(value, FULL_SIZE[key]) for key, value in MINI_SIZE.items()}
_clip_lr = on_small_grids(CLIP_SHARE * MINI_LR, CLIP_SHARE * FULL_SIZE["optim.decoder_lr"])
TEXT_QUERY = {"model.query": "text"}
CROSS_ENTROPY = {"loss.kind": "cross_entropy"}
NO_PROMPTS = {"model.trunk": "frozen", "model.num_prompts": 0}
LAST_MAP: dict[str, Value] = {"model.fusion": "none", "model.groups": []}
NAIVE = {"model.fusion": "naive"}
SPT_SEG = {"model.trunk": "spectral_prompts", "model.decoder": "two_frequency", "loss.kind": "focal_ssim"}
"""SPT-SEG in ZegCLIP's place. Its settings are not public: prompts, schedule and the focal weight are ZegCLIP's."""
FLOOR = Cell("floor", "NACLIP, without training (the floor)", without_training("naclip"))
AT_INFERENCE = {"model.cosines_in_training": 0.0}
PICTURE_COSINE, PATCH_COSINE = 2.0, -2.0
"""Chosen on classes held out from the seen ones (docs/results/plus_choice.md), with a CLIP whose softmax has a scale of 7."""
TEXT_COSINES = {**AT_INFERENCE, "model.picture_cosine": PICTURE_COSINE, "model.patch_cosine": PATCH_COSINE}
ONE_DECODER = {"model.decoders": "shared"}
ONE_QUERY = {"model.query_projections": "shared"}

DESIGNS = Theme(
    "designs",
    "ZegCLIP's three designs",
    "none",
    "ZegCLIP adds three designs to a one-stage baseline (deep prompts instead of a trained or frozen tower, classes that do not "
    "exclude each other with focal and dice loss, the relationship descriptor) and reports that each helps the unseen classes.",
    "miou_unseen",
    (
        Cell("all", "all three (ZegCLIP)"),
        Cell("no_descriptor", "prompts, independent classes", TEXT_QUERY),
        Cell("no_loss", "prompts, descriptor", CROSS_ENTROPY),
        Cell("no_prompts", "independent classes, descriptor", NO_PROMPTS),
        Cell("prompts", "prompts alone", {**TEXT_QUERY, **CROSS_ENTROPY}),
        Cell("loss", "independent classes alone", {**TEXT_QUERY, **NO_PROMPTS}),
        Cell("descriptor", "descriptor alone", {**CROSS_ENTROPY, **NO_PROMPTS}),
        Cell("none", "none of the three", {**TEXT_QUERY, **CROSS_ENTROPY, **NO_PROMPTS}),
    ),
    (
        CellClaim("the descriptor helps the other two", "ZegCLIP", "miou_unseen", "all", "no_descriptor"),
        CellClaim("independent classes help the other two", "ZegCLIP", "miou_unseen", "all", "no_loss"),
        CellClaim("deep prompts help the other two", "ZegCLIP", "miou_unseen", "all", "no_prompts"),
        CellClaim("all three beat none", "ZegCLIP", "miou_unseen", "all", "none"),
        CellClaim("prompts alone beat none", "here", "miou_unseen", "prompts", "none"),
        CellClaim("independent classes alone beat none", "here", "miou_unseen", "loss", "none"),
        CellClaim("the descriptor alone beats none", "here", "miou_unseen", "descriptor", "none"),
    ),
)
PROMPT_DEPTH = Theme(
    "prompt_depth",
    "Depth of the prompts",
    "none",
    "ZegCLIP's configurations put prompts into every block; the code can stop after any block.",
    "hiou",
    (
        Cell("every", "in every block (published)"),
        Cell("none", "in no block, no prompt norm", NO_PROMPTS),
        Cell("first", "in the first block", {"model.prompt_depth": 1}),
        Cell("quarter", "in the first quarter", {"model.prompt_depth": share_of_blocks(0.25)}),
        Cell("half", "in the first half", {"model.prompt_depth": share_of_blocks(0.5)}),
        Cell("most", "in the first three quarters", {"model.prompt_depth": share_of_blocks(0.75)}),
    ),
    (
        CellClaim("prompts in every block beat none", "ZegCLIP", "hiou", "every", "none"),
        CellClaim("prompts in every block beat shallow ones", "here", "hiou", "every", "first"),
        CellClaim("prompts in every block beat the first half", "here", "hiou", "every", "half"),
    ),
)
PROMPT_NUMBER = Theme(
    "prompt_number",
    "Number of prompts",
    "none",
    "Published: 10 prompts on Pascal VOC for both methods, 35 (Cascade-CLIP) on Pascal Context, 100 (ZegCLIP) and 50 (Cascade-CLIP) "
    "on COCO-Stuff: more for more classes.",
    "hiou",
    (
        Cell("base", "the recipe's"),
        Cell("eighth", "an eighth", {"model.num_prompts": times(1 / 8)}),
        Cell("half", "half", {"model.num_prompts": times(1 / 2)}),
        Cell("double", "twice", {"model.num_prompts": times(2)}),
        Cell("fourfold", "four times", {"model.num_prompts": times(4)}),
    ),
    (
        CellClaim("few prompts are worse", "here", "hiou", "base", "eighth"),
        CellClaim("more prompts are better", "here", "hiou", "fourfold", "base"),
    ),
)
LOSS_WEIGHTS = Theme(
    "loss_weights",
    "Weights of focal and dice",
    "none",
    "Both methods add focal loss, times 100, and dice loss, times 1.",
    "hiou",
    (
        Cell("both", "focal 100, dice 1 (published)"),
        Cell("focal", "focal alone", {"loss.dice_weight": 0.0}),
        Cell("more_dice", "focal 100, dice 10", {"loss.dice_weight": 10.0}),
        Cell("much_dice", "focal 100, dice 100", {"loss.dice_weight": 100.0}),
        Cell("dice", "dice alone", {"loss.focal_weight": 0.0}),
    ),
    (
        CellClaim("dice helps focal", "ZegCLIP", "hiou", "both", "focal"),
        CellClaim("focal helps dice", "ZegCLIP", "hiou", "both", "dice"),
    ),
)
GROUPS = Theme(
    "groups",
    "Number and choice of decoders and blocks",
    "cascade",
    "Cascade-CLIP splits the middle blocks 5 to 10 of 12 into two groups of three, each with a decoder, beside the last block's. It "
    "reports gains over the last map alone: on Pascal VOC an unseen mIoU of 83.0 against ZegCLIP's 77.8, on COCO-Stuff 43.4 against 41.4.",
    "hiou",
    (
        Cell("two", "two groups of three (published)"),
        Cell("last_map", "no group: the last block alone (ZegCLIP)", LAST_MAP),
        Cell("late", "the three blocks before the last", {"model.groups": before_last((3, 2, 1))}),
        Cell("early", "the three blocks before those", {"model.groups": before_last((6, 5, 4))}),
        Cell("one", "one group of six", {"model.groups": before_last((6, 5, 4, 3, 2, 1))}),
        Cell("three", "three groups of two", {"model.groups": before_last((6, 5), (4, 3), (2, 1))}),
        Cell("six", "six groups of one", {"model.groups": before_last((6,), (5,), (4,), (3,), (2,), (1,))}),
    ),
    (
        CellClaim("middle blocks help", "Cascade-CLIP", "hiou", "two", "last_map"),
        CellClaim("middle blocks help unseen classes", "Cascade-CLIP", "miou_unseen", "two", "last_map"),
        CellClaim("two groups beat one of the same blocks", "Cascade-CLIP", "hiou", "two", "one"),
        CellClaim("two groups beat the late one alone", "here", "hiou", "two", "late"),
        CellClaim("late blocks help more than early ones", "here", "hiou", "late", "early"),
        CellClaim("more than two groups help", "here", "hiou", "three", "two"),
    ),
)
SHARING = Theme(
    "sharing",
    "Independent or shared decoders and queries",
    "cascade",
    "Cascade-CLIP reports that summing the levels into one decoder weakens the unseen classes, and gives each group its own decoder and "
    "its own map from class vectors to queries.",
    "hiou",
    (
        Cell("independent", "own decoders, own queries (published)"),
        Cell("one_decoder", "one decoder, own queries", ONE_DECODER),
        Cell("one_query", "own decoders, one query map", ONE_QUERY),
        Cell("one_of_each", "one decoder, one query map", {**ONE_DECODER, **ONE_QUERY}),
        Cell("naive", "all levels summed into one decoder", NAIVE),
        Cell("last_map", "the last block alone (ZegCLIP)", LAST_MAP),
    ),
    (
        CellClaim("own decoders beat one", "Cascade-CLIP", "hiou", "independent", "one_decoder"),
        CellClaim("own query maps beat one", "Cascade-CLIP", "hiou", "independent", "one_query"),
        CellClaim("own decoders beat naive fusion", "Cascade-CLIP", "hiou", "independent", "naive"),
        CellClaim("naive fusion hurts unseen classes", "Cascade-CLIP", "miou_unseen", "last_map", "naive"),
    ),
)
AGGREGATION = Theme(
    "aggregation",
    "Aggregation of a group's levels",
    "cascade",
    "Cascade-CLIP reports that its Gaussian-weighted aggregation is better than a plain sum, a concatenation and self-attention. In the "
    "released code the Gaussian is only the start: its weights train.",
    "hiou",
    (
        Cell("gaussian", "Gaussian start, weights train (published)"),
        Cell("gaussian_fixed", "Gaussian, fixed", {"model.aggregation": "gaussian_fixed"}),
        Cell("uniform", "plain sum", {"model.aggregation": "uniform"}),
        Cell("learned", "sum as start, weights train", {"model.aggregation": "learned"}),
        Cell("concatenated", "concatenation", {"model.aggregation": "concatenated"}),
        Cell("attention", "self-attention", {"model.aggregation": "attention"}),
    ),
    (
        CellClaim("the Gaussian beats the plain sum", "Cascade-CLIP", "hiou", "gaussian", "uniform"),
        CellClaim("the Gaussian beats concatenation", "Cascade-CLIP", "hiou", "gaussian", "concatenated"),
        CellClaim("the Gaussian beats self-attention", "Cascade-CLIP", "hiou", "gaussian", "attention"),
        CellClaim("training its weights helps", "here", "hiou", "gaussian", "gaussian_fixed"),
        CellClaim("a Gaussian start beats a flat one", "here", "hiou", "gaussian", "learned"),
    ),
)
SIGMA = Theme(
    "sigma",
    "Sigma of the Gaussian",
    "cascade",
    "The released code takes a sigma of 1 level, and its weights train from there.",
    "hiou",
    (
        Cell("one", "1 (published)"),
        Cell("half", "0.5: almost the last level alone", {"model.aggregation_sigma": 0.5}),
        Cell("two", "2", {"model.aggregation_sigma": 2.0}),
        Cell("four", "4", {"model.aggregation_sigma": 4.0}),
        Cell("flat", "no sigma: equal weights at the start", {"model.aggregation": "learned"}),
    ),
    (
        CellClaim("a sigma of 1 beats 0.5", "here", "hiou", "one", "half"),
        CellClaim("a sigma of 1 beats 4", "here", "hiou", "one", "four"),
        CellClaim("a sigma of 1 beats none", "here", "hiou", "one", "flat"),
    ),
)
PROJECTIONS = Theme(
    "projections",
    "Projections of the middle levels",
    "cascade",
    "In the released code the middle levels pass random projections that stay frozen; the paper does not say so.",
    "hiou",
    (
        Cell("random", "random, frozen (published)"),
        Cell("random_trained", "random, trained", {"model.mid_projection_trains": True}),
        Cell("clip", "CLIP's, frozen", {"model.mid_projection_init": "clip"}),
        Cell(
            "clip_trained",
            "CLIP's, trained",
            {"model.mid_projection_init": "clip", "model.mid_projection_trains": True},
        ),
    ),
    (
        CellClaim("CLIP's projections beat random ones", "here", "hiou", "clip", "random"),
        CellClaim("training random ones helps", "here", "hiou", "random_trained", "random"),
        CellClaim("training CLIP's helps", "here", "hiou", "clip_trained", "clip"),
    ),
)
PROJECTION_SEED = Theme(
    "projection_seed",
    "Seed of the random projections",
    "cascade",
    "The random projections are part of a released checkpoint. Here they have a seed of their own, so that all runs of a cell share them: "
    "differences between cells come from the projections, the spread within a cell does not.",
    "hiou",
    (
        Cell("run", "drawn by the run's seed (published)"),
        *(Cell(f"seed_{n}", f"seed {1000 + n}", {"model.mid_projection_seed": 1000 + n}) for n in (1, 2, 3)),
    ),
    (
        CellClaim("projections of seed 1001 beat those of 1002", "here", "hiou", "seed_1", "seed_2"),
        CellClaim("projections of seed 1001 beat those of 1003", "here", "hiou", "seed_1", "seed_3"),
        CellClaim("projections of seed 1002 beat those of 1003", "here", "hiou", "seed_2", "seed_3"),
    ),
)
PLUG_IN = Theme(
    "plug_in",
    "Cascade on other methods",
    "cascade",
    "Cascade-CLIP presents its decoders of middle levels as a part that fits other methods, and reports gains on the frozen CLIP, on ZegCLIP and on SPT-SEG.",
    "hiou",
    (
        Cell("zegclip_cascade", "ZegCLIP with Cascade (published)"),
        Cell("zegclip", "ZegCLIP", LAST_MAP),
        Cell("frozen_cascade", "frozen CLIP with Cascade", NO_PROMPTS),
        Cell("frozen", "frozen CLIP", {**NO_PROMPTS, **LAST_MAP}),
        Cell("spt_seg_cascade", "SPT-SEG with Cascade", SPT_SEG),
        Cell("spt_seg", "SPT-SEG", {**SPT_SEG, **LAST_MAP}),
        Cell("floor", "NACLIP, without training (the floor)", {**without_training("naclip"), **LAST_MAP}),
    ),
    tuple(
        CellClaim(f"Cascade helps {title}{where}", "Cascade-CLIP", score, f"{cell}_cascade", cell)
        for cell, title in (("frozen", "the frozen CLIP"), ("zegclip", "ZegCLIP"), ("spt_seg", "SPT-SEG"))
        for score, where in (("hiou", ""), ("miou_unseen", " on unseen classes"))
    ),
)
SPT_PARTS = Theme(
    "spt_seg",
    "SPT-SEG's three parts",
    "none",
    "SPT-SEG adds a spectral prompt, a decoder for two frequencies and a structural loss to ZegCLIP, and reports gains on seen and unseen "
    "classes (on Pascal VOC and COCO-Stuff). Its settings are not public: schedule, prompts and the focal weight are ZegCLIP's here.",
    "hiou",
    (
        Cell("none", "none of the three (ZegCLIP)"),
        Cell("all", "all three (SPT-SEG)", SPT_SEG),
        Cell("no_spectrum", "without the spectral prompt", {**SPT_SEG, "model.trunk": "deep_prompts"}),
        Cell("no_frequencies", "ZegCLIP's decoder", {**SPT_SEG, "model.decoder": "masks"}),
        Cell("no_structure", "dice in place of SSIM", {**SPT_SEG, "loss.kind": "focal_dice"}),
        FLOOR,
    ),
    (
        CellClaim("SPT-SEG beats ZegCLIP", "SPT-SEG", "hiou", "all", "none"),
        CellClaim("SPT-SEG beats ZegCLIP on unseen classes", "SPT-SEG", "miou_unseen", "all", "none"),
        CellClaim("the spectral prompt helps", "SPT-SEG", "hiou", "all", "no_spectrum"),
        CellClaim("the two frequencies help", "SPT-SEG", "hiou", "all", "no_frequencies"),
        CellClaim("SSIM helps in place of dice", "SPT-SEG", "hiou", "all", "no_structure"),
    ),
)
OTSEG_PATHS = Theme(
    "otseg",
    "OTSeg's paths",
    "none",
    "OTSeg scores the patches against several texts of each class by optimal transport, on a score path and on a decoder path, and adds their "
    "losses; OTSeg+ averages both maps at inference. It reports gains over ZegCLIP on Pascal VOC, Pascal Context and COCO-Stuff.",
    "hiou",
    (
        Cell("zegclip", "ZegCLIP, with the mean of the texts"),
        Cell("both", "both paths (OTSeg+)", TRANSPORT),
        Cell(
            "decoder", "the decoder path alone at inference", {**TRANSPORT, "model.inference_map": "decoder"}
        ),
        Cell("scores", "the score path alone at inference", {**TRANSPORT, "model.inference_map": "scores"}),
        FLOOR,
    ),
    (
        CellClaim("OTSeg+ beats ZegCLIP", "OTSeg", "hiou", "both", "zegclip"),
        CellClaim("OTSeg+ beats ZegCLIP on unseen classes", "OTSeg", "miou_unseen", "both", "zegclip"),
        CellClaim("both paths beat the decoder path", "OTSeg", "hiou", "both", "decoder"),
        CellClaim("both paths beat the score path", "OTSeg", "hiou", "both", "scores"),
        CellClaim("the decoder path beats ZegCLIP", "here", "hiou", "decoder", "zegclip"),
    ),
)

CAT_SEG = Theme(
    "cat_seg",
    "CAT-Seg's head and tuned towers",
    "none",
    "CAT-Seg embeds the cosines of patches and texts and aggregates them over patches and classes, and fine-tunes queries and values of both "
    "CLIP towers. It reports that tuning both towers matters, and scores other data sets than the one it trains on, never classes that are "
    "unseen in a data set: here its authors tested nothing.",
    "hiou",
    (
        Cell("zegclip", "ZegCLIP"),
        Cell(
            "tuned",
            "both towers tuned (CAT-Seg)",
            {**HEAD, **_HEAD_SIZES, **TUNED, "optim.clip_lr": _clip_lr},
        ),
        Cell("frozen", "its head on the frozen CLIP", {**HEAD, **_HEAD_SIZES}),
        FLOOR,
    ),
    (
        CellClaim("tuning both towers helps", "CAT-Seg", "hiou", "tuned", "frozen"),
        CellClaim("tuning both towers helps unseen classes", "here", "miou_unseen", "tuned", "frozen"),
        CellClaim("CAT-Seg beats ZegCLIP", "here", "hiou", "tuned", "zegclip"),
        CellClaim("its head on the frozen CLIP beats the floor", "here", "hiou", "frozen", "floor"),
    ),
)

PLUS = Theme(
    "plus",
    "Beyond the papers: cosines with the text",
    "cascade",
    "Neither paper has these settings: cosines of a class's text with the whole picture, and with each of the last patches, are added to the "
    "masks, at inference alone. They were chosen on validation pictures with classes held out from the seen; [plus_choice.md](plus_choice.md) says how.",
    "hiou",
    (
        Cell("base", "none (published)"),
        Cell("cosines", "both cosines (chosen)", TEXT_COSINES),
        Cell("patch", "that with patches", {**TEXT_COSINES, "model.picture_cosine": 0.0}),
        Cell("picture", "that with the picture", {**TEXT_COSINES, "model.patch_cosine": 0.0}),
    ),
    (
        CellClaim("both cosines help", "here", "hiou", "cosines", "base"),
        CellClaim("both cosines help unseen classes", "here", "miou_unseen", "cosines", "base"),
        CellClaim("both cosines help seen classes", "here", "miou_seen", "cosines", "base"),
        CellClaim("that with patches helps alone", "here", "hiou", "patch", "base"),
        CellClaim("that with the picture helps alone", "here", "hiou", "picture", "base"),
        CellClaim("both are better than that with patches", "here", "hiou", "cosines", "patch"),
    ),
)


def _penalties(name: str, title: str, fusion: Literal["none", "cascade"]) -> Theme:
    others = (0.0, 0.05, 0.15, 0.2, 0.3, 0.5)
    return Theme(
        name,
        f"Penalty on seen classes, {title}",
        fusion,
        "The released code subtracts 0.1 from the seen classes' scores of inductive models; the papers do not mention it. Nothing is "
        "trained anew for a penalty: each model is scored with all of them.",
        "hiou",
        (
            Cell("published", "0.1 (published)"),
            *(Cell(f"p{round(100 * p):02d}", f"{p:g}", {"evaluate.seen_penalty": p}) for p in others),
        ),
        (
            CellClaim("the penalty helps", "released code", "hiou", "published", "p00"),
            CellClaim("the penalty helps unseen classes", "released code", "miou_unseen", "published", "p00"),
            CellClaim("it costs seen classes", "here", "miou_seen", "p00", "published"),
            CellClaim("a higher penalty is better", "here", "hiou", "p20", "published"),
        ),
    )


def _self_training(
    name: str, title: Literal["ZegCLIP", "Cascade-CLIP"], fusion: Literal["none", "cascade"]
) -> Theme:
    keep_ignored = {"loss.ignored_as_negative": False}
    return Theme(
        name,
        f"Self-training, {title}",
        fusion,
        "Both papers continue half of an inductive training with pseudo-labels that the model gives itself; the truth says which pixels "
        "are of some unseen class (the oracle). They take every pseudo-label, from the model in training, on the labelled pictures. Strict "
        "self-training does without the oracle. All self-trainings of a seed start from the same checkpoint.",
        "hiou",
        (
            Cell("oracle", "oracle (published)", mode="oracle"),
            Cell("inductive", "no self-training"),
            Cell("strict", "strict", mode="strict"),
            *(
                Cell(
                    f"c{c}", f"strict, scores of at least 0.{c}", {"self_train.confidence": c / 10}, "strict"
                )
                for c in (5, 7, 9)
            ),
            Cell("ignoring", "strict, ignored pixels no negatives", keep_ignored, "strict"),
            Cell(
                "ignoring_c7",
                "strict, at least 0.7, ignored pixels no negatives",
                {**keep_ignored, "self_train.confidence": 0.7},
                "strict",
            ),
            Cell("ema", "strict, averaged teacher", {"self_train.teacher": "ema"}, "strict"),
            Cell(
                "training_free",
                "strict, training-free teacher",
                {"self_train.teacher": "training_free"},
                "strict",
            ),
            Cell(
                "extra",
                "strict, unlabelled val and test pictures too",
                {"self_train.extra_splits": ["val", "test"]},
                "strict",
            ),
        ),
        (
            CellClaim(
                "oracle self-training helps unseen classes", title, "miou_unseen", "oracle", "inductive"
            ),
            CellClaim(
                "strict self-training helps unseen classes", "here", "miou_unseen", "strict", "inductive"
            ),
            CellClaim("the oracle beats strict", "here", "hiou", "oracle", "strict"),
            CellClaim("a threshold of 0.5 helps", "here", "hiou", "c5", "strict"),
            CellClaim("a threshold of 0.7 helps", "here", "hiou", "c7", "strict"),
            CellClaim("a threshold of 0.9 helps", "here", "hiou", "c9", "strict"),
            CellClaim("leaving ignored pixels out helps", "here", "hiou", "ignoring", "strict"),
            CellClaim("then a threshold of 0.7 helps", "here", "hiou", "ignoring_c7", "ignoring"),
            CellClaim("an averaged teacher helps", "here", "hiou", "ema", "strict"),
            CellClaim("the model teaches better than CLIP alone", "here", "hiou", "strict", "training_free"),
            CellClaim("further pictures help", "here", "hiou", "extra", "strict"),
        ),
    )


THEMES = {
    theme.name: theme
    for theme in (
        DESIGNS,
        PROMPT_DEPTH,
        PROMPT_NUMBER,
        LOSS_WEIGHTS,
        _penalties("penalty_zegclip", "ZegCLIP", "none"),
        _self_training("self_training", "ZegCLIP", "none"),
        GROUPS,
        SHARING,
        AGGREGATION,
        SIGMA,
        PROJECTIONS,
        PROJECTION_SEED,
        PLUG_IN,
        SPT_PARTS,
        OTSEG_PATHS,
        CAT_SEG,
        PLUS,
        _penalties("penalty_cascade", "Cascade-CLIP", "cascade"),
        _self_training("self_training_cascade", "Cascade-CLIP", "cascade"),
    )
}
"""All themes by name: ZegCLIP's, then Cascade-CLIP's."""


def named_theme(name: str) -> Theme:
    """Return a theme by its name.

    Raises:
        UserError: there is none; the message lists the themes.
    """
    return by_name(name, THEMES, kind="theme of ablations")


def cell_recipe(base: str, theme: Theme, cell: Cell) -> str:
    """Return the name of a cell as a recipe."""
    return f"{base}{SEPARATOR}{theme.name}.{cell.name}"


def cells_of(recipes: Sequence[str]) -> list[str]:
    """Replace each theme among recipes, such as `mini_cascade_clip:sigma`, by its cells; others stay.

    Raises:
        UserError: a theme is unknown.
    """
    each = []
    for name in recipes:
        base, separator, place = str(name).rpartition(SEPARATOR)
        if separator and "." not in place:
            theme = named_theme(place)
            each += [cell_recipe(base, theme, cell) for cell in theme.cells]
        else:
            each.append(name)
    return each


def cell_overrides(place: str, base: RunConfig) -> dict[str, Any]:
    """Return the overrides that make a cell, `THEME.CELL`, of its base, with the method `THEME.CELL`.

    Raises:
        UserError: theme or cell is unknown, or the base is of the other method.
    """
    name, dot, cell_name = place.partition(".")
    theme = named_theme(name)
    if not dot:
        raise UserError(
            f"{base.recipe}{SEPARATOR}{name} is a theme and no recipe; name a cell, such as "
            f"{cell_recipe(base.recipe, theme, theme.base)}"
        )
    cell = theme.cell(cell_name)
    if base.model.fusion != theme.fusion:
        raise UserError(
            f"theme {name} changes a recipe with model.fusion={theme.fusion!r}; {base.recipe} has "
            f"{base.model.fusion!r}: take {'a ZegCLIP' if theme.fusion == 'none' else 'a Cascade-CLIP'} recipe"
        )
    values = {key: value(base.model) if callable(value) else value for key, value in cell.changes.items()}
    if cell.mode is not None:
        values = {"self_train.mode": cell.mode, **values}
    return {**values, "recipe": f"{base.recipe}{SEPARATOR}{place}", "method": place}
