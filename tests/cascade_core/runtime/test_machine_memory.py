"""The memory of a process: what its container allows, or what the machine has."""

from pathlib import Path

import psutil
import pytest

from cascade_core.runtime.machine_memory import usable_memory

GIB = 2**30
MACHINE = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"memory.max": f"{GIB}"}, "0::/", GIB),
        ({"memory.max": "max"}, "0::/", MACHINE),
        ({"memory.max": f"{2**62}"}, "0::/", MACHINE),
        ({"pods/one/memory.max": f"{2 * GIB}", "pods/memory.max": f"{GIB}"}, "0::/pods/one", GIB),
        ({"pods/two/memory.max": f"{GIB}"}, "0::/pods/one", MACHINE),
        ({"memory/a/memory.limit_in_bytes": f"{GIB}"}, "5:memory:/a", GIB),
        ({"memory/a/memory.limit_in_bytes": f"{GIB}"}, "5:cpu,cpuacct:/a", MACHINE),
        ({}, None, MACHINE),
    ],
)
def test_the_limit_of_a_container_is_the_memory(
    tmp_path: Path, files: dict[str, str], membership: str | None, expected: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    if membership is not None:
        (tmp_path / "membership").write_text(membership + "\n")
    assert usable_memory(tmp_path, tmp_path / "membership") == expected
