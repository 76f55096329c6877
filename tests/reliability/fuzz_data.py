"""Give damaged files to a reader: it must return or raise a `UserError`, in time, and write only to the file's folder.

`python -m tests.reliability.fuzz_data READER COUNT [SEED]` does so with limited memory.
"""

import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from cascade_core.errors import UserError
from tests.reliability.data_readers import READERS, Reader

SECONDS, MEMORY = 30, 2**30
"""Limits on a case, which may start a child process, and on the memory that reading adds."""
LONGEST = 5_000
"""Limit on the characters of a message, which may quote a wrong value, but not all of a long one."""


class HangError(Exception):
    """A case took too long."""


def failures(reader: Reader, numbers: range, *, seed: int = 0, names: Path | None = None) -> list[str]:
    """Read one damaged file for each number, and return a description of each failure; `names` is a file for the current number."""
    bad = []
    with tempfile.TemporaryDirectory() as parent:
        for number in numbers:
            content = reader.damage(Random(f"{seed}-{number}"))
            if names is not None:
                names.write_text(str(number))
            if fault := _fault(reader, content, Path(parent)):
                bad.append(f"case {number} of seed {seed}: {fault}")
    return bad


def _fault(reader: Reader, content: bytes, parent: Path) -> str | None:
    folder = parent / "case"
    folder.mkdir()
    (folder / reader.file).write_bytes(content)
    try:
        with _deadline():
            reader.read(folder / reader.file)
    except UserError as error:
        if len(str(error)) > LONGEST:
            return f"a message of {len(str(error))} characters"
    except Exception:
        return traceback.format_exc()[-3000:]
    finally:
        shutil.rmtree(folder)
    strays = list(parent.iterdir())
    return f"wrote {strays}" if strays else None


@contextmanager
def _deadline() -> Iterator[None]:
    def late(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(name: str, count: str, seed: str = "0") -> int:
    """Fuzz a reader, print the failures and return the exit status."""
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    number = Path(os.environ["NUMBER_FILE"]) if "NUMBER_FILE" in os.environ else None
    bad = failures(READERS[name], range(int(count)), seed=int(seed), names=number)
    print("\n".join(bad))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
