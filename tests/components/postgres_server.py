"""A PostgreSQL server of the tests' own, from Debian's programs, that they stop and start at will."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")
ROLE = "mlflow"


class PostgresServer:
    """A cluster in a folder that is deleted in the end; it asks for a password on a loopback port."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self.password = secrets.token_urlsafe(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        note = folder / "password"
        note.write_text(self.password)
        if _user():
            shutil.chown(folder, _user())
            shutil.chown(note, _user())
        self._do(
            "initdb",
            f"--username={ROLE}",
            f"--pwfile={note}",
            "--auth=scram-sha-256",
            "--no-sync",
            "--locale=C.UTF-8",
        )

    def uri(self, database: str) -> str:
        return f"postgresql+psycopg2://{ROLE}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {self.port} -k {self._folder}"
        self._do("pg_ctl", "start", "--wait", f"--options={settings}", f"--log={self._folder / 'log'}")

    def stop(self) -> None:
        self._do("pg_ctl", "stop", "--wait", "--mode=fast")

    def create(self, database: str) -> str:
        """Make an empty database and give its address."""
        where = ("--host=127.0.0.1", f"--port={self.port}", f"--username={ROLE}")
        self._do("createdb", *where, database)
        return self.uri(database)

    def _do(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.defpath, "PGDATA": str(self._folder / "data"), "PGPASSWORD": self.password}
        with (self._folder / "said").open("w") as said:
            done = subprocess.run(
                [self._programs / program, *arguments],
                user=_user(),
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,  # a file: the server keeps it open
                stderr=subprocess.STDOUT,
                check=False,
                timeout=120,
            )
        assert done.returncode == 0, (self._folder / "said").read_text()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start one; skip the tests where PostgreSQL is not installed."""
    programs = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name))
    if not programs:
        pytest.skip(f"no PostgreSQL in {DEBIAN}; docs/mlflow.md says how to get it")
    # Not below pytest's folder, which the server's own user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        server = PostgresServer(programs[-1], folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    return "postgres" if os.geteuid() == 0 else None
