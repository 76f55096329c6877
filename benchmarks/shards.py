"""Whether shards give the same bytes as one process: `python -m benchmarks.shards --pictures 10000`.

The shipped mini model labels drawn scenes of the mini benchmark in one process, and then in four processes at once, one for each
shard. One of these is killed as soon as half of its buckets are done, and called again. The joined tables, the
histograms and all label maps are compared byte by byte. With `--ray`, two actors of Ray label the scenes as well (extra `ray`).
"""

import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from cascade_core.bulk.shards import bucket_ranges, bucket_size
from cascade_core.mini.voc_layout import scene
from cascade_core.mini.vocabulary import THINGS

SHARDS, VICTIM, BATCH = 4, 2, 8
PROGRAM = str(Path(sys.executable).with_name("cascade-clip"))


def draw(folder: Path, count: int) -> None:
    """Write `count` different scenes."""
    folder.mkdir()
    for index in range(count):
        Image.fromarray(scene("train", index, seed=1)[0]).save(folder / f"{index:06}.png", compress_level=1)


def command(pictures: Path, out: Path, shard: str, *more: str) -> list[str]:
    """Return the call that labels a shard on one thread."""
    call = [PROGRAM, "predict", str(pictures), "--model", "mini"]
    fixed = ["--labels", ",".join(THINGS), "--batch", str(BATCH), "--threads", "1"]
    return [*call, *fixed, "--shard", shard, "--out", str(out), *more]


def gathered(out: Path) -> dict[str, bytes]:
    """Join the shards, and return the files that do not depend on their number, by their names."""
    subprocess.run([PROGRAM, "predict", "--gather", "--out", str(out)], check=True)
    files = [out / "predictions.parquet", out / "histogram.csv", *sorted((out / "label_maps").iterdir())]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def run_shards(pictures: Path, out: Path, count: int) -> str:
    """Label all shards at once; kill one process half-way, call it again, and say where it was killed."""
    calls = [command(pictures, out, f"{number}/{SHARDS}") for number in range(SHARDS)]
    processes = [subprocess.Popen(call) for call in calls]
    buckets = list(bucket_ranges(count, bucket_size(count, BATCH)))
    share = len(buckets) // SHARDS
    own = range(VICTIM * share, (VICTIM + 1) * share)
    while (done := _finished(out, own)) < share // 2 and processes[VICTIM].poll() is None:
        time.sleep(0.05)
    processes[VICTIM].kill()
    killed = processes[VICTIM].wait()
    again = subprocess.run(calls[VICTIM], check=False).returncode
    codes = [process.wait() for number, process in enumerate(processes) if number != VICTIM]
    if killed >= 0 or any([again, *codes]):
        raise SystemExit(
            f"the killed process ended with {killed}, its repetition with {again}, the others with {codes}"
        )
    return f"{SHARDS} processes, one killed after {done} of its {share} buckets and called again"


def _finished(out: Path, buckets: Sequence[int]) -> int:
    return sum((out / "label_maps" / f"{number:06}.tar").exists() for number in buckets)


def compare(name: str, expected: dict[str, bytes], actual: dict[str, bytes], seconds: float) -> bool:
    """Print how many of the files are equal, and return whether all are."""
    different = [file for file in expected if actual.get(file) != expected[file]]
    equal = not different and expected.keys() == actual.keys()
    size = sum(map(len, expected.values())) / 2**20
    verdict = "equal byte by byte" if equal else f"{len(different)} files differ, {different[:3]}"
    print(f"{name}: {len(actual):,} files, {size:.1f} MiB, {verdict}, {seconds:.0f} s", flush=True)
    return equal


def measure(options: Namespace, root: Path) -> bool:
    """Label the scenes in each way, and return whether all gave the same bytes."""
    pictures = root / "pictures"
    draw(pictures, options.pictures)
    began = time.perf_counter()
    subprocess.run(command(pictures, root / "one", "0/1"), check=True)
    expected = gathered(root / "one")
    compare("one process", expected, expected, time.perf_counter() - began)
    began = time.perf_counter()
    name = run_shards(pictures, root / "shards", options.pictures)
    equal = compare(name, expected, gathered(root / "shards"), time.perf_counter() - began)
    if options.ray:
        began = time.perf_counter()
        subprocess.run(command(pictures, root / "ray", "0/1", "--engine", "ray"), check=True)
        actual = gathered(root / "ray")
        equal = compare("two actors of Ray", expected, actual, time.perf_counter() - began) and equal
    return equal


def main() -> None:
    """Read the arguments, draw the scenes and compare; exits with 1 if anything differs."""
    parser = parser_of(__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--ray", action="store_true", help="also with two actors of Ray")
    options = parsed(parser)
    print(f"{surroundings()}, {load()}", flush=True)
    with TemporaryDirectory() as folder:
        if not measure(options, Path(folder)):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
