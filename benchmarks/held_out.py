"""Train a recipe without some seen classes, and score it with many settings of inference: `python -m benchmarks.held_out`.

The classes that a protocol such as `mini-13-5a` holds out play the unseen ones, so a choice by these scores reads no label of the real
unseen classes. Each training is scored with all of `INFERENCE`; nothing is trained for them. `--out` collects a row for each
seed and setting; `--table` prints the differences of all rows of files to the first training's published setting, paired by protocol and seed.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from cascade_core.batches.samples import Batch, collate, eval_dataset, pack, train_dataset
from cascade_core.batches.sampling import iteration_batches
from cascade_core.clip.weights import load_clip
from cascade_core.configs.config import RunConfig
from cascade_core.configs.overrides import parse_overrides
from cascade_core.configs.recipes import recipe
from cascade_core.data.prepared import rows_of_split
from cascade_core.labels.class_split import ClassSplit
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.text_cosines import TextCosines
from cascade_core.model.trunk import TrunkFeatures
from cascade_core.runtime.files import read_json, write_json
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import Scores, scores
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from components.inputs.reading import Inputs, read_inputs
from components.results.intervals import paired_interval

Row = dict[str, Any]
"""A training, its protocol and seed, a setting of inference, and the scores."""
EMA = 0.99
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """A setting of inference: weights of the cosines, the seen penalty, and whether averaged weights are taken."""

    of_picture: float = 0.0
    of_patch: float = 0.0
    penalty: float = 0.1
    averaged: bool = False

    @property
    def name(self) -> str:
        """The setting as the table names it."""
        own = f"picture {self.of_picture:g}, patch {self.of_patch:g}, penalty {self.penalty:g}"
        return f"{own}, averaged weights" if self.averaged else own


INFERENCE = (
    Setting(),
    *(Setting(penalty=penalty) for penalty in (0.05, 0.15, 0.2)),
    Setting(averaged=True),
    *(Setting(of_picture=weight) for weight in (1.0, 2.0)),
    *(Setting(of_patch=weight) for weight in (0.5, -0.5, -1.0, -1.5, -2.0, -3.0)),
    *(
        Setting(picture, patch, penalty)
        for picture in (1.0, 2.0)
        for patch in (-1.0, -1.5, -2.0, -3.0)
        for penalty in (0.1, 0.15)
    ),
)


def train_with_average(config: RunConfig, clip: Path, inputs: Inputs) -> tuple[Segmentor, Segmentor]:
    """Train inductively; return the segmentor, and one with the moving average of its weights."""
    segmentor = build_segmentor(config.model, load_clip(clip)[0].visual, seed=config.seed)
    average = AveragedModel(segmentor, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    dataset = train_dataset(
        rows_of_split(inputs.index, "train"), inputs.root, data=config.data, seed=config.seed
    )
    size, iterations = config.train.batch_size, config.train.iterations
    loader = DataLoader(
        dataset,
        batch_sampler=iteration_batches(len(dataset), size, iterations=iterations, seed=config.seed),
        collate_fn=partial(pack, mean=config.data.mean, std=config.data.std),
        generator=torch.Generator().manual_seed(config.seed),
    )
    reports = train(
        segmentor,
        build_optimizer(segmentor, config.optim),
        loader,
        config=config,
        supervision=Supervision("inductive", inputs.split),
        class_vectors=inputs.class_vectors,
        start=0,
        total=iterations,
        device=CPU,
    )
    for _ in reports:
        average.update_parameters(segmentor)
    assert isinstance(average.module, Segmentor)
    return segmentor, average.module


@dataclass(frozen=True)
class Maps:
    """What a segmentor computes for all pictures: its own logits, and what cosines need."""

    segmentor: Segmentor
    features: TrunkFeatures
    logits: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, segmentor: Segmentor, batch: Batch, vectors: torch.Tensor) -> "Maps":
        """Look at the pictures once, for all settings."""
        features = segmentor.eval().trunk(batch.images)
        return cls(segmentor, features, segmentor.decode(features, vectors))

    def scored(self, setting: Setting, batch: Batch, vectors: torch.Tensor, split: ClassSplit) -> Scores:
        """Score one setting of inference; its cosines are added to the model's own."""
        added = TextCosines(of_picture=setting.of_picture, of_patch=setting.of_patch, in_training=1.0)
        logits = self.logits + added(self.features, vectors).unflatten(-1, self.features.grid)
        height, width = batch.images.shape[-2:]
        probabilities = self.segmentor.to_mask_size(logits, (height, width)).sigmoid()
        probabilities[:, list(split.seen)] -= setting.penalty
        confusion = ConfusionMatrix(split.num_classes)
        confusion.update(probabilities.argmax(dim=1), batch.labels)
        return scores(confusion, split)


