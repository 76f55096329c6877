"""The lease on a training's folder: who waits, who is refused, who takes over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.storage.lease import LEASE_SECONDS, FolderInUseError, Lease, leased

HOLD = """
import sys, time
from pathlib import Path
from components.storage.lease import leased
with leased(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "out"


@pytest.fixture
def holder(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """Give another process that holds the lease until its input ends."""
    command = [sys.executable, "-c", HOLD, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def _marker_of_another_host(out: Path, *, age: float) -> Path:
    """Leave the lease of a holder elsewhere, renewed `age` seconds ago."""
    marker = out.with_name(f".{out.name}.lease")
    with leased(out):
        text = marker.read_text()
    marker.write_text(
        "\n".join("host=pod-7" if line.startswith("host=") else line for line in text.split("\n"))
    )
    renewed = time.time() - age
    os.utime(marker, (renewed, renewed))
    return marker


def supersede(out: Path) -> Path:
    """Take over the lease of `out` as a training on another machine does, and return its marker."""
    marker = out.with_name(f".{out.name}.lease")
    text = marker.read_text()
    marker.unlink()
    marker.write_text(text.replace("token=", "token=0"))
    return marker


def test_a_second_training_is_refused_at_once(out: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(FolderInUseError, match=rf"out is in use.*process {holder.pid} on .*renewed \d s ago"):
        Lease(out).acquire(wait=False)


def test_a_waiting_training_follows_the_holder(out: Path, holder: "subprocess.Popen[str]") -> None:
    assert holder.stdin is not None
    holder.stdin.close()
    with leased(out, wait=True) as lease:
        lease.check()
    assert list(out.parent.iterdir()) == []


def test_a_killed_holder_loses_the_lease_at_once(out: Path, holder: "subprocess.Popen[str]") -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with leased(out) as lease:
        lease.check()


def test_an_expired_lease_is_taken_over(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    _marker_of_another_host(out, age=LEASE_SECONDS + 10)
    with leased(out) as lease:
        lease.check()
    assert "taking over the lease of process" in caplog.text and "on pod-7" in caplog.text


@pytest.mark.parametrize("age", [10.0, -3600.0], ids=["renewed lately", "clock set back"])
def test_a_lease_from_elsewhere_is_respected(out: Path, age: float) -> None:
    _marker_of_another_host(out, age=age)
    with pytest.raises(FolderInUseError, match="on pod-7"):
        Lease(out).acquire(wait=False)


def test_a_superseded_holder_stops_before_its_next_renewal(out: Path) -> None:
    with leased(out) as lease:
        lease.check()
        marker = supersede(out)
        with pytest.raises(FolderInUseError, match="another training took this folder over"):
            lease.check()
    assert marker.exists()  # the successor's


def test_a_lease_that_was_removed_is_lost(out: Path) -> None:
    with leased(out) as lease:
        out.with_name(f".{out.name}.lease").unlink()
        with pytest.raises(FolderInUseError, match="another training took this folder over"):
            lease.check()
