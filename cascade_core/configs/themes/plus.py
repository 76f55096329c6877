"""What was chosen beyond the papers, scored on test pictures."""

from cascade_core.configs.themes.cascade import TRAINED_PROJECTIONS
from cascade_core.configs.themes.scoring import TEXT_COSINES
from cascade_core.configs.themes.theme import Cell, CellClaim, Theme

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
        CellClaim("the cosine with patches helps alone", "here", "hiou", "patch", "base"),
        CellClaim("the cosine with the picture helps alone", "here", "hiou", "picture", "base"),
        CellClaim("both cosines beat the one with patches", "here", "hiou", "cosines", "patch"),
    ),
)

PLUS_PROJECTIONS = Theme(
    "plus_projections",
    "Beyond the papers: middle projections that train",
    "cascade",
    "Cascade-CLIP projects the middle levels by random matrices that stay as they were drawn. Here they train. That was chosen on validation "
    "pictures with classes held out from the seen; [plus_choice.md](plus_choice.md) says how. "
    "Seeds 0 to 4 were known from the theme `projections` before the choice.",
    "hiou",
    (
        Cell("base", "frozen (published)"),
        Cell("trained", "trained (chosen)", TRAINED_PROJECTIONS),
    ),
    (
        CellClaim("trained projections help", "here", "hiou", "trained", "base"),
        CellClaim("trained projections help unseen classes", "here", "miou_unseen", "trained", "base"),
        CellClaim("trained projections help seen classes", "here", "miou_seen", "trained", "base"),
    ),
)
