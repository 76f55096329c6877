"""Memory and time to label a raster, whatever its size: `python -m benchmarks.raster --side 30000`.

The shipped mini model labels a drawn raster of `--side` x `--side` pixels (tiled GeoTIFF, three bands), in a process of
its own. Memory is the growth of the peak resident size above the loaded model. With `--side` given twice, the ratio of
the two memories says whether memory grows with the raster. `--stride 64` sets windows side by side, without overlap, in about
half of the time.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.compare import peak_memory
from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.shipped.contents import shipped_model
from components.rasters.labelling import label_raster
from components.rasters.reading import opened

LABELS = ("zebra", "tiger", "onion", "grass", "sand", "water")
TILE = 512


def draw(path: Path, side: int) -> None:
    """Write a raster of coloured noise, tile by tile."""
    tile = np.random.default_rng(0).integers(0, 256, (3, TILE, TILE), dtype=np.uint8)
    profile = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "deflate",
    }
    with opened(path, "w", width=side, height=side, count=3, dtype="uint8", **profile) as file:
        for _, window in file.block_windows(1):
            file.write(tile[:, : window.height, : window.width], window=window)


class Make:
    """Loads the model, and returns the call that labels the raster, twice, as comparisons take two ways."""

    def __init__(self, source: Path, out: Path, stride: int | None) -> None:
        self.source, self.out, self.stride = source, out, stride

    def __call__(self) -> tuple[Callable[[], object], Callable[[], object]]:
        predictor = Predictor.load(shipped_model(Path("mini")), device="cpu")
        if self.stride is not None:
            predictor.evaluate = eval_settings(predictor.evaluate, stride=self.stride)
        predictor.vocabulary(LABELS)

        def call() -> object:
            return label_raster(predictor, self.source, LABELS, self.out)

        return call, call


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--side", type=int, nargs="+", default=[4096, 8192], help="pixels of a side")
    parser.add_argument("--stride", type=int, help="pixels from a window to the next; default: the recipe's")
    options = parsed(parser)
    print(f"{surroundings()}; {load()}")
    memories = []
    for side in options.side:
        with TemporaryDirectory() as folder:
            source, out = Path(folder) / "in.tif", Path(folder) / "out.tif"
            draw(source, side)
            began = time.perf_counter()
            memories.append(peak_memory(Make(source, out, options.stride), 0) / 2**20)
            seconds = time.perf_counter() - began
            print(f"{side} x {side} pixels: {memories[-1]:,.0f} MiB above the loaded model, {seconds:,.0f} s")
    if len(memories) > 1:
        print(f"memory of the last / of the first: {memories[-1] / memories[0]:.2f}")


if __name__ == "__main__":
    main()
