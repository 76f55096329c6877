"""The results of mini-hard: both papers' methods, self-trained and with all labels, CAT-Seg, and inductive ones on the twin of drawings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cascade_core.configs.recipes import METHOD_NAMES, recipe
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, write_json
from cascade_core.runtime.targets import check_gathering_folder, writable_file
from components.artifacts.manifest import input_hash
from components.results.intervals import Interval
from components.results.rows import SCORES, ScoreRow, Summary, markdown_table, summaries
from components.results.step_files import read_scores
from components.steps import evaluate
from components.steps.pretrain import PROTOCOLS, Pretrained, read_accuracy
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured, name_classes, prepare_data
from pipelines.workstation.chain_plan import outlook, plans_of
from pipelines.workstation.chains import Chain, FolderRunner, run_untracked
from pipelines.workstation.mini_intervals import claim_intervals, interval_of, intervals_by_claim
from pipelines.workstation.mini_page import PUBLISHED, Claim, MiniRow, claim_table, collapses, score_cells
from pipelines.workstation.mini_results import (
    CEILING,
    MODES,
    folder_name,
    provenance_of,
    row_of,
)
from pipelines.workstation.reproduction import digest_of

TWIN_PROTOCOL = "mini-hard-drawn-38-12"
PAGE = """\
# mini-hard: results

Made by `{command}` on the {split} pictures, protocol `{protocol}`. Percent, mean ± sample standard deviation over seeds {seeds} of the decoders: one CLIP, one drawing of the pictures. The settings are
the mini benchmark's, which were tuned with labels of its unseen classes. Rows in [mini_hard.json](mini_hard.json). Made from {made_from}. How mini-hard is drawn: [mini_hard.md](../mini_hard.md).
{changed}
{table}
Fully supervised trainings read the labels of all classes: they are the ceiling of these decoders. Pixels of background and void do not count (`dropped`, as published).
Strict self-training has them as candidates beside the unseen pixels; the oracle has the unseen pixels alone.

The CLIP alone, zero-shot top-1 on held-out data, mean of the classes: whole pictures of single things seen {clip.pictures.seen:.1%}, unseen {clip.pictures.unseen:.1%}; single
patches of scenes among all classes seen {clip.patches.seen:.1%}, unseen {clip.patches.unseen:.1%}.

## What holds here

