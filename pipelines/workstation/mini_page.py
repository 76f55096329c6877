"""The page of the mini benchmark's results: the table, the papers' claims checked on it, every self-trained seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.configs.training_free import LAST_BLOCKS
from components.results.intervals import CONFIDENCE, Interval, paired_interval, together
from components.results.rows import SCORES, SETTING_NAMES, BenchmarkRow, ScoreRow, markdown_table
from components.steps.pretrain import Pretrained
from pipelines.workstation.claim_cells import claim_cells

PUBLISHED = ("zegclip", "cascade_clip")
"""The papers' own methods, for which self-training and controls run too."""


FEW = 5
"""So many seeds have ablations, ceilings and the control that trains; the published methods' own rows have all."""


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

    @property
    def is_of_methods(self) -> bool:
        """Whether it compares the two published methods."""
        return {self.better[0], self.worse[0]} == set(PUBLISHED)


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
{seeds} (of ablations, ceilings and random towers the first {few}), in percent; rows in [mini.json](mini.json), intervals over pictures in \
[mini_intervals.json](mini_intervals.json). Made from {made_from}.

{table}
Fully supervised trainings read the labels of all classes: they are the ceiling of these decoders.

The deviation is over seeds of decoders alone: there is one CLIP, one drawing of the pictures, and one set of {row.split} pictures. The settings were tuned with labels
of the unseen classes, on the validation pictures, which is beyond zero-shot ([choices.md](choices.md)).

The tiny CLIP alone, zero-shot top-1, mean of the classes. It was pretrained on {clip_pictures:,} pictures with captions, drawn by the generator that draws the
benchmark's.

| | seen | unseen |
|---|--:|--:|
| whole pictures of single things, held out, over all things | {clip.pictures.seen:.1%} | {clip.pictures.unseen:.1%} |
| patches of the last layer in held-out scenes, over all classes | {clip.patches.seen:.1%} | {clip.patches.unseen:.1%} |

## What the papers claim, and what holds here

Differences in points, with two 95 % intervals:

- over **seeds**: Student's t, paired by seed. It covers another training of both decoders, scored on the same pictures.
- over **pictures**: percentiles of {resamples:,} bootstrap resamples of the {row.split} pictures, the same ones for both methods and all seeds. It covers other \
pictures of the generator, scored by the same trainings.

Neither covers another CLIP or another drawing of the training pictures. The two choices are independent, so the reaches of both intervals add in squares and make the interval of
**both**. A claim *holds* if that interval lies above zero, *does not hold* if it lies below, and else *cannot be told*; so it is if an interval is missing. All numbers of a row are over the
seeds that both runs have; their number stands in brackets. These are {num_claims} comparisons: of so many without a difference, at most {by_chance} would be expected to hold or not to
hold by chance.

{claims}

How settings were chosen, and what limits these results: [choices.md](choices.md).

## Every self-trained seed

{collapses} Each seed is shown:

| method | setting | seed | pAcc | mIoU(S) | mIoU(U) | hIoU |
|---|---|--:|--:|--:|--:|--:|
{self_trained}
"""


HEAD = """\
Percent on the {split} pictures, mean ± deviation over {seeds} seeds of the decoders: one CLIP, one drawing of the pictures. Training-free methods draw \
nothing at random. Settings were tuned with labels of unseen classes on validation pictures, which is beyond zero-shot. [docs/results/mini.md](docs/results/mini.md) \
has all methods, ablations and controls, and each claim with its intervals. {lead}They stand for no published benchmark.

