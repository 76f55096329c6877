"""Throughput of a folder against the model alone, and memory at any number of pictures: `python -m benchmarks.folder`.

Without arguments: Cascade-CLIP on a ViT-B/16 with random weights and 171 classes (156 seen) labels JPEGs of 640 x 480. A shard
reads and decodes them, and writes table and label maps; the baseline labels the same pictures, decoded before, in the
same batches. Both take turns in one process. Beside them, files for each picture one after the other, with overlays,
as `predict` once wrote them.

With `--memory N`, the mini model labels N pictures of 32 x 32 in a shard; printed are the resident size at the end and its peak.
The N files are links to 64 pictures. `--device cuda --batch 16` runs either on a GPU.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks.compare import MIB
from benchmarks.inference import CLASSES, case
from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from benchmarks.stopwatch import in_turns
from cascade_core.batches.transforms import resize_image
from cascade_core.bulk.shards import Shard, batches_of, bucket_ranges, bucket_size
from cascade_core.bulk.worker import BATCH_PIXELS
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.predictor import Predictor, device_named, eval_settings
from components.bulk import shard
from components.bulk.listing import addresses
from components.pictures.picture_files import PictureFile
from components.pictures.predict import DecodedPicture, request_of, write_results
from components.pictures.result_files import Parts, result_files

HEIGHT, WIDTH = 480, 640
LABELS = tuple(f"class {number}" for number in range(CLASSES))
MINI_LABELS = ("zebra", "mushroom", "sand")


class RandomPredictor(Predictor):
    """A predictor whose class vectors are random, so that it needs no text tower."""

    def __init__(self, device: torch.device, batch: int) -> None:
        model = case((HEIGHT, WIDTH))
        config = model.config
        manifest = CheckpointManifest(
            config=config,
            setting="inductive",
            iteration=0,
            total_iterations=0,
            classes=config.data.split.classes,
            unseen=config.data.split.unseen_names,
            provenance={},
        )
        plain = model.vocabulary
        super().__init__(plain.segmentor, manifest, torch.nn.Identity(), str, device=device)  # type: ignore[arg-type]
        self.evaluate = eval_settings(self.evaluate, batch_size=max(batch, self.evaluate.batch_size))
        self._vocabulary = Vocabulary(
            plain.segmentor,
            plain.class_vectors.to(device),
            "sigmoid",
            seen=list(range(156)),
            seen_penalty=plain.seen_penalty,
        )

    def vocabulary(self, labels: Sequence[str], **_: Any) -> Vocabulary:
        return self._vocabulary


def photographs(folder: Path, count: int) -> list[str]:
    """Write JPEGs, smooth as photographs are, and return their paths."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for path in paths:
        coarse = random.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), dtype=np.uint8)
        Image.fromarray(resize_image(coarse, (HEIGHT, WIDTH))).save(path, quality=90)
    return [str(path) for path in paths]


def throughput(device: torch.device, batch: int, pictures: int, rounds_measured: int) -> None:
    """Print the pictures a second of a shard and of one picture after the other, as ratios to the model alone."""
    predictor = RandomPredictor(device, batch)
    with tempfile.TemporaryDirectory() as root:
        paths = photographs(Path(root), pictures)
        decoded = [np.array(Image.open(path)) for path in paths]
        rounds = iter(range(100))

        def of_shard() -> None:
            shard.run(
                predictor=predictor,
                pictures=paths,
                labels=LABELS,
                out=f"{root}/out{next(rounds)}",
                shard=Shard(0, 1),
                batch=batch,
            )

        def of_tensors() -> None:
            for positions in bucket_ranges(pictures, bucket_size(pictures, batch)):
                sizes: list[tuple[int, int] | None] = [(WIDTH, HEIGHT)] * len(positions)
                for part in batches_of(sizes, batch, most_pixels=BATCH_PIXELS):
                    predictor.predict_equal([decoded[positions[i]] for i in part], LABELS)

        def one_by_one() -> None:
            request, colours = request_of(predictor, LABELS), predictor.colours_of(LABELS)
            for path in paths:
                file, pixels = PictureFile(Path(path), Path(path).stem), np.array(Image.open(path))
                target = result_files(Path(root, "files"), file.name, Parts(overlay=True))
                write_results(
                    DecodedPicture(file, pixels, ""),
                    predictor.predict_equal([pixels], LABELS)[0],
                    request,
                    target,
                    colours,
                )

        seconds = in_turns((of_shard, of_tensors, one_by_one), rounds_measured)
    names = ("a shard", "model and labelling on decoded tensors", "files one by one, with overlays")
    for name, of_call in zip(names, seconds, strict=True):
        print(f"{name}: {pictures / of_call:.3g} pictures/s, ratio {seconds[1] / of_call:.3f}", flush=True)


def memory(device: torch.device, batch: int, pictures: int) -> None:
    """Print the resident size at the end of a shard of many small pictures, and its peak."""
    import resource

    predictor = Predictor.load("mini", device=device)
    predictor.evaluate = eval_settings(
        predictor.evaluate, short_side=16
    )  # a patch or four: only the number counts
    with tempfile.TemporaryDirectory() as root:
        folder = link_pictures(Path(root, "photos"), pictures)
        began = time.perf_counter()
        listed = addresses([folder])
        result = shard.run(
            predictor=predictor,
            pictures=listed,
            labels=MINI_LABELS,
            out=f"{root}/out",
            shard=Shard(0, 1),
            batch=batch,
        )
        seconds = time.perf_counter() - began
    resident = psutil.Process().memory_info().rss / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{result.pictures:,} pictures in {seconds:.0f} s: {resident:.0f} MiB resident, {peak:.0f} MiB at the peak"
    )


def link_pictures(folder: Path, count: int) -> str:
    """Make a folder of `count` small pictures, links to 64 different ones."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:07}.png"
        if number < 64:
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        else:
            os.link(folder / f"{number % 64:07}.png", path)
    return str(folder)


def main() -> None:
    """Read the arguments and run one of the two."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--pictures", type=int, default=8, help="of the throughput")
    parser.add_argument("--memory", type=int, metavar="N", help="measure the memory of N pictures instead")
    options = parsed(parser)
    device = device_named(options.device)
    print(f"{surroundings()}, {load()}", flush=True)
    if options.memory is None:
        throughput(device, options.batch or 1, options.pictures, options.rounds)
    else:
        memory(device, options.batch or 32, options.memory)


if __name__ == "__main__":
    main()
