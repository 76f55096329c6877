"""Give damaged files to every reader: each ends in a value or one sentence, in time, in little memory, and writes nowhere else.

`python -m tests.reliability.fuzzing` fuzzes all readers, each in a process of its own, and prints a table; with `--reader
NAME` that one in this process. A case is known by its number, which gives the same bytes again.
"""

import argparse
import faulthandler
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from cascade_core.errors import UserError
from tests.reliability import readers_of_data, readers_of_objects, readers_of_results, readers_of_weights
from tests.reliability.reader import Reader

READERS: dict[str, Reader] = {
    **readers_of_data.READERS,
    **readers_of_objects.READERS,
    **readers_of_weights.READERS,
    **readers_of_results.READERS,
}
CASES = 2_000
SECONDS, BYTES, LETTERS = 10, 2**30, 4_000
"""The most that a case may take of the processor's time and of memory, and the longest sentence."""
WATCHDOG = 90
"""Seconds after which the process of a case ends that does not return, also within a library written in C."""
ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    """What came of many cases."""

    cases: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    bytes_taken: int = 0
    defects: list[str] = field(default_factory=list)


_EVENTS = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.system", "os.exec",
    "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo",
}  # fmt: skip
_watched: list[tuple[str, list[str]]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what the code under test writes outside the folder it reads, which programs it starts and what it connects to."""
    if not _watched:
        return
    folder, seen = _watched[-1]
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (writes or event in _EVENTS) and not str(arguments[0]).startswith(folder):
        seen.append(f"{event} {arguments[0]!r}")


sys.addaudithook(_watch)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Yield the list of writes, programs and connections outside a folder during the block."""
    _watched.append((str(folder), []))
    try:
        yield _watched[-1][1]
    finally:
        _watched.pop()


def fuzz(
    name: str, cases: int, *, start: int = 0, progress: Path | None = None, limited: bool = False
) -> Outcome:
    """Read damaged files; with `progress`, write the number of each case to that file before it is read.

    With `limited`, memory is limited for the rest of the process as soon as the reader has read its good files.
    """
    reader, outcome = READERS[name], Outcome()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "reader"
        write(folder, reader.files(Random(0)))
        read(reader, folder)  # What is imported late is imported now.
        if limited:
            _limit_memory()
        peak = _peak()
        for number in range(start, start + cases):
            random = Random(zlib.crc32(repr((name, number)).encode()))
            damaged, files = reader.damaged(random)
            write(folder, files)
            if progress:
                progress.write_text(str(number))
                faulthandler.dump_traceback_later(WATCHDOG, exit=True)
            began = time.process_time()
            kind, defect = read(reader, folder)
            took = time.process_time() - began
            if strays := [path for path in Path(scratch).iterdir() if path != folder]:
                defect = f"wrote {strays}; {defect}"
            outcome.cases += 1
            outcome.kinds[kind] += 1
            outcome.slowest = max(outcome.slowest, took)
            outcome.bytes_taken = max(outcome.bytes_taken, _peak() - peak)
            if took > SECONDS:
                defect = f"took {took:.0f} s; {defect}"
            if defect:
                outcome.defects.append(f"{name} {number}, {damaged}: {defect}")
        faulthandler.cancel_dump_traceback_later()
    if outcome.bytes_taken > BYTES:
        outcome.defects.append(f"{name}: took {outcome.bytes_taken:,} bytes")
    return outcome


def read(reader: Reader, folder: Path) -> tuple[str, str]:
    """Read once; return the kind of the outcome, and the defect if there is one."""
    defect, kind = "", "value"
    with watched(folder) as seen:
        try:
            reader.read(folder)
        except UserError as error:
            kind = "sentence"
            try:
                str(error).encode()
            except UnicodeEncodeError:
                defect = f"no terminal can print {str(error)[:200]!r}"
            if len(str(error)) > LETTERS:
                defect = f"a sentence of {len(str(error))} letters: {str(error)[:200]}"
        except Exception:
            kind, defect = "trace", traceback.format_exc()[-1500:]
    return kind, f"did outside its folder: {seen[:3]}; {defect}" if seen else defect


def fuzz_apart(name: str, cases: int, *, start: int = 0) -> tuple[Outcome, int]:
    """Fuzz a reader in a process of its own; return the outcome and the seconds. A crash or a hang is a defect."""
    with tempfile.TemporaryDirectory() as scratch:
        number = Path(scratch) / "number"
        command = [sys.executable, "-m", "tests.reliability.fuzzing", "--reader", name, "--cases", str(cases)]
        command += ["--start", str(start), "--progress", str(number)]
        began, environment = time.monotonic(), {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        seconds = round(time.monotonic() - began)
        if done.returncode == 0:
            return Outcome(**json.loads(done.stdout.splitlines()[-1])), seconds
        last = int(number.read_text()) if number.is_file() else start
        crash = f"{name} {last}: the process ended with {done.returncode}: {done.stderr[-1500:]}"
        return Outcome(cases=last - start, defects=[crash]), seconds


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into an empty folder in the place of `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _limit_memory() -> None:
    """Let what this process may map grow by the limit of a case, so that an allocation fails before it harms."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _table(cases: int, names: list[str]) -> int:
    """Fuzz readers one after another, print a row for each and the defects, and return the exit status."""
    print(
        "| reader | cases | value | sentence | trace | slowest case | memory |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    defects, total = [], 0
    for name in names:
        outcome, _ = fuzz_apart(name, cases)
        kinds = " | ".join(str(outcome.kinds.get(kind, 0)) for kind in ("value", "sentence", "trace"))
        limits = f"{outcome.slowest:.2f} s | {outcome.bytes_taken / 2**20:.0f} MiB"
        print(f"| {name} | {outcome.cases:,} | {kinds} | {limits} |", flush=True)
        defects += outcome.defects
        total += outcome.cases
    print(f"{total:,} cases of {len(names)} readers, {len(defects)} defects", *defects[:200], sep="\n")
    return int(bool(defects))


def main() -> int:
    """Fuzz what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *READERS], metavar="READER")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--reader", choices=READERS, help="fuzz this one in this process, and print JSON")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--progress", type=Path)
    options = parser.parse_args()
    if options.reader is None:
        return _table(options.cases, options.names or list(READERS))
    warnings.simplefilter("ignore")
    outcome = fuzz(
        options.reader, options.cases, start=options.start, progress=options.progress, limited=True
    )
    print(json.dumps(vars(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
