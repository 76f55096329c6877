"""The folder in which a training works until it ends: it survives a kill, and only one training writes it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_core.runtime.files import put_back, put_in_place
from components.storage.lease import Lease


@contextmanager
def unfinished_folder(
    out: Path, *, lease: Lease, resume: bool, same: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield a folder beside `out` that replaces it when the block succeeds.

    If the block raises or the process is killed, the folder stays for the next call to resume from, and an earlier
    `out` is unchanged. Without `resume` this starts with an empty folder. The caller holds the lease of `out`; if it
    had to wait for it, this takes the result of the training before if that is the `same`.

    Raises:
        UserError: another training took the lease over.
    """
    put_back(out)
    working, dropped = (out.with_name(f".{out.name}.{state}") for state in ("unfinished", "dropped"))
    if dropped.exists():
        shutil.rmtree(dropped)
    if working.exists() and not resume:
        working.rename(dropped)  # the name first: a kill must not leave half a training to resume from
        shutil.rmtree(dropped)
    working.mkdir(exist_ok=True)
    if lease.waited and out.exists() and same(out):
        shutil.copytree(out, working, dirs_exist_ok=True)
    for leftover in working.glob(".*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    yield working
    lease.check()
    put_in_place(working, out)
