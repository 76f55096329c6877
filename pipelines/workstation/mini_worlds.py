"""The published methods in several worlds of the mini benchmark: other drawings of all pictures, and other CLIPs.

The mini table's deviations are over seeds of decoders in one world. Here each world has pictures of its own seed (`mini-data`) and a CLIP that was
pretrained from scratch (`pretrain`), and the spread is over worlds.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from cascade_core.data.prepared import check_splits
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, write_json
from cascade_core.runtime.targets import check_gathering_folder, writable_file
from components.artifacts.manifest import data_hash, input_hash
from components.results.intervals import paired_interval
from components.results.rows import SCORES, run_names
from components.steps.pretrain import PROTOCOLS, read_accuracy
from pipelines.graphs.runner import Data
from pipelines.graphs.training import prepare_data
from pipelines.workstation.chain_plan import outlook, plans_of
from pipelines.workstation.chains import Chain, FolderRunner, run_untracked
from pipelines.workstation.mini_page import CLAIMS, PUBLISHED, MiniRow, values_by_seed
from pipelines.workstation.mini_results import MODES, folder_name, provenance_of, require_folder, row_of
from pipelines.workstation.reproduction import digest_of

PICTURES, CLIP = Path("VOCdevkit/VOC2012"), Path("clip")
"""Where a world's folder holds what `mini-data` draws and what `pretrain` writes."""
SETTINGS = ("inductive", "transductive_oracle", "transductive_strict")
SHOWN = ("miou_seen", "miou_unseen", "hiou")
PAGE = """\
# Mini benchmark: several CLIPs and drawings

Made by `{command}` on the {split} pictures. Each world has a drawing of all pictures and a CLIP of its own seed; its score is the mean over seeds {seeds} of the decoders, in percent.
"all" is the mean ± sample standard deviation over the {num_worlds} worlds. The settings are those that were tuned in the first shipped world (`data/mini`). Rows in
[mini_worlds.json](mini_worlds.json). Made from {made_from}.

{worlds}

| method | setting | score | {heads} | all |
|---|---|---|{bars}--:|
{scores}

## What the papers claim, over worlds

Differences in points, each world's over its seeds; the 95 % interval is Student's t over the worlds, paired by world. It covers another CLIP, another drawing and other seeds
at once. These are {num_claims} comparisons.

| claim | {heads} | all | interval | |
|---|{bars}--:|--:|---|
{claims}
"""

Rows = Sequence[Sequence[MiniRow]]
"""The rows of each world."""


def run(
    *,
    worlds: Sequence[Path],
    seeds: Sequence[int],
    split: str,
    work: Path,
    markdown: Path,
    rows_json: Path,
    workers: int | None = None,
    dry_run: bool = False,
) -> list[list[MiniRow]]:
    """Train and self-train the published methods in every world; write the page and its rows; return the rows of each world.

    First print how many trainings are left and how long they take; with `dry_run` do no more, and return nothing.

    Raises:
        UserError: there are fewer than two worlds or no seed, a world lacks its pictures or its CLIP, two are equal, or a step refuses its input.
    """
    if len(worlds) < 2 or not seeds:
        raise UserError("mini-worlds needs two or more --world and at least one seed, such as --seeds 0,1,2")
    check_gathering_folder(work)
    for path in (markdown, rows_json):
        writable_file(path)
    for world in worlds:
        _check(world)
    data = [_prepared(world, work) for world in worlds]
    check_splits(require_folder(data[0].prepared), [split], use="--split")
    if len(
        {(data_hash(require_folder(one.prepared)), input_hash(require_folder(one.clip))) for one in data}
    ) < len(worlds):
        raise UserError(
            "two worlds have the same pictures and CLIP; give each mini-data and pretrain a seed of its own"
        )
    chains = [
        Chain(f"mini_{method}", seed, one, self_trainings=MODES)
        for one in data
        for method in reversed(PUBLISHED)
        for seed in seeds
    ]
    plans = plans_of({work / folder_name(chain): chain for chain in chains}, split)
    print(f"{outlook(plans, workers)}; finished steps in {work} are kept")
    if dry_run:
        return []
    provenances = [provenance_of(one) for one in data]
    models = run_untracked({plan.folder: plan.chain for plan in plans}, split=split, workers=workers)
    size = len(models) // len(worlds)
    rows = [
        [row_of(model, provenance) for model in models[place * size : (place + 1) * size]]
        for place, provenance in enumerate(provenances)
    ]
    write_json(rows_json, [[row.model_dump() for row in own] for own in rows])
    with new_file(markdown) as path:
        path.write_text(page(rows, seeds, [_described(one) for one in data]), encoding="utf-8")
    return rows


