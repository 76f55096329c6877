"""The mini benchmark's table: every method, setting and control over several seeds, with the spread.

A chain's folder is named by a digest of its configuration and data: an interrupted call resumes, and a changed
recipe is trained again. A call for some methods keeps the other rows of an earlier call, and the page says what each
was made from.
"""

import os
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from cascade_core.configs.recipes import trained_recipe_names
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.errors import UserError
from cascade_core.runtime.cores import processor_name
from cascade_core.runtime.files import new_file, read_json, write_json
from cascade_core.runtime.listing import brief
from cascade_core.runtime.targets import check_gathering_folder, writable_file
from components.artifacts.manifest import data_hash, read_step_manifest
from components.steps.pretrain import read_accuracy
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation.chain_plan import outlook, plans_of
from pipelines.workstation.chains import Chain, SelfTraining, run_untracked
from pipelines.workstation.mini_intervals import (
    INTERVALS_FILE,
    claim_intervals,
    drop_uncounted,
    intervals_by_claim,
    read_intervals,
)
from pipelines.workstation.mini_page import CLAIMS, FEW, PUBLISHED, MiniRow, head, page

OTHERS = ("spt_seg", "spt_seg_cascade", "frozen_cascade", "otseg", "cat_seg_frozen", "cat_seg")
"""Methods of other papers, and Cascade on them, which have tables of their own."""
METHODS = tuple(
    method
    for name in trained_recipe_names()
    if name.startswith("mini_") and (method := name.removeprefix("mini_")) not in OTHERS
)
CEILING = (("train.supervision", "full"),)
"""The overrides of the fully supervised trainings: the same decoders, with the labels of all classes."""
MODES = (SelfTraining("oracle"), SelfTraining("strict"))
COMMIT = re.compile("^([0-9a-f]{12})[0-9a-f]{28}")
"""A commit's 40 digits, of which pages state 12."""
TABLE_BEGIN, TABLE_END = "<!-- mini results -->", "<!-- end of mini results -->"


def chains(seeds: Sequence[int], data: Data[Path]) -> list[Chain]:
    """List the chains, the longest first, so that the processes end together.

    The published methods and their self-trainings have all seeds; ablations, ceilings and the control that trains have
    the first `FEW`.
    """
    published, few = (
        [(f"mini_{method}", seed) for method in reversed(PUBLISHED) for seed in own]
        for own in (seeds, seeds[:FEW])
    )
    others = [
        (f"mini_{method}", seed) for method in METHODS if method not in PUBLISHED for seed in seeds[:FEW]
    ]
    return [
        *(Chain(*run, data, self_trainings=MODES, control_words=True) for run in published),
        *(Chain(*run, data, random_tower=True) for run in few),
        *(Chain(*run, data, overrides=CEILING) for run in few),
        *(Chain(*run, data) for run in others),
        # Nothing is trained, so that every seed would give the same scores.
        *(Chain(f"mini_{method}", seeds[0], data) for method in LAST_BLOCKS),
    ]


def run(
    *,
    data: Data[Path],
    seeds: Sequence[int],
    split: str,
    work: Path,
    markdown: Path,
    rows_json: Path,
    methods: Collection[str] | None = None,
    readme: Path | None = None,
    workers: int | None = None,
    dry_run: bool = False,
) -> list[MiniRow]:
    """Run every chain, write the page, its rows as JSON and the table's head in the README; return the rows.

    First print how many trainings are left and how long they take; with `dry_run` do no more, and return no rows. With `methods` only their chains run,
    and `rows_json` keeps the rows of the other methods. Evaluations of earlier versions, which lack pixel counts, are made again.

    Raises:
        UserError: no seed is given, a method is unknown, the rows to keep are missing or of other seeds or another split, a file or `work`
            is not to be written, the intervals beside `rows_json` are broken, the README lacks the markers, the CLIP folder lacks its accuracies, or a step refuses
            its input.
    """
    from cascade_core.data.prepared import check_splits  # slow to import

    if readme is not None:
        _around_table(readme)
    if not seeds:
        raise UserError("mini-results needs at least one seed, such as --seeds 0,1,2")
    kept = _rows_to_keep(rows_json, methods, seeds, split) if methods is not None else []
    check_gathering_folder(work)
    for path in filter(None, (markdown, rows_json, readme)):
        writable_file(path)
    clip = read_accuracy(require_folder(data.clip))
    check_splits(require_folder(data.prepared), [split], use="--split")
    intervals_json = rows_json.with_name(INTERVALS_FILE)
    earlier = read_intervals(intervals_json)
    provenance = provenance_of(data)
    folders = {work / folder_name(chain): chain for chain in chains(seeds, data)}
    mine = {folder for folder, chain in folders.items() if methods is None or _method(chain) in methods}
    plans = plans_of(folders, split)
    if not dry_run and (old := drop_uncounted([plan for plan in plans if plan.folder in mine])):
        print(f"{old} evaluations of an earlier version have no pixel counts, and are made again")
        plans = plans_of(folders, split)
    chosen = [plan for plan in plans if plan.folder in mine]
    print(f"{outlook(chosen, workers)}; finished steps in {work} are kept")
    if dry_run:
        return []
    models = run_untracked({plan.folder: plan.chain for plan in chosen}, split=split, workers=workers)
    named = [row_of(model, provenance) for model in models]
    rows = sorted([*kept, *named], key=_order)
    intervals = claim_intervals(CLAIMS, rows, plans, earlier)
    by_claim = intervals_by_claim(CLAIMS, intervals)
    write_json(rows_json, [row.model_dump() for row in rows])
    write_json(intervals_json, [one.model_dump(mode="json") for one in intervals])
    with new_file(markdown) as path:
        path.write_text(page(rows, seeds, clip=clip, pictures=by_claim), encoding="utf-8")
    if readme is not None:
        before, after = _around_table(readme)
        with new_file(readme) as path:
            path.write_text(
                f"{before}{TABLE_BEGIN}\n{head(rows, by_claim)}{TABLE_END}{after}", encoding="utf-8"
            )
    return rows


