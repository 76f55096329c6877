"""Where large data lie: steps are given an address and read it in place; nothing large travels between them."""

from pathlib import Path

URI_MARK = "://"


def check_place(name: str, place: str) -> None:
    """Check an address without looking whether anything is there, as a machine outside the cluster must.

    Raises:
        ValueError: it is empty, or no path.
    """
    if not place.strip():
        raise ValueError(f"parameter {name} is empty; give the folder, such as /data/mini/{name}")
    if URI_MARK in place:
        raise ValueError(
            f"parameter {name} is {place!r}; steps read folders only: mount the data as a volume, and give the "
            "folder in it"
        )


def folder(name: str, place: str) -> Path:
    """Give the folder at an address.

    Raises:
        ValueError: the address is none, or no folder is there.
    """
    check_place(name, place)
    if not Path(place).is_dir():
        raise ValueError(
            f"parameter {name}: folder {place} does not exist where the step runs; check the volume, and what is on it"
        )
    return Path(place)
