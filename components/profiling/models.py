"""The models of a profile: load or build them, measure them in turns, and write the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.clip.text import mean_over_templates
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.case import Subject
from cascade_core.profile.measure import Cost, Settings, measure
from cascade_core.profile.random_classes import random_classes
from cascade_core.profile.two_stage import Regions, TwoStage
from cascade_core.runtime.files import write_json
from cascade_core.runtime.threads import threads_used
from components.progress import progress
from components.results.names import PROFILE_FILE
from components.results.profile_table import Profiled, markdown, save_frames, save_plot
from components.vectors.vector_files import read_class_vectors

TABLE_FILE = "profile.md"
TWO_STAGE = "two_stage"
TRACKED = ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib")


@dataclass(frozen=True)
class Model:
    """A model to measure, its configuration, and its training setting ("" for random weights)."""

    subject: Subject
    config: RunConfig
    setting: str = ""

    def profiled(self, cost: Cost) -> Profiled:
        method = TWO_STAGE if isinstance(self.subject.model, TwoStage) else self.config.method
        return Profiled(self.subject.name, method, self.config.data.protocol, cost)


def models_of(
    checkpoints: Sequence[Path],
    recipes: Sequence[str],
    overrides: Mapping[str, Any],
    two_stage: int | None,
    num_classes: int | None,
    text: Path | None,
) -> list[Model]:
    """Load the checkpoints, build the recipes with random weights, and add the two-stage baseline last.

    Raises:
        UserError: there are overrides but no recipe, or a checkpoint, recipe or text vector does not fit.
    """
    if overrides and not recipes:
        raise UserError(
            f"overrides {', '.join(overrides)} go into recipes only; give a --recipe, or leave them out"
        )
    configs = [recipe(name, overrides) for name in recipes]
    models = [
        *(_of_checkpoint(folder, text, num_classes) for folder in checkpoints),
        *(_of_recipe(config, num_classes) for config in configs),
    ]
    if models and two_stage is not None:
        models.append(_baseline(models[0], two_stage))
    return _number_duplicates(models)


def check_counts(**counts: int | None) -> None:
    """Check that every count except None is positive.

    Raises:
        UserError: a count is 0 or negative.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: give a whole number from 1, or leave it out")


def _of_checkpoint(folder: Path, text: Path | None, num_classes: int | None) -> Model:
    segmentor, manifest = load_segmentor(folder)
    config = manifest.config
    if num_classes is not None:
        vectors = random_classes(config, num_classes)
    elif text is not None:
        # A model without training has no classes of its own.
        split = None if manifest.setting == "training_free" else config.data.split
        vectors = read_class_vectors(text, split, form=config.model.text)
    else:
        raise UserError(
            f"checkpoint {folder} needs text vectors, or the number of classes; give --text or --classes"
        )
    return _model(config.method, segmentor, vectors, config, manifest.setting)


def _of_recipe(config: RunConfig, num_classes: int | None) -> Model:
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=config.seed)
    vectors = random_classes(config, num_classes or config.data.split.num_classes)
    return _model(config.recipe, segmentor, vectors, config, "")


def _model(name: str, segmentor: Segmentor, vectors: Tensor, config: RunConfig, setting: str) -> Model:
    size, patch_size = config.model.image_size, config.model.clip.patch_size
    return Model(Subject(name, segmentor, vectors, size, patch_size), config, setting)


def _baseline(first: Model, regions: int) -> Model:
    """Return a two-stage segmentor with a CLIP of the first model's shapes; it takes pictures of any size."""
    two_stage = TwoStage(VisionTransformer(first.config.model.clip), Regions(regions))
    vectors = first.subject.class_vectors
    subject = replace(
        first.subject,
        name=f"{TWO_STAGE}, {regions} regions",
        model=two_stage,
        class_vectors=vectors if vectors.ndim == 2 else mean_over_templates(vectors),
        patch_size=1,
    )
    return Model(subject, first.config)


def _number_duplicates(models: Sequence[Model]) -> list[Model]:
    """Append a number to the names that occur more than once."""
    names = [model.subject.name for model in models]
    return [
        replace(model, subject=replace(model.subject, name=f"{name} ({names[: place + 1].count(name)})"))
        if names.count(name) > 1
        else model
        for place, (name, model) in enumerate(zip(names, models, strict=True))
    ]


def measure_models(
    models: Sequence[Model], settings: Settings, device: torch.device, threads: int | None
) -> tuple[Profiled, ...]:
    """Measure the models in turns with `threads` threads; None means torch's default."""
    subjects = [model.subject for model in models]
    with progress("profile") as bar, threads_used(threads or torch.get_num_threads()):
        costs = measure(
            subjects, settings, device, report=lambda done, total, text: bar.advance(done, text, total=total)
        )
    return tuple(model.profiled(cost) for model, cost in zip(models, costs, strict=True))


def write_profiles(folder: Path, profiles: Sequence[Profiled], *, plot: str) -> None:
    """Write tables, a plot and profile.json: the first model's, with the others in its field `others`."""
    first, *others = [profile.fields() for profile in profiles]
    write_json(folder / PROFILE_FILE, first | {"others": others} if others else first)
    (folder / TABLE_FILE).write_text(markdown(profiles), encoding="utf-8")
    save_frames(profiles, folder)
    save_plot(profiles, folder / plot)
