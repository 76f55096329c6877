"""How much memory this process may use: that of its pod or container, not that of the machine."""

from pathlib import Path

import psutil

from cascade_core.runtime.control_groups import CGROUPS, MEMBERSHIP, groups_of, words_of

LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The files of a limit in bytes, of control groups of version 2 and 1."""


def usable_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the bytes that this process may use: the machine's memory, or a smaller limit of its control groups."""
    places = groups_of("memory", cgroups, membership)
    limits = [words_of(place / name) for place in places for name in LIMITS]
    stated = [int(words[0]) for words in limits if len(words) == 1 and words[0].isdigit()]
    return min([int(psutil.virtual_memory().total), *stated])
