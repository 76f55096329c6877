"""Published scores, to stand beside our own; every row names its source.

All are percent on the validation pictures of the data set, copied from the source and not measured here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cascade_core.configs.settings import Setting

ZEGCLIP_PAPER = "ZegCLIP, CVPR 2023"
CASCADE_README = "README of the released Cascade-CLIP code, mean of several runs"
FREECP = "table of FreeCP's README (github.com/chenqi1126/FreeCP at 426cbeb), ViT-B/16"
FLOSS = "table of FLOSS's README (github.com/yasserben/FLOSS at a015d1b), ViT-B/16"
SECOND_HAND = "uncertain: other authors report it, not the method's own"
"""The methods' own authors give these numbers only in papers and pictures, or of other settings (docs/reproduce.md)."""


@dataclass(frozen=True)
class Published:
    """Published scores of a method and setting on a protocol, in percent; a field is None if the source lacks it.

    `spread` holds the source's deviations over runs, by the field of the score. On a protocol without unseen classes
    `miou_seen` is the mIoU of all classes.
    """

    protocol: str
    method: str
    setting: Setting
    source: str
    pAcc: float | None = None
    miou_seen: float | None = None
    miou_unseen: float | None = None
    hiou: float | None = None
    spread: tuple[tuple[str, float], ...] = ()

    def percent(self, score: str) -> str:
        """Format a score as in the source; a dash if the source lacks it."""
        value: float | None = getattr(self, score)
        deviation = dict(self.spread).get(score)
        if value is None:
            return "-"
        return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"


def _zegclip(
    protocol: str, setting: Setting, pixels: float, seen: float, unseen: float, hiou: float
) -> Published:
    return Published(protocol, "zegclip", setting, ZEGCLIP_PAPER, pixels, seen, unseen, hiou)


def _cascade(
    protocol: str, setting: Setting, seen: tuple[float, float], unseen: tuple[float, float]
) -> Published:
    spread = (("miou_seen", seen[1]), ("miou_unseen", unseen[1]))
    return Published(
        protocol, "cascade_clip", setting, CASCADE_README, None, seen[0], unseen[0], spread=spread
    )


def _training_free(
    method: str, table: str, voc: float, context: float, cocostuff: float
) -> tuple[Published, ...]:
    source = f"{table}; {SECOND_HAND}"
    scores = {"voc12-20": voc, "context59": context, "cocostuff-171": cocostuff}
    return tuple(
        Published(protocol, method, "training_free", source, miou_seen=miou)
        for protocol, miou in scores.items()
    )


PUBLISHED = (
    _zegclip("voc12-15-5", "inductive", 94.6, 91.9, 77.8, 84.3),
    _zegclip("voc12-15-5", "transductive_oracle", 96.2, 92.3, 89.9, 91.1),
    _zegclip("voc12-15-5", "supervised", 96.3, 92.4, 90.9, 91.6),
    _zegclip("cocostuff-156-15", "inductive", 62.0, 40.2, 41.4, 40.8),
    _zegclip("cocostuff-156-15", "transductive_oracle", 69.2, 40.7, 59.9, 48.5),
    _zegclip("cocostuff-156-15", "supervised", 69.9, 40.7, 63.2, 49.6),
    _cascade("voc12-15-5", "inductive", (92.5, 1.0), (83.0, 1.0)),
    _cascade("voc12-15-5", "transductive_oracle", (93.6, 0.5), (93.2, 0.5)),
    _cascade("context59-released", "inductive", (55.9, 0.5), (47.2, 1.0)),
    _cascade("context59-released", "transductive_oracle", (56.4, 0.5), (55.0, 1.0)),
    _cascade("cocostuff-156-15", "inductive", (41.2, 0.5), (43.4, 1.0)),
    _cascade("cocostuff-156-15", "transductive_oracle", (41.7, 0.5), (62.5, 1.0)),
    *_training_free("maskclip", f"{FREECP}, without residual and feed-forward", 74.9, 26.4, 16.7),
    *_training_free("sclip", FREECP, 80.4, 34.2, 22.4),
    *_training_free("clearclip", FREECP, 80.9, 35.9, 23.9),
    *_training_free("naclip", FLOSS, 79.7, 35.2, 23.3),
)
"""ZegCLIP's Context numbers are left out: they are of 60 classes with background, which no released code evaluates."""


def published_row(
    protocol: str, method: str, setting: str, rows: Iterable[Published] = PUBLISHED
) -> Published | None:
    """Return the published row of a run; None if there is none."""
    return next(
        (row for row in rows if (row.protocol, row.method, row.setting) == (protocol, method, setting)), None
    )
