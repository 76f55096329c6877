"""Control groups in a folder, in place of the kernel's."""

from collections.abc import Mapping
from pathlib import Path


def write_groups(folder: Path, files: Mapping[str, str], membership: str | None) -> tuple[Path, Path]:
    """Write the groups' files and the process's membership, if any; return the folder and the file of the membership."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content + "\n")
    if membership is not None:
        (folder / "membership").write_text(membership + "\n")
    return folder, folder / "membership"
