"""The memory of a process: what its container allows, or what the machine has."""

from pathlib import Path

import psutil
import pytest

from cascade_core.runtime.machine_memory import usable_memory
from tests.cascade_core.runtime.control_groups import write_groups

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
    assert usable_memory(*write_groups(tmp_path, files, membership)) == expected