def rows_of(arguments: Namespace, seed: int) -> Iterator[Row]:
    """Train with a seed, and yield a row for each setting of inference."""
    overrides = {**parse_overrides(arguments.set), "data.protocol": arguments.protocol}
    config = recipe(arguments.recipe, overrides, seed=seed)
    outputs = arguments.outputs
    inputs = read_inputs(
        prepared=outputs / "prepared",
        splits=outputs / "splits",
        text=outputs / "text",
        protocol_name=arguments.protocol,
    )
    last, average = train_with_average(config, arguments.clip, inputs)
    pictures = eval_dataset(
        rows_of_split(inputs.index, "val"), inputs.root, data=config.data, short_side=None
    )
    batch = collate([pictures[place] for place in range(len(pictures))])
    maps = {flag: Maps.of(one, batch, inputs.class_vectors) for flag, one in ((False, last), (True, average))}
    for setting in INFERENCE:
        own = maps[setting.averaged].scored(setting, batch, inputs.class_vectors, inputs.split)
        yield {
            "training": " ".join((arguments.recipe, *sorted(arguments.set))),
            "protocol": arguments.protocol,
            "seed": seed,
            "inference": setting.name,
            **{score: getattr(own, score) for score in ("miou_seen", "miou_unseen", "hiou")},
        }


def table(rows: list[Row]) -> Iterator[str]:
    """Yield a line of Markdown for each training and setting; differences are of hIoU, to the first of the rows."""
    groups: dict[tuple[str, str], dict[tuple[str, int], Row]] = {}
    for row in rows:
        groups.setdefault((row["training"], row["inference"]), {})[row["protocol"], row["seed"]] = row
    base = next(iter(groups.values()))
    yield "| training | inference | trainings | mIoU(S) | mIoU(U) | hIoU | difference | interval |"
    yield "|---|---|--:|--:|--:|--:|--:|---|"
    places = {key: place for place, key in enumerate(sorted({key for own in groups.values() for key in own}))}
    for (training, inference), own in groups.items():
        means = [
            f"{100 * fmean(row[score] for row in own.values()):.1f}"
            for score in ("miou_seen", "miou_unseen", "hiou")
        ]
        better, worse = ({places[key]: row["hiou"] for key, row in side.items()} for side in (own, base))
        interval = paired_interval(better, worse)
        ends = "-" if interval is None else interval.ends
        difference = "-" if interval is None else f"{100 * interval.difference:+.1f}"
        cells = (training, inference, len(own), *means, difference, ends)
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Train and score each seed, or print the table of files."""
    parser = ArgumentParser(prog="python -m benchmarks.held_out", description=__doc__)
    parser.add_argument("--table", nargs="+", type=Path, help="files of rows; nothing is trained")
    parser.add_argument("--recipe", default="mini_cascade_clip")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe"
    )
    parser.add_argument("--protocol", default="mini-13-5a")
    parser.add_argument(
        "--outputs", type=Path, default=Path("local_outputs/a"), help="prepared, splits, text"
    )
    parser.add_argument("--clip", type=Path, default=Path("data/mini/clip"))
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument(
        "--out", type=Path, default=Path("local_outputs/held_out.json"), help="rows are added to it"
    )
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(table([row for file in arguments.table for row in read_json(file)])))
        return
    torch.set_num_threads(1)
    for seed in map(int, arguments.seeds.split(",")):
        before = read_json(arguments.out) if arguments.out.exists() else []
        rows = [*before, *rows_of(arguments, seed)]
        write_json(arguments.out, rows)
        print(seed, *(f"{row['hiou']:.3f}" for row in rows[len(before) :]), flush=True)


if __name__ == "__main__":
    main()
