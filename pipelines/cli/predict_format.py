"""The part of `cascade-clip predict` that writes what other tools read: `--format`."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from cascade_core.runtime.targets import writable_file
from components.exchange.names import FormatName
from components.pictures.picture_files import PictureFile

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor
    from components.exchange.formats import Format

log = logging.getLogger(__name__)


def refuse_for_a_shard(name: FormatName) -> None:
    """Raise UserError if a format comes with a list or a shard."""
    if name is not FormatName.PNG:
        raise UserError(
            f"--format {name} is for all shards together; leave it out here, and give it to the call with --gather"
        )


def of_shards(name: FormatName) -> "Format | None":
    """Return the format of a call with --gather; None for the table alone.

    Raises:
        UserError: it is GeoJSON, which holds places, and the pictures of shards have none.
    """
    if name is FormatName.GEOJSON:
        raise UserError(
            "--format geojson is for rasters and single pictures; shards have no coordinates: give coco-polygons, or label "
            "the raster by --raster"
        )
    from components.exchange.formats import format_named

    return format_named(name)


def check_single(name: FormatName, pictures: Sequence[PictureFile], out: Path) -> "Format | None":
    """Return the format for single pictures, before a model is loaded; None for the label maps and JSON alone.

    Raises:
        UserError: the format's file cannot hold these pictures, or another file stands there.
    """
    if name is FormatName.PNG:
        return None
    from components.exchange.formats import format_named
    from components.pictures.annotation_file import check_annotation_file

    form = format_named(name)
    assert form is not None, "only png is no format of its own"
    check_annotation_file(form, pictures, out)
    return form


def check_raster(name: FormatName, out: str) -> None:
    """Check the format of a call with --raster, before a model is loaded.

    Raises:
        UserError: it is another one than GeoJSON, or another file stands in the place of that.
    """
    if name not in (FormatName.PNG, FormatName.GEOJSON):
        raise UserError(f"--format {name} is not for rasters; give geojson, or leave it out")
    if name is FormatName.GEOJSON:
        from components.exchange.formats import format_named
        from components.exchange.geojson import BEGINS

        format_named(name)
        writable_file(_beside(out), begins=BEGINS)


def write(
    form: "Format | None",
    predictor: "Predictor",
    labels: Sequence[str],
    pictures: Sequence[PictureFile],
    out: Path,
    failed: Collection[Path],
) -> None:
    """Write the format's file for the pictures of a call, and print its path."""
    if form is None:
        return
    from cascade_core.predictor import checked_labels
    from components.exchange.labelled import About
    from components.pictures.annotation_file import write_annotation_file

    about = About(checked_labels(labels), predictor.identity)
    path = write_annotation_file(form, pictures, out, about=about, failed=failed)
    if path is not None:
        print(path)
        if path.suffix == ".geojson":
            log.warning(
                "%s is in pixels, x to the right and y down: single pictures count as pictures without georeference, and "
                "--raster writes a raster's coordinates",
                path,
            )


def write_raster(predictor: "Predictor", labels: Sequence[str], raster: Path, out: str) -> None:
    """Write the regions of a raster's label map as GeoJSON beside it, and print the path."""
    from cascade_core.predictor import checked_labels
    from components.exchange.labelled import About
    from components.exchange.raster_regions import write_regions

    about = About(checked_labels(labels), predictor.identity)
    print(write_regions(Path(out), _beside(out), about, file_name=raster.name))


def _beside(out: str) -> Path:
    return Path(out).with_suffix(".geojson")
