"""Step: measure what a checkpoint's model costs at its own picture size and label set."""

from dataclasses import asdict
from pathlib import Path

import torch

from cascade_core.files import new_folder, write_json
from cascade_core.profile.cost import Cost, measure
from cascade_core.train.checkpoint import load_segmentor
from components.artifacts import write_manifest
from components.text_vectors import read_class_vectors
from components.tracking import tracked_step

PROFILE_FILE = "profile.json"


def run(*, checkpoint: Path, text: Path, out: Path, batch_sizes: tuple[int, ...] = (1, 8)) -> Cost:
    """Write `out/profile.json`: parameters, multiply-adds, latency, throughput and peak memory.

    Raises:
        ValueError: the checkpoint is missing, or the text vectors are of another label set.
    """
    segmentor, manifest = load_segmentor(checkpoint)
    config = manifest.config
    vectors = read_class_vectors(text, config.data.split)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with (
        tracked_step(
            "profile",
            method=config.method,
            setting=manifest.setting,
            protocol=config.data.protocol,
            seed=config.seed,
            parameters={"batch_sizes": list(batch_sizes), "image_size": config.model.image_size},
            out=out,
        ) as tracker,
        new_folder(out) as folder,
    ):
        cost = measure(
            segmentor, vectors, image_size=config.model.image_size, batch_sizes=batch_sizes, device=device
        )
        write_json(
            folder / PROFILE_FILE, {"method": config.method, "protocol": config.data.protocol, **asdict(cost)}
        )
        write_manifest(
            folder,
            step="profile",
            inputs={"checkpoint": checkpoint, "text": text},
            parameters={"batch_sizes": list(batch_sizes)},
        )
        tracker.metrics(
            {
                name: float(getattr(cost, name))
                for name in ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib")
            }
        )
    return cost