def _rows_to_keep(file: Path, methods: Collection[str], seeds: Sequence[int], split: str) -> list[MiniRow]:
    """Read the rows of all other methods, which an earlier call measured with the same seeds on the same split."""
    known = (*METHODS, *LAST_BLOCKS)
    if not methods:
        raise UserError(f"--methods names no method; known: {', '.join(known)}")
    if unknown := sorted(set(methods) - set(known)):
        raise UserError(f"--methods: {brief(unknown[0])} is no method; known: {', '.join(known)}")
    anew = "leave --methods out to measure all"
    if not file.is_file():
        raise UserError(f"{file} does not exist, which holds the rows of the other methods; {anew}")
    content = read_json(file)
    try:
        rows = [MiniRow.model_validate(row) for row in content]
    except (TypeError, ValidationError) as error:
        raise UserError(f"{file} holds no rows of `mini-results`; {anew}") from error
    kept = [row for row in rows if row.method not in methods]
    for method in known:
        own = [row for row in kept if row.method == method]
        expected = set(seeds[:1] if method in LAST_BLOCKS else seeds if method in PUBLISHED else seeds[:FEW])
        if method not in methods and {(row.seed, row.split) for row in own} != {
            (seed, split) for seed in expected
        }:
            raise UserError(
                f"{file} does not hold the rows of {method} of split {split!r} and seeds {sorted(expected)}; {anew}"
            )
    return kept


def provenance_of(data: Data[Path]) -> str:
    """Name the data of the numbers, and the machine and date of the page."""
    machine = f"{os.cpu_count()} cores of {processor_name()}, torch {version('torch')}, {datetime.now(tz=UTC):%Y-%m-%d}"
    return f"data {data_hash(require_folder(data.prepared))[:12]}, on {machine}"


def row_of(model: Measured[Path], provenance: str) -> MiniRow:
    """Return the row of a model, with the commits that trained and scored it."""
    row = MiniRow.read(model.evaluation, model.cost)
    return row.model_copy(update={"made_from": source_of(model, provenance)})


def source_of(model: Measured[Path], provenance: str) -> str:
    """Name the commits that trained and scored a model, by their first digits, before the provenance."""
    trained, scored = (
        COMMIT.sub(r"\1", read_step_manifest(folder).commit or "unknown")
        for folder in (model.model, model.evaluation)
    )
    code = (
        f"commit {scored}"
        if trained == scored
        else f"trainings of commit {trained}, scored by commit {scored}"
    )
    return f"{code}, {provenance}"


def _around_table(readme: Path) -> tuple[str, str]:
    """Return the README's text before and after the table."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not (begin and end):
        raise UserError(
            f"{readme}: the markers {TABLE_BEGIN} and {TABLE_END} are missing; put them around the table"
        )
    return before, after


def _method(chain: Chain) -> str:
    return chain.recipe.removeprefix("mini_")


def folder_name(chain: Chain) -> str:
    """Name a chain's folder in the work folder."""
    tower = "-random" if chain.random_tower else ""
    return f"{_method(chain)}{tower}-s{chain.seed}-{chain.digest}"


def require_folder(path: Path | None) -> Path:
    """Return a folder that the data of a chain must have."""
    assert path is not None, "the data of a chain lack a folder"
    return path


_SETTINGS = (
    "inductive",
    "transductive_oracle",
    "transductive_strict",
    "supervised",
    "control_words",
    "control_random_tower",
    "training_free",
)


def _order(row: MiniRow) -> tuple[int, int, int]:
    return _SETTINGS.index(row.setting), (*METHODS, *LAST_BLOCKS).index(row.method), row.seed
