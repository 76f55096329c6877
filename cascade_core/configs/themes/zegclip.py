"""ZegCLIP's ablations."""

from cascade_core.configs.themes.theme import Cell, CellClaim, Theme, share_of_blocks, times

TEXT_QUERY = {"model.query": "text"}
CROSS_ENTROPY = {"loss.kind": "cross_entropy"}
NO_PROMPTS = {"model.trunk": "frozen", "model.num_prompts": 0}

DESIGNS = Theme(
    "designs",
    "ZegCLIP's three designs",
    "none",
    "ZegCLIP adds three designs to a one-stage baseline: deep prompts in the frozen tower, a loss that judges each class by itself (focal "
    "and dice), and the relationship descriptor. It reports that each helps the unseen classes.",
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
        CellClaim("dice helps focal", "here", "hiou", "both", "focal"),
        CellClaim("focal helps dice", "here", "hiou", "both", "dice"),
    ),
)
