"""The result files of a picture: their names, and which existing files the command replaces."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import short_list
from components.pictures.picture_files import PictureFile

SOFTWARE = "cascade-clip predict"
"""What the pictures among the results name as the software that wrote them."""


@dataclass(frozen=True)
class Parts:
    """Which pictures are written besides the label map."""

    overlay: bool = False
    confidence_map: bool = False
    cutout: bool = False


@dataclass(frozen=True)
class ResultFiles:
    """The files of one picture: label map and classes; overlay, confidence map and cutout if requested."""

    label_map: Path
    classes: Path
    overlay: Path | None = None
    confidence: Path | None = None
    cutout: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        paths = (self.overlay, self.label_map, self.classes, self.confidence, self.cutout)
        return (path for path in paths if path is not None)

    def exist(self) -> bool:
        """Return whether all of them exist."""
        return all(path.is_file() for path in self)


def result_files(out: Path, name: str, parts: Parts) -> ResultFiles:
    """Return the paths of a picture's results."""
    return ResultFiles(
        out / f"{name}_labels.png",
        out / f"{name}_classes.json",
        out / f"{name}_overlay.png" if parts.overlay else None,
        out / f"{name}_confidence.png" if parts.confidence_map else None,
        out / f"{name}_cutout.png" if parts.cutout else None,
    )


def signed() -> PngInfo:
    """Return the text in a PNG that names the software."""
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    return info


def record_of(classes: Path) -> dict[str, Any] | None:
    """Return the content of a picture's JSON file, or None if it is not one that this command wrote."""
    try:
        content = read_json(classes)
    except UserError:
        return None
    fields = {"picture", "picture_sha256", "request"}
    return content if isinstance(content, dict) and fields <= content.keys() else None


def check_replaceable(out: Path, pictures: Iterable[PictureFile], parts: Parts) -> None:
    """Check, before any picture is segmented, that results replace only results.

    Raises:
        UserError: a file that this command did not write stands in the place of a result.
    """
    if not out.exists():
        return
    results = (result_files(out, picture.name, parts) for picture in pictures)
    if foreign := [str(path) for files in results for path in _foreign(files)]:
        raise UserError(
            f"{short_list(foreign, most=3)}: `cascade-clip predict` did not write what stands there, and would replace "
            "it; give another --out, or move it away"
        )


def _foreign(files: ResultFiles) -> Iterator[Path]:
    existing = [path for path in files if path.exists() or path.is_symlink()]
    # Results of earlier versions name no software, but their JSON does.
    if not existing or record_of(files.classes) is not None:
        return
    yield from (path for path in existing if path == files.classes or not _is_signed(path))


def _is_signed(path: Path) -> bool:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get("Software") == SOFTWARE
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return False