Differences in points with 95 % intervals over seeds and over pictures; [mini.md](mini.md#what-the-papers-claim-and-what-holds-here) says how they are made and joined. These are {num_claims}
comparisons.

{claims}

{collapses}
{twin}"""
OF_A_METHOD = {
    ("transductive_strict", "inductive"): "strict self-training helps {method}",
    ("transductive_oracle", "inductive"): "oracle self-training helps {method}",
    (
        "transductive_oracle",
        "transductive_strict",
    ): "candidates without background and void help {method} (oracle against strict)",
    (
        "supervised",
        "transductive_oracle",
    ): "labels of all classes leave something to gain over the oracle ({method})",
}
"""Claims about each published method: the first setting has a higher hIoU than the second."""
PEER = "cat_seg"
"""It reads the tokens of the texts, so that it has text vectors of its own, and is not self-trained."""


def _ahead(better: str, worse: str, place: str = "") -> Claim:
    text = f"{METHOD_NAMES[better]} beats {METHOD_NAMES[worse]}{place}"
    return Claim(text, "hiou", (better, "inductive"), (worse, "inductive"))


PAIRS = (("cascade_clip", "zegclip"), (PEER, "zegclip"), (PEER, "cascade_clip"))
CLAIMS = (
    *(_ahead(*pair) for pair in PAIRS),
    *(
        Claim(text.format(method=METHOD_NAMES[method]), "hiou", (method, better), (method, worse))
        for (better, worse), text in OF_A_METHOD.items()
        for method in PUBLISHED
    ),
)
TWIN = """
## Trained on plain scenes, scored on drawings

The inductive models on the {split} pictures of the twin, protocol `{protocol}`: the same words, other textures. Classes that no training had count as unseen.

| method | seed | pAcc | mIoU(S) | mIoU(U) | hIoU |
|---|--:|--:|--:|--:|--:|
{rows}

{claims}
"""
ON_DRAWINGS = tuple(_ahead(*pair, place=" on drawings") for pair in PAIRS)
"""The claims about the models on the twin."""

SCORED = ("val", "test")
"""The splits of pictures to score, of mini-hard and of its twin."""


def run(
    *,
    raw: Path,
    drawings: Path | None,
    clip: Path,
    seeds: Sequence[int],
    split: str,
    overrides: Mapping[str, Any],
    work: Path,
    results: Path,
    workers: int | None = None,
    dry_run: bool = False,
) -> list[MiniRow]:
    """Train and score the recipes `hard_*`; write `mini_hard.md` and `mini_hard.json` into `results`; return the rows.

    `raw` and `drawings` are what `mini-data --world hard` and `--world hard-drawn` drew. First print how many trainings are
    left and how long they take; with `dry_run` do no more, and return nothing.

    Raises:
        UserError: no seed is given, the CLIP folder lacks its accuracies, a file or folder is not to be written, or a step
            refuses its input.
    """
    if not seeds:
        raise UserError("mini-hard-results needs at least one seed, such as --seeds 0,1,2")
    markdown, rows_json = results / "mini_hard.md", results / "mini_hard.json"
    check_gathering_folder(work)
    for path in (markdown, rows_json):
        writable_file(path)
    accuracy = read_accuracy(clip)
    own = tuple(overrides.items())
    with_peer = _takes(PEER, overrides)
    if split not in SCORED:
        raise UserError(f"--split {split}: mini-hard is scored on {' or '.join(SCORED)}")
    data, of_tokens = _prepared(raw, clip, PROTOCOLS["hard"], work, splits=("train", *SCORED))
    twins = None if drawings is None else _prepared(drawings, clip, TWIN_PROTOCOL, work, splits=SCORED)
    chains = [
        chain
        for method in reversed(PUBLISHED)
        for seed in seeds
        for chain in (
            Chain(f"hard_{method}", seed, data, self_trainings=MODES, overrides=own),
            Chain(f"hard_{method}", seed, data, overrides=(*own, *CEILING)),
        )
    ]
    if with_peer:
        chains += [Chain(f"hard_{PEER}", seed, of_tokens, overrides=own) for seed in seeds]
    # Nothing is trained, so that every seed would give the same scores.
    chains += [Chain(f"hard_{method}", seeds[0], data) for method in LAST_BLOCKS]
    plans = plans_of({work / folder_name(chain): chain for chain in chains}, split)
    print(f"{outlook(plans, workers)}; finished steps in {work} are kept")
    if dry_run:
        return []
    provenance = provenance_of(data)
    models = run_untracked({plan.folder: plan.chain for plan in plans}, split=split, workers=workers)
    rows = [row_of(model, provenance) for model in models]
    on_drawings = [] if twins is None else [_on_twin(model, *twins, split) for model in _inductive(models)]
    on_twin = [ScoreRow.of_evaluation(folder) for folder in on_drawings]
    folders = {
        (row.method, row.setting, row.seed): folder for row, folder in zip(on_twin, on_drawings, strict=True)
    }
    intervals = claim_intervals(CLAIMS, rows, plans, kept=())
    pictures = intervals_by_claim(CLAIMS, intervals)
    for claim in ON_DRAWINGS:  # their rows have the names of those above, and other pictures
        if (on_its_pictures := interval_of(claim, on_twin, folders)) is not None:
            pictures[claim] = on_its_pictures.interval
    write_json(rows_json, [row.model_dump() for row in (*rows, *on_twin)])
    with new_file(markdown) as path:
        path.write_text(
            page(rows, on_twin, seeds, overrides, clip=accuracy, pictures=pictures),
            encoding="utf-8",
        )
    return rows


def page(
    rows: Sequence[MiniRow],
    on_twin: Sequence[ScoreRow],
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
    *,
    clip: Pretrained,
    pictures: Mapping[Claim, Interval],
) -> str:
    """Write the page; `on_twin` are the inductive models on drawings, `clip` holds the CLIP's accuracies, `pictures` the claims' intervals over pictures."""
    changes = ", ".join(f"`{key}={value}`" for key, value in overrides.items())
    sets = "".join(f" --set {key}={value}" for key, value in overrides.items())
    twin = TWIN.format(
        split=rows[0].split,
        protocol=TWIN_PROTOCOL,
        rows="\n".join([*map(_line, on_twin), *map(_mean_line, summaries(on_twin))]),
        claims=claim_table(ON_DRAWINGS, on_twin, pictures),
    )
    drawings = " --drawings FOLDER" if on_twin else ""
    return PAGE.format(
        command=f"cascade-clip mini-hard-results --seeds {','.join(map(str, seeds))} --split {rows[0].split}{drawings}{sets}",
        split=rows[0].split,
        seeds=", ".join(map(str, seeds)),
        collapses=collapses(rows),
        protocol=rows[0].protocol,
        made_from="; ".join(dict.fromkeys(row.made_from for row in rows)),
        changed=f"\nShorter or otherwise changed trainings: {changes}.\n" if changes else "",
        table=markdown_table(rows),
        clip=clip,
        num_claims=len(CLAIMS),
        claims=claim_table(CLAIMS, rows, pictures),
        twin=twin if on_twin else "",
    )


def _prepared(
    raw: Path, clip: Path, protocol: str, work: Path, *, splits: Sequence[str]
) -> tuple[Data[Path], Data[Path]]:
    """Index the pictures of `raw` and make the text vectors, once for their content; the second has the tokens of the texts too."""
    runner = FolderRunner(work / f"{protocol}-{digest_of(input_hash(raw), input_hash(clip))}")
    data = prepare_data(
        runner,
        Data(raw=raw, clip=clip),
        protocol=protocol,
        image_sets={name: name for name in splits},
        vectors={"recipe": f"hard_{PUBLISHED[0]}"},
    )
    return data, name_classes(
        runner, data, protocol=protocol, vectors={"recipe": f"hard_{PEER}"}, vectors_name=PEER
    )


def _takes(peer: str, overrides: Mapping[str, Any]) -> bool:
    """Check overrides with the recipes; say whether the peer takes them too, and else print why it is left out.

    Raises:
        UserError: a published method refuses them.
    """
    for method in PUBLISHED:
        recipe(f"hard_{method}", overrides)
    try:
        recipe(f"hard_{peer}", overrides)
    except UserError as error:
        print(f"{METHOD_NAMES[peer]} is left out: {error}")
        return False
    return True


def _inductive(models: Sequence[Measured[Path]]) -> list[Measured[Path]]:
    return [model for model in models if read_scores(model.evaluation)["setting"] == "inductive"]


def _on_twin(model: Measured[Path], twin: Data[Path], twin_of_tokens: Data[Path], split: str) -> Path:
    """Score an inductive model on the twin; return the folder of the evaluation."""
    folder = FolderRunner(model.evaluation.parent)
    return folder(
        evaluate.run,
        twin_of_tokens if read_scores(model.evaluation)["method"] == PEER else twin,
        "drawn",
        checkpoint=model.model,
        split=split,
        target=TWIN_PROTOCOL,
        target_seen="names",
    )


def _mean_line(summary: Summary) -> str:
    return f"| {' | '.join([summary.first.method, 'mean', *map(summary.percent, SCORES)])} |"


def _line(row: ScoreRow) -> str:
    return f"| {' | '.join([row.method, str(row.seed), *score_cells(row)])} |"
