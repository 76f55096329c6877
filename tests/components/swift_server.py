"""OpenStack Swift with its S3 interface, in four processes of the tests' own: a store that checks signatures."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
import requests

REPOSITORY = Path(__file__).parents[2]
PROGRAMS_VARIABLE, PROGRAMS = "CASCADE_SWIFT", REPOSITORY / "build" / "swift" / "bin"
"""Where Swift's programs are: in an environment of its own, for it is no dependency of this project."""
BUCKET, START_SECONDS = "bucket", 60
RINGS = {"account": 6, "container": 6, "object": 6}

SWIFT = """
[swift-hash]
swift_hash_path_suffix = {suffix}
[storage-policy:0]
name = only
default = yes
"""
STORAGE = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """
[DEFAULT]
swift_dir = {folder}
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache s3api tempauth copy slo dlo symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_team_member = {secret} .admin
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
"""


@contextmanager
def swift_store(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start one with an empty bucket, point the environment to it, and give its address; skip without Swift."""
    programs = Path(os.environ.get(PROGRAMS_VARIABLE) or PROGRAMS)
    if not (programs / "swift-proxy-server").is_file():
        pytest.skip(f"no Swift in {programs}; docs/storage.md says how to get it")
    ports = _free_ports("proxy", *RINGS)
    secret = secrets.token_urlsafe(16)
    _write_settings(folder, ports, secret)
    _build_rings(programs, folder, ports)
    endpoint = f"http://127.0.0.1:{ports['proxy']}"
    with ExitStack() as running:
        for kind in ports:
            running.enter_context(_process(programs / f"swift-{kind}-server", folder / f"{kind}.conf"))
        _wait(endpoint, folder)
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "team:member",
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield endpoint


def _free_ports(*kinds: str) -> dict[str, int]:
    with ExitStack() as held:
        sockets = {kind: held.enter_context(socket.socket()) for kind in kinds}
        for one in sockets.values():
            one.bind(("127.0.0.1", 0))
        return {kind: one.getsockname()[1] for kind, one in sockets.items()}


def _write_settings(folder: Path, ports: dict[str, int], secret: str) -> None:
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT.format(suffix=secrets.token_hex(8)))
    for kind, port in ports.items():
        text = PROXY if kind == "proxy" else STORAGE
        (folder / f"{kind}.conf").write_text(text.format(folder=folder, port=port, kind=kind, secret=secret))


def _build_rings(programs: Path, folder: Path, ports: dict[str, int]) -> None:
    """Say that every account, container and object lies once, on the one disk there is."""
    for kind, power in RINGS.items():
        builder = [programs / "swift-ring-builder", folder / f"{kind}.builder"]
        device = f"r1z1-127.0.0.1:{ports[kind]}/disk"
        for command in (["create", str(power), "1", "0"], ["add", device, "1"], ["rebalance"]):
            subprocess.run([*builder, *command], check=True, capture_output=True, cwd=folder)


@contextmanager
def _process(program: Path, settings: Path) -> Iterator[None]:
    with settings.with_suffix(".log").open("w") as log:
        process = subprocess.Popen([program, settings, "verbose"], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(endpoint: str, folder: Path) -> None:
    begin = time.monotonic()
    while True:
        try:
            if requests.get(f"{endpoint}/healthcheck", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        if time.monotonic() - begin > START_SECONDS:
            pytest.fail("\n".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log"))))
        time.sleep(0.2)
