"""A lease on what one process writes, such as the folder of a training: two never write it at a time.

The holder renews its lease every minute. A holder that died on this machine loses it at once; a holder elsewhere,
such as an evicted pod, loses it five minutes after the last renewal.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from cascade_core.errors import UserError

log = logging.getLogger(__name__)

LEASE_SECONDS, RENEWAL_SECONDS = 300.0, 60.0


class FolderInUseError(UserError):
    """Another process holds the lease of the folder."""


class Lease:
    """The lease of one process on `out`; `work` is what the process does, as errors name it."""

    def __init__(self, out: Path, work: str = "training") -> None:
        self.out, self.work = out, work
        self.waited = False
        self._lock = SoftFileLease(
            out.with_name(f".{out.name}.lease"),
            lease_duration=LEASE_SECONDS,
            heartbeat_interval=RENEWAL_SECONDS,
            thread_local=False,
        )

    @property
    def holder(self) -> str:
        """Process, host and time of the last renewal, as errors and warnings name them."""
        owner = self._lock.owner
        process = "an unknown process" if owner is None else f"process {owner.pid} on {owner.hostname}"
        return f"{process}, renewed {self._age():.0f} s ago"

    def acquire(self, *, wait: bool) -> None:
        """Take the lease; with `wait`, wait until the holder releases it or lets it expire, and note it in `waited`.

        Raises:
            FolderInUseError: without `wait`, another process holds the lease.
        """
        while True:
            if self._age() > LEASE_SECONDS:
                log.warning("%s: taking over the lease of %s", self.out, self.holder)
                self._lock.force_break()
            patient = wait and self.waited  # the first try is short, so that a wait is logged at once
            try:
                self._lock.acquire(
                    timeout=RENEWAL_SECONDS if patient else 0, poll_interval=1.0 if patient else 0.05
                )
                return
            except Timeout as error:
                if not wait:
                    raise FolderInUseError(
                        f"{self.out} is in use: another {self.work} writes it ({self.holder}); wait for it, stop it, or "
                        "give another --out"
                    ) from error
                self.waited = True
                log.info("%s: waiting for the %s of %s", self.out, self.work, self.holder)

    def release(self) -> None:
        """Give the lease back."""
        self._lock.release()

    def check(self) -> None:
        """Check that the lease is still held; call it before each write into the folder.

        This reads the lease itself, since a process that was suspended for minutes goes on before its next renewal.

        Raises:
            FolderInUseError: another process took the lease over, because it was not renewed for five minutes.
        """
        owner = self._lock.owner
        if self._lock.compromise is not None or owner is None or owner.token != self._lock.token:
            raise FolderInUseError(
                f"{self.out}: another {self.work} took this folder over ({self.holder}); this one stops"
            )

    def _age(self) -> float:
        """Give the seconds since the last renewal; 0 without a lease, or if the clock was set back."""
        try:
            renewed = Path(self._lock.lock_file).stat().st_mtime
        except FileNotFoundError:
            return 0.0
        return max(0.0, time.time() - renewed)


@contextmanager
def leased(out: Path, *, wait: bool = False, work: str = "training") -> Iterator[Lease]:
    """Hold the lease of `out` during the block; `work` is what the process does, as errors name it.

    Raises:
        FolderInUseError: without `wait`, another process holds it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(out, work)
    lease.acquire(wait=wait)
    try:
        yield lease
    finally:
        lease.release()
