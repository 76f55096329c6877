"""Linux's control groups of this process: where the limits stand that a pod or container sets."""

from pathlib import Path

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def groups_of(controller: str, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> list[Path]:
    """Return the folders of the process's control group and of those above it, of version 2 and 1.

    Every one of them may limit what the `controller` counts, such as cpu or memory. A folder may not exist.
    """
    places = {cgroups, cgroups / controller}
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = cgroups if not controllers else cgroups / controller
            place = root / path.lstrip("/")
            places |= {place, *(above for above in place.parents if above.is_relative_to(root))}
    return sorted(places)


def words_of(file: Path) -> list[str]:
    """Return the words of a group's file; none if the kernel offers no such file."""
    return [word for line in _lines(file) for word in line.split()]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
