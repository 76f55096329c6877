"""The page of the mini benchmark's results: the table, the papers' claims checked on it, every self-trained seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from cascade_core.configs.recipes import METHOD_NAMES
from components.results.intervals import CONFIDENCE, paired_interval
from components.results.rows import SCORES, BenchmarkRow, markdown_table
from components.steps.pretrain import Pretrained

PUBLISHED = ("zegclip", "cascade_clip")
"""The papers' own methods, for which self-training and controls run too."""


class MiniRow(BenchmarkRow):
    """A row of the mini benchmark; `made_from` names its code, its data, the machine and the date."""

    made_from: str = "an unknown commit"


@dataclass(frozen=True)
class Claim:
    """The claim that one run has a higher score than another; a run is a method and a setting."""

    text: str
    score: str
    better: tuple[str, str]
    worse: tuple[str, str]


INDUCTIVE = {
    ("miou_unseen", "zegclip", "zegclip_no_rd"): "the relationship descriptor helps unseen classes (ZegCLIP)",
    ("miou_unseen", "zegclip", "decoder_ce"): (
        "independent classes with focal and dice transfer better than cross-entropy (ZegCLIP)"
    ),
    ("hiou", "zegclip", "zegclip_no_prompts"): "deep prompts beat the frozen CLIP (ZegCLIP)",
    ("hiou", "zegclip", "linear"): "a decoder beats a linear pixel-text map",
    ("hiou", "cascade_clip", "zegclip"): "middle levels through decoders of their own help (Cascade-CLIP)",
    ("hiou", "cascade_clip", "naive_fusion"): (
        "independent decoders beat summing all levels into one (Cascade-CLIP)"
    ),
    ("miou_unseen", "zegclip", "naive_fusion"): (
        "summing all levels into one decoder hurts the unseen classes (Cascade-CLIP)"
    ),
}
"""Claims about two inductive methods: the score in which the first beats the second."""
OF_A_METHOD = {
    ("transductive_oracle", "inductive"): (
        "transductive, oracle self-training helps the unseen classes of {method}"
    ),
    ("transductive_strict", "inductive"): (
        "transductive, strict self-training helps the unseen classes of {method}"
    ),
    ("inductive", "control_words"): "{method} reads the unseen words: exchanged, they lose",
    ("inductive", "control_random_tower"): "{method} lives on CLIP's pictures: a random image tower loses",
}
"""Claims about each published method: the first setting has a higher mIoU(U) than the second."""
CLAIMS = (
    *(
        Claim(text, score, (better, "inductive"), (worse, "inductive"))
        for (score, better, worse), text in INDUCTIVE.items()
    ),
    *(
        Claim(text.format(method=METHOD_NAMES[method]), "miou_unseen", (method, better), (method, worse))
        for (better, worse), text in OF_A_METHOD.items()
        for method in PUBLISHED
    ),
)
PAGE = """\
# Mini benchmark: results

Made by `{command}` on the {row.split} pictures, protocol `{row.protocol}`. Mean ± sample standard deviation over seeds \
{seeds}, in percent; rows in [mini.json](mini.json). Made from {made_from}.

{table}
Fully supervised trainings read the labels of all classes: they are the ceiling of these decoders.

The tiny CLIP alone, image-level zero-shot top-1 over all things on held-out pictures of single things, mean of the \
classes: seen {clip_seen}, unseen {clip_unseen}.

## What the papers claim, and what holds here

Differences in points, with their 95 % interval over seeds (Student's t, paired by seed). A claim *holds* if the whole interval is above zero, it *does not hold* if
the whole interval is below, and else it *cannot be told* from these seeds. These are {num_claims} comparisons: of so many without a difference, {by_chance} would be
expected to hold or not to hold by chance. The intervals cover the seeds of decoders alone: there is one CLIP, one drawing of the data, and one set of {row.split} pictures.

| claim | measured | difference | |
|---|---|---|---|
{claims}

How settings were chosen, and why some claims fail: [choices.md](choices.md).

## Every self-trained seed

A self-training can collapse; so each seed is shown.

| method | setting | seed | pAcc | mIoU(S) | mIoU(U) | hIoU |
|---|---|--:|--:|--:|--:|--:|
{self_trained}
"""


def claims(rows: Sequence[BenchmarkRow]) -> Iterator[str]:
    """Yield a table row per claim: the two means, the interval of their difference, and what it says."""
    for claim in CLAIMS:
        better, worse = (_by_seed(rows, run, claim.score) for run in (claim.better, claim.worse))
        interval = paired_interval(better, worse)
        if interval is None:
            yield f"| {claim.text} | {SCORES[claim.score]} undefined | - | - |"
            continue
        means = " against ".join(f"{100 * fmean(side.values()):.1f}" for side in (better, worse))
        ends = f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
        difference = f"{100 * interval.difference:+.1f} ({ends}, {interval.num_seeds} seeds)"
        yield f"| {claim.text} | {SCORES[claim.score]} {means} | {difference} | {interval.word} |"


def _by_seed(rows: Sequence[BenchmarkRow], run: tuple[str, str], score: str) -> dict[int, float]:
    own = (row for row in rows if (row.method, row.setting) == run)
    return {row.seed: value for row in own if (value := getattr(row, score)) is not None}


def page(rows: Sequence[MiniRow], seeds: Sequence[int], *, clip: Pretrained) -> str:
    """Write the page; `clip` holds the tiny CLIP's image-level accuracies."""
    return PAGE.format(
        command=f"cascade-clip mini-results --seeds {','.join(map(str, seeds))}",
        row=rows[0],
        seeds=", ".join(map(str, seeds)),
        made_from=_made_from(rows),
        table=markdown_table(rows),
        clip_seen=f"{100 * clip.pictures.seen:.1f}",
        clip_unseen=f"{100 * clip.pictures.unseen:.1f}",
        claims="\n".join(claims(rows)),
        num_claims=len(CLAIMS),
        by_chance=f"{(1 - CONFIDENCE) * len(CLAIMS):.1f}",
        self_trained="\n".join(_seed_row(row) for row in rows if row.setting.startswith("transductive")),
    )


def _made_from(rows: Sequence[MiniRow]) -> str:
    """Say what all rows were made from, or what those of each method were."""
    methods: dict[str, list[str]] = {}
    for row in rows:
        methods.setdefault(row.made_from, []).append(METHOD_NAMES.get(row.method, row.method))
    if len(methods) == 1:
        return rows[0].made_from
    return "; ".join(f"{source}: {', '.join(dict.fromkeys(own))}" for source, own in methods.items())


def _seed_row(row: BenchmarkRow) -> str:
    scores = (getattr(row, name) for name in SCORES)
    cells = ["-" if score is None else f"{100 * score:.1f}" for score in scores]
    return f"| {' | '.join([row.method, row.setting, str(row.seed), *cells])} |"