def page(rows: Rows, seeds: Sequence[int], worlds: Sequence[str]) -> str:
    """Write the page; `worlds` describes each world in a few words."""
    numbers = [f"world {place}" for place in range(1, len(rows) + 1)]
    own = [claim for claim in CLAIMS if {claim.better, claim.worse} <= _runs()]
    return PAGE.format(
        command=f"cascade-clip mini-worlds --seeds {','.join(map(str, seeds))} --split {rows[0][0].split}"
        + " --world FOLDER" * len(rows),
        split=rows[0][0].split,
        seeds=", ".join(map(str, seeds)),
        num_worlds=len(rows),
        made_from="; ".join(dict.fromkeys(row.made_from for world in rows for row in world)),
        worlds="\n".join(f"- {name}: {text}" for name, text in zip(numbers, worlds, strict=True)),
        heads=" | ".join(numbers),
        bars="--:|" * len(rows),
        scores="\n".join(_scores(rows)),
        num_claims=len(own),
        claims="\n".join(
            _claim(claim.text, [_difference(world, claim.score, claim.better, claim.worse) for world in rows])
            for claim in own
        ),
    )


def _scores(rows: Rows) -> Iterator[str]:
    for setting in SETTINGS:
        for method in PUBLISHED:
            for score in SHOWN:
                means = [fmean(values_by_seed(world, (method, setting), score).values()) for world in rows]
                cells = [f"{100 * mean:.1f}" for mean in means]
                name, title = run_names(method, setting)
                total = f"{100 * fmean(means):.1f} ± {100 * stdev(means):.1f}"
                yield f"| {name} | {title} | {SCORES[score]} | {' | '.join(cells)} | {total} |"


def _difference(
    world: Sequence[MiniRow], score: str, better: tuple[str, str], worse: tuple[str, str]
) -> float:
    sides = (values_by_seed(world, run, score) for run in (better, worse))
    first, second = (fmean(side.values()) for side in sides)
    return first - second


def _claim(text: str, differences: Sequence[float]) -> str:
    interval = paired_interval(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))
    assert interval is not None, "there are two worlds or more"
    cells = [f"{100 * difference:+.1f}" for difference in (*differences, interval.difference)]
    return f"| {text} | {' | '.join(cells)} | {interval.ends} | {interval.word} |"


def _runs() -> set[tuple[str, str]]:
    return {(method, setting) for method in PUBLISHED for setting in SETTINGS}


def _check(world: Path) -> None:
    if not (world / PICTURES).is_dir():
        raise UserError(f"{world} has no {PICTURES}; draw it: cascade-clip mini-data --seed N --out {world}")
    if not (world / CLIP).is_dir():
        raise UserError(
            f"{world} has no {CLIP}; pretrain it: cascade-clip pretrain --seed N --out {world / CLIP}"
        )
    read_accuracy(world / CLIP)


def _prepared(world: Path, work: Path) -> Data[Path]:
    """Index a world's pictures and make its text vectors, once for its content."""
    from cascade_core.mini.mini_world import MINI_WORLD

    raw, clip = world / PICTURES, world / CLIP
    return prepare_data(
        FolderRunner(work / f"world-{digest_of(input_hash(raw), input_hash(clip))}"),
        Data(raw=raw, clip=clip),
        protocol=PROTOCOLS["mini"],
        image_sets={split: split for split in MINI_WORLD.sizes},
        vectors={"recipe": f"mini_{PUBLISHED[0]}"},
    )


def _described(data: Data[Path]) -> str:
    clip = require_folder(data.clip)
    accuracy: Mapping[str, float] = vars(read_accuracy(clip).pictures)
    return (
        f"pictures {data_hash(require_folder(data.prepared))[:12]}, CLIP {input_hash(clip)[:12]} (whole pictures: "
        f"seen {accuracy['seen']:.1%}, unseen {accuracy['unseen']:.1%})"
    )