{table}"""
LEAD = "From inductive {worse} to {better} {score} changes by {difference} points (95 % interval over seeds and pictures: {ends}). "
CLAIM_HEAD = """\
| claim | measured | difference | over seeds | over pictures | both | |
|---|---|--:|--:|--:|--:|---|"""
COLLAPSED = 0.5
"""A self-training collapses below this share of the hIoU of its seed without self-training."""


def head(rows: Sequence[BenchmarkRow], pictures: Mapping[Claim, Interval]) -> str:
    """Write the README's part of the page: the published and training-free methods without controls and ceiling.

    `pictures` holds the claims' intervals over pictures.
    """
    own = [
        row
        for row in rows
        if row.method in (*PUBLISHED, *LAST_BLOCKS) and not row.setting.startswith(("control", "supervised"))
    ]
    seeds = len({row.seed for row in own if row.method in PUBLISHED})
    lead = "".join(
        _lead(claim, own, pictures[claim]) for claim in CLAIMS if claim.is_of_methods and claim in pictures
    )
    return HEAD.format(split=own[0].split, seeds=seeds, lead=lead, table=markdown_table(own))


def _lead(claim: Claim, rows: Sequence[BenchmarkRow], pictures: Interval) -> str:
    """Say by how much one published method is ahead of the other; nothing if a seed of both is missing."""
    seeds = paired_interval(*(values_by_seed(rows, run, claim.score) for run in (claim.better, claim.worse)))
    if seeds is None:
        return ""
    return LEAD.format(
        better=METHOD_NAMES[claim.better[0]],
        worse=METHOD_NAMES[claim.worse[0]],
        score=SCORES[claim.score],
        difference=f"{100 * seeds.difference:+.1f}",
        ends=together(seeds, pictures).ends,
    )


def claim_table(claims: Sequence[Claim], rows: Sequence[ScoreRow], pictures: Mapping[Claim, Interval]) -> str:
    """Lay out `claim_rows` below their head."""
    return "\n".join([CLAIM_HEAD, *claim_rows(claims, rows, pictures)])


def claim_rows(
    claims: Sequence[Claim], rows: Sequence[ScoreRow], pictures: Mapping[Claim, Interval]
) -> Iterator[str]:
    """Yield a table row per claim: the two means over the seeds of both runs, their difference, its intervals, and what they say.

    `pictures` holds the intervals over pictures; a claim without one cannot be told.
    """
    for claim in claims:
        better, worse = (values_by_seed(rows, run, claim.score) for run in (claim.better, claim.worse))
        cells = claim_cells(
            claim.score, better, worse, seeds=paired_interval(better, worse), pictures=pictures.get(claim)
        )
        yield f"| {' | '.join([claim.text, *cells])} |"


def has_collapsed(hiou: float, before: float) -> bool:
    """Say whether a training collapsed, by its hIoU and the one to compare with, such as that of its seed without self-training."""
    return hiou < COLLAPSED * before


def collapses(rows: Sequence[ScoreRow]) -> str:
    """Say how many self-trainings of each setting collapsed, in one sentence or two."""
    counts, lowest = [], []
    for setting in ("transductive_oracle", "transductive_strict"):
        pairs = [
            (value, before[seed], method, seed)
            for method in PUBLISHED
            for before in (values_by_seed(rows, (method, "inductive"), "hiou"),)
            for seed, value in values_by_seed(rows, (method, setting), "hiou").items()
            if seed in before
        ]
        if pairs:
            collapsed = sum(has_collapsed(value, before) for value, before, *_ in pairs)
            counts.append(f"{SETTING_NAMES[setting]} {collapsed} of {len(pairs)}")
            lowest.append(min(pairs))
    if not counts:
        return ""
    value, before, method, seed = min(lowest)
    return (
        f"A self-training *collapsed* if its hIoU is below {COLLAPSED:.0%} of that of the same seed without self-training: {', '.join(counts)}. The lowest hIoU "
        f"is {100 * value:.1f} ({METHOD_NAMES[method]}, seed {seed}; {100 * before:.1f} without)."
    )


def values_by_seed(rows: Sequence[ScoreRow], run: tuple[str, str], score: str) -> dict[int, float]:
    """Return a score of one method and setting by seed, where it is defined."""
    own = (row for row in rows if (row.method, row.setting) == run)
    return {row.seed: value for row in own if (value := getattr(row, score)) is not None}


def page(
    rows: Sequence[MiniRow], seeds: Sequence[int], *, clip: Pretrained, pictures: Mapping[Claim, Interval]
) -> str:
    """Write the page; `clip` holds the tiny CLIP's accuracies, `pictures` the claims' intervals over pictures."""
    from cascade_core.mini.stages import MINI_STAGES  # slow to import, as it loads torch
    from cascade_core.scoring.bootstrap import RESAMPLES

    return PAGE.format(
        command=f"cascade-clip mini-results --seeds {','.join(map(str, seeds))}",
        row=rows[0],
        seeds=", ".join(map(str, seeds)),
        few=min(FEW, len(seeds)),
        made_from=_made_from(rows),
        table=markdown_table(rows),
        clip=clip,
        clip_pictures=sum(stage.steps * stage.batch_size for stage in MINI_STAGES),
        resamples=RESAMPLES,
        claims=claim_table(CLAIMS, rows, pictures),
        num_claims=len(CLAIMS),
        by_chance=f"{(1 - CONFIDENCE) * len(CLAIMS):.1f}",
        collapses=collapses(rows),
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


def score_cells(row: ScoreRow) -> list[str]:
    """Format the scores of a row in percent; a dash where one is undefined."""
    scores = (getattr(row, name) for name in SCORES)
    return ["-" if score is None else f"{100 * score:.1f}" for score in scores]


def _seed_row(row: BenchmarkRow) -> str:
    return f"| {' | '.join([row.method, row.setting, str(row.seed), *score_cells(row)])} |"
