"""All rows about the speed on a CPU, one after the other, as one Markdown table: `python -m benchmarks.table`.

Each row is measured in a process of its own and stored in a folder (`build/benchmarks`), so that a stopped run goes on
with the next row; rows of another commit, machine, torch or number of threads are measured again. `--rows` takes the
names that `--list` prints, also as patterns: `--rows 'training*fp32' text-vectors`. A row in bfloat16 reads "not run" on a
processor without instructions for it.
"""

import json
import multiprocessing
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks import evaluation, inference, labelling, text_vectors, training_step, workflow_run
from benchmarks.cases import METHODS
from benchmarks.compare import Comparison
from benchmarks.machine import NO_BF16, has_bf16, load, machine
from benchmarks.options import PRECISIONS, parsed, parser_of
from cascade_core.configs.config import Precision

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "build" / "benchmarks"


@dataclass(frozen=True)
class Figures:
    """What a row shows: a ratio or share with its seconds, and the share of the machine's speed where it is known."""

    value: str
    share: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: chooses the row, and names its file.
        case: says what is measured.
        command: measures this row alone.
        measure: takes the number of rounds.
    """

    name: str
    case: str
    command: str
    measure: Callable[[int], Figures]
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Result:
    """A measured row, with the machine, commit, date and load that it was measured on."""

    value: str
    share: str
    machine: str
    commit: str
    date: str
    load: str


def rows() -> list[Row]:
    """Return the table's rows, in order."""
    return [*_training(), *_inference(), *_others()]


def _training() -> list[Row]:
    cases = product((156, 20, 15), METHODS, PRECISIONS)
    return [
        Row(
            f"training-{method}-{classes}-{precision}",
            f"training step, {method}, {classes} classes, batch {training_step.BATCH}: ours {precision} / plain",
            "python -m benchmarks.training_step --no-memory "
            f"--method {method} --classes {classes} --precision {precision}",
            partial(_of_training, method, classes, precision),
            precision,
        )
        for classes, method, precision in cases
    ]


def _inference() -> list[Row]:
    cases = product((171, 20), inference.SIZES.items(), METHODS, PRECISIONS)
    return [
        Row(
            f"{size}-{method}-{classes}-{precision}",
            f"{size} {width} x {height}, {classes} classes, {method}: ours {precision} / plain",
            "python -m benchmarks.inference --no-memory "
            f"--size {size} --method {method} --classes {classes} --precision {precision}",
            partial(_of_inference, (height, width), method, classes, precision),
            precision,
        )
        for classes, (size, (height, width)), method, precision in cases
    ]


def _others() -> list[Row]:
    height, width = labelling.SIZE
    return [
        Row(
            "labelling",
            f"{width} x {height}, {inference.CLASSES} classes: labelling with tiles of its own / of 16 x 32",
            "python -m benchmarks.labelling --seen-penalty 0.1",
            _of_labelling,
        ),
        Row(
            "text-vectors",
            "300 texts through the tower: cut after their end / whole",
            "python -m benchmarks.text_vectors",
            _of_text_vectors,
        ),
        *[
            Row(
                f"evaluation-{precision}",
                f"evaluation, {evaluation.CLASSES} classes, {precision}: share of time outside the model",
                f"python -m benchmarks.evaluation --precision {precision}",
                partial(_of_evaluation, precision),
                precision,
            )
            for precision in PRECISIONS
        ],
        Row(
            "workflow",
            "the workflow, outputs removed: stages side by side / one after the other with one thread",
            "python -m benchmarks.workflow_run",
            _of_workflow,
        ),
    ]


def _figures(compared: Comparison) -> Figures:
    return Figures(compared.ratio(), compared.share_of_peak())


def _of_training(method: str, classes: int, precision: Precision, rounds: int) -> Figures:
    return _figures(training_step.measure(method, classes, precision, rounds=rounds))


def _of_inference(
    size: tuple[int, int], method: str, classes: int, precision: Precision, rounds: int
) -> Figures:
    return _figures(inference.measure(size, method, classes, precision, rounds=rounds))


def _of_labelling(rounds: int) -> Figures:
    labelled = labelling.measure(0.1, rounds=rounds)
    return Figures(f"{labelled.ratio()}; {labelled.share()}; {labelled.different} labels differ")


def _of_text_vectors(rounds: int) -> Figures:
    return Figures(text_vectors.measure(rounds=rounds).ratio())


def _of_evaluation(precision: Precision, rounds: int) -> Figures:
    return Figures(evaluation.measure(precision, rounds=rounds).text())


def _of_workflow(rounds: int) -> Figures:
    parallel, sequential = workflow_run.measure(rounds=rounds)
    return Figures(f"{parallel / sequential:.2f} ({parallel:.0f} s / {sequential:.0f} s)")


def chosen(patterns: Sequence[str]) -> list[Row]:
    """Return the rows whose names match one of the patterns; without patterns all.

    Raises:
        SystemExit: a pattern matches no row.
    """
    every = rows()
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for row in every):
            raise SystemExit(f"--rows {pattern}: no row has such a name; --list prints them")
    return [row for row in every if not patterns or any(fnmatch(row.name, p) for p in patterns)]


def result_of(row: Row, folder: Path, *, rounds: int, again: bool) -> Result:
    """Return a row's result, from the folder if it has one of this machine and commit; else measure and store it."""
    file = folder / f"{row.name}.json"
    here, commit = machine(), _commit()
    if file.is_file() and not again:
        known = Result(**json.loads(file.read_text()))
        if (known.machine, known.commit) == (here, commit):
            return known
    figures = Figures(NO_BF16)
    if row.precision != "bf16" or has_bf16():
        figures = _in_a_process(partial(row.measure, rounds))
    result = Result(figures.value, figures.share, here, commit, f"{datetime.now(tz=UTC):%Y-%m-%d}", load())
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return result


def _in_a_process(measure: Callable[[], Figures]) -> Figures:
    """Measure in a fresh process with as many threads."""
    with ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(torch.get_num_threads(),),
    ) as pool:
        return pool.submit(measure).result()


def _commit() -> str:
    """Return the commit of the working tree, marked if files of it were edited."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def markdown(measured: Sequence[tuple[Row, Result]]) -> str:
    """Return the table, below a line for each machine and commit."""
    heads = dict.fromkeys(f"{result.machine}, commit {result.commit}" for _, result in measured)
    lines = [
        *heads,
        "",
        "| case | command | measured | share of the matrix peak | date, load |",
        "|---|---|---|--:|---|",
    ]
    lines += [
        f"| {row.case} | `{row.command}` | {result.value} | {result.share} | {result.date}, {result.load} |"
        for row, result in measured
    ]
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="NAME", help="rows by name or pattern; default: all"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--again", action="store_true", help="measure rows that have a result, too")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the results, a file for each row")
    options = parsed(parser)
    wanted = chosen(options.rows)
    if options.list:
        print("\n".join(row.name for row in wanted))
        return
    measured = []
    for row in wanted:
        result = result_of(row, options.folder, rounds=options.rounds, again=options.again)
        print(f"{row.name}: {result.value}  {result.share}  {result.load}", flush=True)
        measured.append((row, result))
    print("\n" + markdown(measured))


if __name__ == "__main__":
    main()
