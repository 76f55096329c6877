"""The command that segments pictures: `cascade-clip predict`."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade_core.configs.settings import PrecisionChoice, Synonyms
from cascade_core.labels.background import parse_background
from cascade_core.runtime.option_texts import numbers
from components.contract.shared import PRECISION_HELP, names_by_commas
from components.exchange.names import FormatName
from pipelines.cli import predict_format, predict_raster, predict_shards, predict_single, predict_video
from pipelines.cli.options import Background, Clip, Device, Threads, choose_threads
from pipelines.cli.predict_work import Asked

log = logging.getLogger(__name__)


def predict(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders (with all below them), patterns in quotes, videos, or the word examples; for a shard also tars "
            "and s3:// addresses."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help='Any class names by commas; one with a comma in double quotes: "a, \\"b, c\\"".'),
    ] = None,
    labels_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file (UTF-8) with a class name on each line.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--checkpoint",
            help="Model folder, checkpoint folder, mini, or an address such as models:/mini-18-6-cascade_clip@champion; if "
            "left out, $CASCADE_MODEL, predict.model of params.yaml, or naclip on an imported CLIP.",
        ),
    ] = None,
    clip: Clip = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the results (of shards also s3://...); it replaces only earlier results there.",
        ),
    ] = "local_outputs/predictions",
    lists: Annotated[
        list[str] | None,
        typer.Option(
            "--list",
            metavar="FILE|s3://...",
            help="Text file with a picture on each line, or Parquet file with a column picture; writes a table as --shard does.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Label part I of N (counted from 0) of all pictures, and write one table and label maps in tars.",
        ),
    ] = None,
    gather: Annotated[
        bool, typer.Option("--gather", help="Join the tables of all shards in --out, and count the classes.")
    ] = False,
    engine: Annotated[
        predict_shards.Engine,
        typer.Option(
            help="What computes a shard: this process (local), or actors of Ray, here or on the cluster that RAY_ADDRESS names."
        ),
    ] = predict_shards.Engine.local,
    raster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="One raster of any size, such as a GeoTIFF; --out is the label map's file, such as out.tif.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="With --raster: its bands for red, green, blue, such as 4,3,2, or one band.",
        ),
    ] = None,
    stretch: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="With --raster: percentiles that become black and white; 2,98 for more than 8 bits if left out.",
        ),
    ] = None,
    smooth: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With videos: so many frames around each one vote on its labels, an odd number; 1 if left out.",
        ),
    ] = None,
    form: Annotated[
        FormatName,
        typer.Option(
            "--format",
            help="What to write beside the label maps: one file with the objects of all pictures, for other tools; of shards "
            "by --gather.",
        ),
    ] = FormatName.PNG,
    device: Device = None,
    threads: Threads = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Batch size, in pictures of equal size or in windows; if left out, one picture, and the recipe's number "
            "of windows.",
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="whole, slide (windows) or slide_and_whole; the recipe's if left out.")
    ] = None,
    background: Background = None,
    seen_penalty: Annotated[
        float | None,
        typer.Option(
            min=0, help="Number subtracted from the scores of seen classes; if left out, as published."
        ),
    ] = None,
    synonyms: Annotated[
        Synonyms | None,
        typer.Option(
            help="Score of a class with synonyms: maximum (of each) or mean (of the vectors); the model's if left out."
        ),
    ] = None,
    short_side: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the shorter side after resizing; the recipe's if left out."),
    ] = None,
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help=PRECISION_HELP.format("the recipe's"))
    ] = None,
    scales: Annotated[str, typer.Option(help="Sizes to average over, such as 0.75,1,1.25.")] = "1",
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the scores of the mirror image.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip pictures with results of the same request, by path, size and modification time.",
        ),
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Write the picture tinted by class, with a legend.")
    ] = False,
    confidence_map: Annotated[
        bool, typer.Option("--confidence-map", help="Write the confidence of every pixel as a picture.")
    ] = False,
    refine: Annotated[
        str | None,
        typer.Option(help="pamr: edges follow the picture (slower); off; the recipe's if left out."),
    ] = None,
    cutout: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS", help="Labels by commas; writes their pixels with all else transparent."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Fetch CLIP's weights without asking if no model is at hand.")
    ] = False,
) -> None:
    """Segment pictures into any classes.

    For each picture, writes the label map, and JSON with the area and confidence of each class; with --overlay also
    the picture tinted by class. A picture that cannot be segmented does not stop the others; it is reported at the end,
    and the command exits with 3. With --list or --shard, writes one table for all pictures instead, which several
    processes share; call again after a kill. With --engine ray, actors of Ray compute it. With --raster, writes one
    label map with the raster's georeference; --resume goes on where an interrupted call stopped. For a video, writes
    an overlay video and a table of its frames. With --format, also writes one file for COCO's readers, Label Studio, CVAT or GIS.
    """
    choose_threads(threads)  # before torch is imported

    from cascade_core.inference.precision import stated_precision
    from cascade_core.inference.vocabulary import check_seen_penalty
    from cascade_core.predictor import eval_settings
    from components.inputs.labels_given import labels_given
    from components.registry.default_model import predictor_for
    from components.steps import import_clip

    part = None if gather else predict_shards.shard_of(shard, lists or ())
    if gather:
        predict_shards.gather(out, form)
        return
    if part is not None:
        predict_format.refuse_for_a_shard(form)
    labelling = predict_shards.engine_of(engine, part, device=device, precision=precision, cores=threads)
    check_seen_penalty(seen_penalty)
    names = labels_given(None if labels is None else names_by_commas(labels), labels_file)
    asked = Asked(names, numbers("--scales", scales, float, example="0.75,1,1.25"), flip, batch or 1)
    of_a_list: dict[str, Any] = {"list": lists, "shard": shard}
    of_files: dict[str, Any] = {"resume": resume, "confidence_map": confidence_map}
    cutout_labels = () if cutout is None else names_by_commas(cutout)
    if raster is not None:
        also: dict[str, Any] = {"mode": mode, "short_side": short_side, "overlay": overlay, "cutout": cutout}
        work = predict_raster.work(
            asked,
            raster,
            out,
            form,
            bands=bands,
            stretch=stretch,
            pictures=pictures,
            **of_files,
            **of_a_list,
            **also,
        )
    elif videos := predict_video.videos_of(
        pictures or (), smooth, format=form is not FormatName.PNG, cutout=cutout, **of_a_list, **of_files
    ):
        work = predict_video.work(asked, videos, Path(out), smooth)
    elif part is None:
        work = predict_single.work(
            asked, pictures or (), out, form, overlay=overlay, cutout=cutout_labels, **of_files
        )
    else:
        work = predict_shards.work(
            asked,
            part,
            pictures or (),
            lists or (),
            out,
            engine=labelling,
            overlay=overlay,
            confidence_map=confidence_map,
            cutout=cutout,
        )
    predictor = predictor_for(
        model,
        clip,
        device=device if labelling is None else "cpu",  # Actors take the model to their own.
        may_fetch=lambda: yes or _asked(),
        import_clip=lambda name, tag: import_clip.run(source=name, tag=tag).folder,
    )
    predictor.evaluate = eval_settings(
        predictor.evaluate,
        mode=mode,
        short_side=short_side,
        batch_size=batch,
        precision=stated_precision(predictor.device, precision),
        refine=refine,
        synonyms=synonyms,
        background=None if background is None else parse_background(background),
    )
    if seen_penalty is not None:
        predictor.seen_penalty = seen_penalty
        if not 0 < (seen := len(predictor.seen(names))) < len(names):
            log.warning(
                "--seen-penalty changes nothing: the training saw %s of these labels",
                "all" if seen else "none",
            )
    work(predictor)


def _asked() -> bool:
    """Ask whether to fetch CLIP's weights; without a terminal the answer is no."""
    return sys.stdin.isatty() and typer.confirm(
        "No model is named and no CLIP is imported. Fetch OpenAI's ViT-B-16 (about 600 MB) through open_clip?",
        err=True,
    )
