"""The mini benchmark's table: every method, setting and control over several seeds, with spread.

Each chain keeps its folders under a key of its configuration and data: an interrupted call goes on where it
stopped, and a changed recipe runs anew by itself.
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cascade_core.configs.recipes import recipe, recipe_names
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, write_json
from components.artifacts import data_hash, git_commit, input_hash
from components.results.rows import BenchmarkRow, benchmark_row, markdown_table
from components.steps.pretrain import read_accuracy
from components.tracking.store import SWITCH_VARIABLE
from pipelines.graphs.runner import Data
from pipelines.workstation.chains import Chain, run_chains
from pipelines.workstation.mini_page import PUBLISHED, page

METHODS = tuple(name.removeprefix("mini_") for name in recipe_names() if name.startswith("mini_"))
TABLE_BEGIN, TABLE_END = "<!-- mini results -->", "<!-- end of mini results -->"


def chains(seeds: Sequence[int], data: Data[Path]) -> list[Chain]:
    """List the chains, the longest first, so that processes end together."""
    published = [(f"mini_{method}", seed) for method in reversed(PUBLISHED) for seed in seeds]
    others = [(f"mini_{method}", seed) for method in METHODS if method not in PUBLISHED for seed in seeds]
    return [
        *(
            Chain(recipe, seed, data, self_trainings=("oracle", "strict"), control_words=True)
            for recipe, seed in published
        ),
        *(Chain(recipe, seed, data, random_tower=True) for recipe, seed in published),
        *(Chain(recipe, seed, data) for recipe, seed in others),
    ]


def run(
    *,
    data: Data[Path],
    seeds: Sequence[int],
    split: str,
    work: Path,
    markdown: Path,
    rows_json: Path,
    readme: Path | None = None,
    workers: int | None = None,
) -> list[BenchmarkRow]:
    """Run every chain, then write the table, its rows and its head into the README; return the rows.

    Raises:
        UserError: no seed is given, the README lacks the markers, the CLIP comes without its accuracies, or
            a step refuses its input.
    """
    if readme is not None:
        _around_table(readme)
    if not seeds:
        raise UserError("mini-results needs at least one seed, such as --seeds 0,1,2")
    clip = read_accuracy(_folder(data.clip))
    work.mkdir(parents=True, exist_ok=True)
    made_from = _made_from(data)  # before the files below are written, which would be changes to the commit
    wanted = chains(seeds, data)
    done = run_chains(
        wanted,
        [work / _key(chain) for chain in wanted],
        split=split,
        workers=workers,
        environment={SWITCH_VARIABLE: "off"},  # they end in one page, which names what they were made from
    )
    rows = sorted((benchmark_row(one.evaluation, one.cost) for chain in done for one in chain), key=_order)
    write_json(rows_json, [row.model_dump() for row in rows])
    with new_file(markdown) as path:
        path.write_text(page(rows, seeds, clip=clip, made_from=made_from))
    if readme is not None:
        before, after = _around_table(readme)
        head = [row for row in rows if row.method in PUBLISHED and not row.setting.startswith("control")]
        with new_file(readme) as path:
            path.write_text(f"{before}{TABLE_BEGIN}\n{markdown_table(head)}{TABLE_END}{after}")
    return rows


def _made_from(data: Data[Path]) -> str:
    """Name what decided the numbers, and where and when they were made."""
    machine = f"{os.cpu_count()} CPU cores, {datetime.now(tz=UTC):%Y-%m-%d}"
    return f"commit {git_commit() or 'unknown'}, data {data_hash(_folder(data.prepared))[:12]}, on {machine}"


def _around_table(readme: Path) -> tuple[str, str]:
    before, begin, rest = readme.read_text().partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not (begin and end):
        raise UserError(
            f"{readme}: the markers {TABLE_BEGIN} and {TABLE_END} are missing; put them around the table"
        )
    return before, after


def _key(chain: Chain) -> str:
    data, method = chain.data, chain.recipe.removeprefix("mini_")
    config = recipe(chain.recipe, {}, seed=chain.seed).model_dump_json()
    hashes = [input_hash(_folder(path)) for path in (data.text, data.clip)]
    inputs = "".join(hashes) + data_hash(_folder(data.prepared))
    digest = hashlib.sha256((config + inputs).encode()).hexdigest()[:12]
    tower = "-random" if chain.random_tower else ""
    return f"{method}{tower}-s{chain.seed}-{digest}"


def _folder(path: Path | None) -> Path:
    assert path is not None, "the data of a chain lack a folder"
    return path


_SETTINGS = (
    "inductive",
    "transductive_oracle",
    "transductive_strict",
    "control_words",
    "control_random_tower",
)


def _order(row: BenchmarkRow) -> tuple[int, int, int]:
    return _SETTINGS.index(row.setting), METHODS.index(row.method), row.seed
