"""The part of `cascade-clip predict` that labels single pictures, each into files of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.targets import check_gathering_folder
from components.exchange.names import FormatName
from components.pictures.picture_files import picture_files
from pipelines.cli import predict_format
from pipelines.cli.predict_work import Asked, Work

if TYPE_CHECKING:
    from cascade_core.predictor import Predictor


def work(
    asked: Asked,
    pictures: Sequence[str],
    out: str,
    form: FormatName,
    *,
    overlay: bool,
    confidence_map: bool,
    cutout: tuple[str, ...],
    resume: bool,
) -> Work:
    """Check a call before a model is loaded, and return its work.

    The work ends with exit status 3 if a picture failed.

    Raises:
        UserError: there is no picture, a file that is no result would be replaced, or a picture or the folder is in an
            object store or a tar, which only shards read and write.
    """
    from components.pictures import predict
    from components.pictures.result_files import Parts, check_replaceable

    folder = _folder(pictures, out)
    check_gathering_folder(folder)
    files = picture_files(pictures, out=folder)
    parts = Parts(overlay=overlay, confidence_map=confidence_map, cutout=bool(cutout))
    check_replaceable(folder, files, parts)
    saved_as = predict_format.check_single(form, files, folder)

    def run(predictor: "Predictor") -> None:
        skipped, failures = 0, dict[Path, str]()
        for done in predict.each(
            predictor=predictor,
            pictures=files,
            labels=asked.labels,
            out=folder,
            scales=asked.scales,
            flip=asked.flip,
            batch=asked.batch,
            resume=resume,
            parts=parts,
            cutout=cutout,
        ):
            if done.files is not None:
                print(done.files.overlay or done.files.label_map)
            elif done.reason is None:
                skipped += 1
            else:
                failures[done.path] = done.reason
        predict_format.write(saved_as, predictor, asked.labels, files, folder, failures)
        if skipped:
            print(f"{skipped} skipped: they have results", file=sys.stderr)
        for reason in failures.values():
            print(f"failed: {reason}", file=sys.stderr)
        if failures:
            print(f"{len(failures)} of {len(files)} pictures failed", file=sys.stderr)
            raise typer.Exit(ExitCode.INCOMPLETE)

    return run


def _folder(pictures: Sequence[str], out: str) -> Path:
    from components.storage.places import in_store

    if elsewhere := [text for text in (*pictures, out) if in_store(text) or text.endswith(".tar")]:
        raise UserError(
            f"{elsewhere[0]}: object stores and tars go with a table instead of files for each picture; add --shard 0/1"
        )
    if not pictures:
        raise UserError("no picture is given; give files, folders, patterns in quotes, examples, or a --list")
    return Path(out)
