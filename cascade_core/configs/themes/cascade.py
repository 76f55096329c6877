"""Cascade-CLIP's ablations."""

from cascade_core.configs.themes.theme import LAST_MAP, Cell, CellClaim, Theme, before_last

CLIP_PROJECTIONS = {"model.mid_projection_init": "clip"}
TRAINED_PROJECTIONS = {"model.mid_projection_trains": True}
NAIVE = {"model.fusion": "naive"}
ONE_DECODER = {"model.decoders": "shared"}
ONE_QUERY = {"model.query_projections": "shared"}

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
        CellClaim("three groups beat two", "here", "hiou", "three", "two"),
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
        Cell("random_trained", "random, trained", TRAINED_PROJECTIONS),
        Cell("clip", "CLIP's, frozen", CLIP_PROJECTIONS),
        Cell(
            "clip_trained",
            "CLIP's, trained",
            {**CLIP_PROJECTIONS, **TRAINED_PROJECTIONS},
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
