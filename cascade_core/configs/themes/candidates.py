"""Changes of Cascade-CLIP that neither paper has and that cost no speed; the best is chosen by the scores."""

from cascade_core.configs.themes.cascade import CLIP_PROJECTIONS, TRAINED_PROJECTIONS
from cascade_core.configs.themes.scoring import AT_INFERENCE, TEXT_COSINES
from cascade_core.configs.themes.theme import Cell, CellClaim, Theme

TRAININGS = (
    Cell("trained", "middle projections that train", TRAINED_PROJECTIONS),
    Cell("clip", "CLIP's middle projections", CLIP_PROJECTIONS),
    Cell("clip_trained", "CLIP's middle projections, trained", {**CLIP_PROJECTIONS, **TRAINED_PROJECTIONS}),
    Cell("focal", "focal alone, without dice", {"loss.dice_weight": 0.0}),
    Cell(
        "decay",
        "ten times the weight decay",
        {"optim.weight_decay": lambda base: 10 * base.optim.weight_decay},
    ),
    Cell(
        "photometric",
        "photometric augmentation (none if the base has it)",
        {"data.photometric": lambda base: not base.data.photometric},
    ),
    Cell(
        "half", "half the iterations", {"train.iterations": lambda base: max(1, base.train.iterations // 2)}
    ),
    Cell("sigma", "a sigma of 4, almost equal weights", {"model.aggregation_sigma": 4.0}),
    Cell("noise", "noise on class vectors, half their length", {"train.vector_noise": 0.5}),
    *(
        Cell(
            f"distil_{round(100 * w)}", f"distillation of CLIP's map, weight {w:g}", {"loss.distil_weight": w}
        )
        for w in (0.1, 0.3, 1.0)
    ),
    Cell("noise_100", "noise on class vectors, as long as they are", {"train.vector_noise": 1.0}),
    Cell(
        "noise_distil",
        "noise 0.5 and distillation 0.3",
        {"train.vector_noise": 0.5, "loss.distil_weight": 0.3},
    ),
    Cell("double", "twice the iterations", {"train.iterations": lambda base: 2 * base.train.iterations}),
)
AT_SCORING = (
    *(
        Cell(f"p{round(100 * p):02d}", f"seen penalty {p:g}", {"evaluate.seen_penalty": p})
        for p in (0.0, 0.05, 0.15, 0.2)
    ),
    Cell("cosines", "both cosines", TEXT_COSINES),
    Cell(
        "half_cosines",
        "both cosines, halved",
        {**AT_INFERENCE, "model.picture_cosine": 1.0, "model.patch_cosine": -1.0},
    ),
    Cell("patch", "the cosine with patches, halved", {**AT_INFERENCE, "model.patch_cosine": -1.0}),
    Cell("picture", "the cosine with the picture", {**TEXT_COSINES, "model.patch_cosine": 0.0}),
)
"""Nothing is trained for these."""


def _for_choices(name: str, title: str, paper: str, settings: tuple[Cell, ...]) -> Theme:
    """Return a theme that compares each setting with the published one, to choose from them."""
    return Theme(
        name,
        title,
        "cascade",
        paper,
        "hiou",
        (Cell("base", "none (published)"), *settings),
        tuple(
            CellClaim(f"{cell.label}: better than none", "here", "hiou", cell.name, "base")
            for cell in settings
        ),
        for_choices=True,
    )


CANDIDATES = _for_choices(
    "candidates",
    "Candidates beyond the papers",
    "Neither paper has these settings. They cost no time at inference, and the best is chosen by the scores here: on validation pictures, with "
    "classes held out from the seen in the role of unseen ones.",
    (*TRAININGS, *AT_SCORING),
)

FINALISTS = _for_choices(
    "finalists",
    "The best candidates over more seeds",
    "Neither paper has these settings. They are the trainings with the highest means of the theme `candidates` over three seeds, those of "
    "at least a point; one is chosen by the scores here, on validation pictures and classes held out from the seen, if its interval lies above zero.",
    tuple(CANDIDATES.cell(name) for name in ("trained", "noise", "distil_30")),
)
