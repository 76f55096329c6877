"""How much memory this process may use: that of its pod or container, not that of the machine."""

from pathlib import Path

import psutil

from cascade_core.runtime.control_groups import CGROUPS, MEMBERSHIP, groups_of, words_of

LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The files of a limit in bytes, of control groups of version 2 and 1."""
USAGES = ("memory.current", "memory.usage_in_bytes")
CACHES = ("inactive_file", "total_inactive_file")
"""The field of `memory.stat` for cached pages of files, which a group's usage counts and the kernel gives back."""


def usable_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the bytes that this process may use: the machine's memory, or a smaller limit of its control groups."""
    places = groups_of("memory", cgroups, membership)
    limits = [words_of(place / name) for place in places for name in LIMITS]
    stated = [int(words[0]) for words in limits if len(words) == 1 and words[0].isdigit()]
    return min([int(psutil.virtual_memory().total), *stated])


def free_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the bytes that new processes may use: what is available on the machine, or in the fullest control group."""
    rooms = [int(psutil.virtual_memory().available)]
    for place in groups_of("memory", cgroups, membership):
        for limit, usage, cache in zip(LIMITS, USAGES, CACHES, strict=True):
            match words_of(place / limit), words_of(place / usage):
                case [most], [used] if most.isdigit() and used.isdigit():
                    rooms.append(int(most) - int(used) + _field(place / "memory.stat", cache))
    return max(0, min(rooms))


def _field(file: Path, name: str) -> int:
    """Return the number that follows a name in a group's file; 0 without it."""
    words = words_of(file)
    return int(words[words.index(name) + 1]) if name in words else 0
