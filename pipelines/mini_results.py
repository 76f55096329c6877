"""The mini benchmark's table: every method, setting and control over several seeds, with spread.

A chain is one training with all that hangs on it. Chains run side by side, one thread each, and each keeps
its folders under a key of its configuration and data: an interrupted call goes on where it stopped, and a
changed recipe runs anew by itself.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from cascade_core.files import new_file, write_json
from cascade_core.recipes import recipe
from components.artifacts import data_hash, git_commit, input_hash
from components.benchmark import BenchmarkRow, benchmark_row, markdown_table
from components.progress import progress
from pipelines.mini_page import PUBLISHED, page

METHODS = (
    "zegclip",
    "cascade_clip",
    "naive_fusion",
    "zegclip_no_rd",
    "zegclip_no_prompts",
    "decoder_ce",
    "baseline",
    "linear",
)
TABLE_BEGIN, TABLE_END = "<!-- mini results -->", "<!-- end of mini results -->"


@dataclass(frozen=True)
class Chain:
    """One training and what is evaluated of it."""

    method: str
    seed: int
    random_tower: bool = False


@dataclass(frozen=True)
class Sources:
    """The folders of the steps that come before training."""

    prepared: Path
    splits: Path
    text: Path
    clip: Path


def chains(seeds: Sequence[int]) -> list[Chain]:
    """List the chains, the longest first, so that processes end together."""
    longest = [Chain(method, seed) for method in reversed(PUBLISHED) for seed in seeds]
    towers = [Chain(method, seed, random_tower=True) for method in reversed(PUBLISHED) for seed in seeds]
    others = [Chain(method, seed) for method in METHODS if method not in PUBLISHED for seed in seeds]
    return [*longest, *towers, *others]


def run(
    *,
    sources: Sources,
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
        ValueError: no seed is given, the README lacks the markers, or a step refuses its input.
    """
    if readme is not None:
        _around_table(readme)
    if not seeds:
        raise ValueError("mini-results needs at least one seed, such as --seeds 0,1,2")
    work.mkdir(parents=True, exist_ok=True)
    # Chains neither log to MLflow nor share a thread pool: they are many, and run side by side.
    os.environ["CASCADE_TRACKING"] = "off"
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = chains(seeds)
    found: dict[Chain, list[BenchmarkRow]] = {}
    with (
        ProcessPoolExecutor(max_workers=workers or os.cpu_count(), mp_context=get_context("spawn")) as pool,
        progress("mini results", len(wanted)) as bar,
    ):
        running = {pool.submit(run_chain, chain, sources, split, work): chain for chain in wanted}
        for done, future in enumerate(as_completed(running), start=1):
            found[running[future]] = future.result()
            bar.advance(done, f"{running[future].method} seed {running[future].seed}")
    rows = sorted((row for listed in found.values() for row in listed), key=_order)
    write_json(rows_json, [row.model_dump() for row in rows])
    with new_file(markdown) as path:
        path.write_text(page(rows, seeds, made_from=_made_from(sources)))
    if readme is not None:
        before, after = _around_table(readme)
        head = [row for row in rows if row.method in PUBLISHED and not row.setting.startswith("control")]
        with new_file(readme) as path:
            path.write_text(f"{before}{TABLE_BEGIN}\n{markdown_table(head)}{TABLE_END}{after}")
    return rows


def _made_from(sources: Sources) -> str:
    """Name what decided the numbers, and where and when they were made."""
    machine = f"{os.cpu_count()} CPU cores, {datetime.now(tz=UTC):%Y-%m-%d}"
    return f"commit {git_commit() or 'unknown'}, data {data_hash(sources.prepared)[:12]}, on {machine}"


def _around_table(readme: Path) -> tuple[str, str]:
    before, begin, rest = readme.read_text().partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not (begin and end):
        raise ValueError(
            f"{readme}: the markers {TABLE_BEGIN} and {TABLE_END} are missing; put them around the table"
        )
    return before, after


def run_chain(chain: Chain, sources: Sources, split: str, work: Path) -> list[BenchmarkRow]:
    """Train and evaluate one chain, skipping what its folder holds already."""
    from components import evaluate, profile, self_train, train

    folder = work / _key(chain, sources)
    prepared, splits, text = sources.prepared, sources.splits, sources.text
    trained = folder / "train"
    if not trained.exists():
        train.run(
            prepared=prepared,
            splits=splits,
            text=text,
            clip=None if chain.random_tower else sources.clip,
            recipe=f"mini_{chain.method}",
            overrides={},
            seed=chain.seed,
            out=trained,
        )
    profiled = folder / "profile"
    if not profiled.exists():
        profile.run(checkpoint=trained / "final", text=text, out=profiled)

    rows = []
    for name, checkpoint, control in _evaluations(chain, trained, folder):
        if not checkpoint.exists():
            self_train.run(
                prepared=prepared,
                splits=splits,
                text=text,
                trained=trained,
                protocol="oracle" if name == "transductive_oracle" else "strict",
                overrides={},
                out=checkpoint.parent,
            )
        out = folder / f"evaluate-{name}-{split}"
        if not out.exists():
            evaluate.run(
                prepared=prepared,
                splits=splits,
                text=text,
                checkpoint=checkpoint,
                split=split,
                control=control,
                out=out,
            )
        rows.append(benchmark_row(out, profiled))
    return rows


def _evaluations(
    chain: Chain, trained: Path, folder: Path
) -> Iterator[tuple[str, Path, Literal["words", "random_tower"] | None]]:
    if chain.random_tower:
        yield "control_random_tower", trained / "final", "random_tower"
        return
    yield "inductive", trained / "final", None
    if chain.method in PUBLISHED:
        yield "transductive_oracle", folder / "self_train-oracle" / "final", None
        yield "transductive_strict", folder / "self_train-strict" / "final", None
        yield "control_words", trained / "final", "words"


def _key(chain: Chain, sources: Sources) -> str:
    config = recipe(f"mini_{chain.method}", {}, seed=chain.seed).model_dump_json()
    inputs = "".join(input_hash(path) for path in (sources.text, sources.clip)) + data_hash(sources.prepared)
    digest = hashlib.sha256((config + inputs).encode()).hexdigest()[:12]
    tower = "-random" if chain.random_tower else ""
    return f"{chain.method}{tower}-s{chain.seed}-{digest}"


_SETTINGS = (
    "inductive",
    "transductive_oracle",
    "transductive_strict",
    "control_words",
    "control_random_tower",
)


def _order(row: BenchmarkRow) -> tuple[int, int, int]:
    return _SETTINGS.index(row.setting), METHODS.index(row.method), row.seed
