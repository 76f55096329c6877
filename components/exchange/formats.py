"""The formats of `predict --format`: their files and writers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cascade_core.runtime.files import new_file
from cascade_core.runtime.targets import writable_file
from components.exchange.labelled import About, LabelledPicture
from components.exchange.names import FormatName

Write = Callable[[TextIO, Iterable[LabelledPicture], About], None]


@dataclass(frozen=True)
class Format:
    """A format's file, how that begins, and the function that writes it."""

    file: str
    begins: bytes
    write: Write

    def check(self, out: Path) -> Path:
        """Return the file in a folder, before any picture is labelled.

        Raises:
            UserError: something else stands there.
        """
        return writable_file(out / self.file, begins=self.begins)

    def save(self, out: Path, pictures: Iterable[LabelledPicture], about: About) -> Path:
        """Write the file in a folder, one picture after the other.

        Raises:
            UserError: something else stands there, or the disk is full.
        """
        target = out / self.file
        with new_file(target, begins=self.begins) as path, path.open("w", encoding="utf-8") as stream:
            self.write(stream, pictures, about)
        return target


def format_named(name: FormatName) -> Format | None:
    """Return a format, or None for `png`, which needs no further file.

    Raises:
        ModuleNotFoundError: its library is not installed, which the command reports with the extra that has it.
    """
    if name.endswith("polygons") or name is FormatName.GEOJSON:
        import rasterio.features  # noqa: F401 (before the pictures are labelled)
    from components.exchange import cvat, geojson, label_studio

    match name:
        case FormatName.JSON:
            from components.exchange import lines

            return Format("pictures.jsonl", lines.BEGINS, lines.write)
        case FormatName.COCO | FormatName.COCO_POLYGONS:
            from components.exchange import coco

            write = coco.write_masks if name is FormatName.COCO else coco.write_polygons
            return Format("coco.json", coco.BEGINS, write)
        case FormatName.GEOJSON:
            return Format("regions.geojson", geojson.BEGINS, geojson.write_pictures)
        case FormatName.LABEL_STUDIO:
            return Format("label_studio.json", label_studio.BEGINS, label_studio.write_masks)
        case FormatName.LABEL_STUDIO_POLYGONS:
            return Format("label_studio.json", label_studio.BEGINS, label_studio.write_polygons)
        case FormatName.CVAT:
            return Format("cvat.xml", cvat.BEGINS, cvat.write_masks)
        case FormatName.CVAT_POLYGONS:
            return Format("cvat.xml", cvat.BEGINS, cvat.write_polygons)
    return None
