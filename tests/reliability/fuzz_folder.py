"""Give each file of a folder to the reader that its name names: each is read, or refused in one sentence.

`python -m tests.reliability.fuzz_folder FOLDER` prints a line for each file `fuzz_READER_NUMBER.bin`, and exits with 1 if any
ends otherwise. Files come from fuzzers; a new kind of name takes a line in `READERS`.
"""

import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from cascade_core.checkpoints.checkpoint import load_optimizer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.model.build import build_segmentor
from cascade_core.train.optim import build_optimizer
from components.vectors.vector_files import read_vectors
from tests.reliability.fuzzing import READERS as FUZZED
from tests.reliability.fuzzing import read, write
from tests.reliability.reader import Reader

NAME = re.compile(r"fuzz_(?P<reader>.+)_\d+\.bin")


@cache
def _mini_zegclip() -> Any:
    config = recipe("mini_zegclip", {})
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    return segmentor, config.optim


def _resume(folder: Path) -> object:
    segmentor, optim = _mini_zegclip()
    return load_optimizer(build_optimizer(segmentor, optim), folder)


def _like(name: str, read: Callable[[Path], object]) -> Reader:
    """Return a fuzzed reader that reads files of another model."""
    return Reader(read, FUZZED[name].files, FUZZED[name].damages)


READERS = {
    "archive.zip": FUZZED["zip"],
    "ckpt_built_from_struct": FUZZED["checkpoint_manifest"],
    "coco_struct": FUZZED["coco"],
    "label_file": FUZZED["label_file"],
    "labels_option": FUZZED["labels_option"],
    "npy_vectors": _like("npy", lambda folder: read_vectors(folder / "a.npy", protocol("mini-18-6").classes)),
    "params_yaml": FUZZED["params_yaml"],
    "parquet": FUZZED["parquet"],
    "pth_zip": FUZZED["pth"],
    "safetensors_optimizer": _like("optimizer", _resume),
    "set_option": FUZZED["set_option"],
    "split_json_struct": FUZZED["split_json"],
    "torchscript": FUZZED["torchscript"],
    **{f"image_{form}": FUZZED["picture"] for form in ("AVIF", "BLP", "DDS")},
}


def outcome(file: Path, folder: Path) -> tuple[str, str]:
    """Read a file in an empty folder, beside the good files of its reader; return the kind of the outcome and a defect or ''."""
    match = NAME.fullmatch(file.name)
    if match is None or match["reader"] not in READERS:
        return "unknown", f"no reader is known for {file.name}; known are {', '.join(READERS)}"
    reader = READERS[match["reader"]]
    (damaged,) = reader.damages
    write(folder, reader.files(Random(0)))
    read(reader, folder)  # What is imported late is imported now.
    (folder / damaged).write_bytes(file.read_bytes())
    return read(reader, folder)


def main(folder: str) -> int:
    """Read all files of a folder, and return the exit status."""
    warnings.simplefilter("ignore")
    files = sorted(Path(folder).glob("*.bin"))
    if not files:
        print(f"{folder} holds no files *.bin", file=sys.stderr)
        return 2
    wrong = 0
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            kind, defect = outcome(file, Path(scratch))
        wrong += bool(defect)
        print(f"{'WRONG' if defect else 'right'}  {file.name}: {kind} {defect}".rstrip(), flush=True)
    print(f"{len(files) - wrong} of {len(files)} right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
