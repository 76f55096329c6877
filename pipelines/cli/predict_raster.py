"""The part of `cascade-clip predict` that labels a raster: `--raster`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from cascade_core.runtime.option_texts import numbers
from cascade_core.runtime.targets import check_path

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor


def check_options(out: str, bands: str | None, stretch: str | None, **given: object) -> None:
    """Check the options of a call with --raster, before a model is loaded.

    Raises:
        UserError: an option comes along that is not for rasters, or `out` cannot be written.
    """
    refuse("rasters, which the model sees at their own resolution", given)
    check_path(Path(out))
    numbers_of(bands, stretch)


def refuse(what: str, given: Mapping[str, object]) -> None:
    """Raise UserError if one of the options `given` has a value, because it is not for `what`."""
    if several := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise UserError(f"{several[0]} is not for {what}: leave it out")


def numbers_of(bands: str | None, stretch: str | None) -> tuple[tuple[int, ...], tuple[float, float] | None]:
    """Return the bands and the percentiles that the options name.

    Raises:
        UserError: an option is no list of numbers, or --stretch has not two.
    """
    chosen = () if bands is None else numbers("--bands", bands, int, example="4,3,2")
    if stretch is None:
        return chosen, None
    match numbers("--stretch", stretch, float, example="2,98"):
        case (low, high):
            return chosen, (low, high)
    raise UserError(f"--stretch is {stretch!r}; give two percentiles such as 2,98")


def run(
    predictor: "Predictor",
    raster: Path,
    *,
    labels: tuple[str, ...],
    out: str,
    bands: str | None,
    stretch: str | None,
    resume: bool,
    confidence_map: bool,
) -> None:
    """Label a raster and print the label map's path."""
    from components.rasters.labelling import label_raster

    chosen, percentiles = numbers_of(bands, stretch)
    files = label_raster(
        predictor,
        raster,
        labels,
        Path(out),
        bands=chosen,
        stretch=percentiles,
        resume=resume,
        confidence_map=confidence_map,
    )
    print(files.labels)
