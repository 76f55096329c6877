"""The part of `cascade-clip predict` that labels a raster: `--raster`."""

from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from cascade_core.runtime.option_texts import numbers
from cascade_core.runtime.targets import check_path
from components.exchange.names import FormatName
from pipelines.cli import predict_format
from pipelines.cli.predict_work import Asked, Work, refuse

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor


def work(
    asked: Asked,
    raster: Path,
    out: str,
    form: FormatName,
    *,
    bands: str | None,
    stretch: str | None,
    resume: bool,
    confidence_map: bool,
    **given: object,
) -> Work:
    """Check a call with --raster before a model is loaded, and return its work; `given` are options of other calls.

    Raises:
        UserError: an option comes along that is not for rasters, or `out` cannot be written.
    """
    from components.rasters.labelling import label_raster

    predict_format.check_raster(form, out)
    several_views = {"scales": asked.scales != (1.0,), "flip": asked.flip}
    refuse(
        {**given, **several_views},
        "is not for rasters, which the model sees at their own resolution: leave it out",
    )
    check_path(Path(out))
    chosen, percentiles = numbers_of(bands, stretch)

    def run(predictor: "Predictor") -> None:
        files = label_raster(
            predictor,
            raster,
            asked.labels,
            Path(out),
            bands=chosen,
            stretch=percentiles,
            resume=resume,
            confidence_map=confidence_map,
        )
        print(files.labels)
        if form is FormatName.GEOJSON:
            predict_format.write_raster(predictor, asked.labels, raster, out)

    return run


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
