"""The memory of a process: what its container allows, or what the machine has."""

from pathlib import Path

import psutil
import pytest

from cascade_core.runtime.machine_memory import free_memory, usable_memory
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


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        (
            {"memory.max": "5000", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 700"},
            "0::/",
            2700,
        ),
        ({"memory.max": "5000", "memory.current": "6000"}, "0::/", 0),
        ({"a/memory.max": "max", "memory.max": "5000", "memory.current": "4000"}, "0::/a", 1000),
        (
            {
                "memory/a/memory.limit_in_bytes": "5000",
                "memory/a/memory.usage_in_bytes": "4000",
                "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 20",
            },
            "5:memory:/a",
            1020,
        ),
    ],
)
def test_a_full_container_leaves_no_memory_but_cached_files_do(
    tmp_path: Path, files: dict[str, str], membership: str, expected: int
) -> None:
    assert free_memory(*write_groups(tmp_path, files, membership)) == expected


def test_without_a_limit_the_machine_s_available_memory_is_free(tmp_path: Path) -> None:
    assert 0 < free_memory(*write_groups(tmp_path, {}, None)) < MACHINE
