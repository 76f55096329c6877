"""Step: measure what models cost: a checkpoint's at its own picture size and label set, or several side by side."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.predictor import device_named
from cascade_core.profile.case import Subject
from cascade_core.profile.measure import Cost, Settings, check, measure
from cascade_core.profile.two_stage import Regions, TwoStage
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.runtime.threads import threads_used
from components.artifacts import write_manifest
from components.progress import progress
from components.results.profile_plot import save_plot
from components.results.profile_table import Profiled, markdown, save_frames
from components.steps.text_vectors import read_class_vectors
from components.tracking.tracker import StepTracker, tracked_step

PROFILE_FILE, TABLE_FILE, PLOT_FILE = "profile.json", "profile.md", "profile.png"
TWO_STAGE = "two_stage"
TRACKED = ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib")


@dataclass(frozen=True)
class _Model:
    """What is measured, the configuration it is of, and the setting it was trained in ("" for random weights)."""

    subject: Subject
    config: RunConfig
    setting: str = ""

    def profiled(self, cost: Cost) -> Profiled:
        method = TWO_STAGE if isinstance(self.subject.model, TwoStage) else self.config.method
        return Profiled(self.subject.name, method, self.config.data.protocol, cost)


def run(*, checkpoint: Path, text: Path, out: Path, settings: Settings | None = None) -> Cost:
    """Measure a checkpoint's model at its own picture size and label set, as `side_by_side` does.

    Raises:
        UserError: the checkpoint is missing, the text vectors are of another label set, or a setting is refused.
    """
    (profiled,) = side_by_side(checkpoints=[checkpoint], text=text, settings=settings, out=out)
    return profiled.cost


def side_by_side(
    *,
    out: Path,
    checkpoints: Sequence[Path] = (),
    recipes: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    two_stage: int | None = None,
    num_classes: int | None = None,
    text: Path | None = None,
    settings: Settings | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> tuple[Profiled, ...]:
    """Measure models by turns and write into `out` profile.json, tables and a plot; ratios are to the first.

    That is parameters, multiply-adds, latency and peak memory at each batch and picture size, throughput, and a
    breakdown by part. Recipes, with `overrides` put in, get random weights: no cost depends on them. `two_stage`
    adds the baseline that shows so many regions of a picture to the first model's CLIP. `num_classes` random
    text vectors stand for a label set; without it checkpoints take those in `text`, recipes as many as their
    label set has classes. `profile.json` is that of the first model, the others' lie in its field `others`. A
    checkpoint alone, on its own classes, is a step of its run, and tracked.

    Raises:
        UserError: no model is given, a checkpoint is missing, a recipe is unknown, the text vectors are of
            another label set, or a setting is refused.
    """
    settings, chosen = settings or Settings(), device_named(device)
    _check_counts(classes=num_classes, regions=two_stage, threads=threads)
    models = _models(checkpoints, recipes, overrides or {}, two_stage, num_classes, text)
    check([model.subject for model in models], settings)
    inputs = {f"checkpoint-{place}": path for place, path in enumerate(checkpoints)}
    if checkpoints and text is not None and num_classes is None:
        inputs["text"] = text
    given = {"recipes": list(recipes), "overrides": dict(overrides or {}), "two_stage": two_stage}
    is_step = len(models) == len(checkpoints) == 1 and num_classes is None
    tracked = _tracked(models[0], settings, out) if is_step else nullcontext(StepTracker())
    with tracked as tracker, new_folder(out) as folder:
        profiles = _measured(models, settings, chosen, threads)
        _write(folder, profiles)
        parameters = given | {"num_classes": num_classes} | asdict(settings)
        write_manifest(folder, step="profile", inputs=inputs, parameters=parameters)
        tracker.metrics({name: float(getattr(profiles[0].cost, name)) for name in TRACKED})
        tracker.file(folder / PLOT_FILE)
    return profiles


def _models(
    checkpoints: Sequence[Path],
    recipes: Sequence[str],
    overrides: Mapping[str, Any],
    two_stage: int | None,
    num_classes: int | None,
    text: Path | None,
) -> list[_Model]:
    """Load or build what is to be measured, in that order, the two-stage baseline last."""
    if overrides and not recipes:
        raise UserError(
            f"overrides {', '.join(overrides)} go into recipes, and none is given; a checkpoint is what it is"
        )
    configs = [recipe(name, overrides) for name in recipes]
    models = [
        *(_of_checkpoint(folder, text, num_classes) for folder in checkpoints),
        *(_of_recipe(config, num_classes) for config in configs),
    ]
    if models and two_stage is not None:
        models.append(_baseline(models[0], two_stage))
    return _named_apart(models)


def _tracked(model: _Model, settings: Settings, out: Path) -> AbstractContextManager[StepTracker]:
    config = model.config
    return tracked_step(
        "profile",
        method=config.method,
        setting=model.setting,
        protocol=config.data.protocol,
        seed=config.seed,
        parameters=asdict(settings) | {"image_size": config.model.image_size},
        out=out,
    )


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: give a whole number from 1, or leave it out")


def _of_checkpoint(folder: Path, text: Path | None, num_classes: int | None) -> _Model:
    segmentor, manifest = load_segmentor(folder)
    config = manifest.config
    if num_classes is not None:
        vectors = _random_vectors(num_classes, config)
    elif text is not None:
        vectors = read_class_vectors(text, config.data.split)
    else:
        raise UserError(f"checkpoint {folder} needs text vectors, or the number of classes instead")
    return _model(config.method, segmentor, vectors, config, manifest.setting)


def _of_recipe(config: RunConfig, num_classes: int | None) -> _Model:
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=config.seed)
    vectors = _random_vectors(num_classes or config.data.split.num_classes, config)
    return _model(config.recipe, segmentor, vectors, config, "")


def _model(name: str, segmentor: Segmentor, vectors: Tensor, config: RunConfig, setting: str) -> _Model:
    size, patch_size = config.model.image_size, config.model.clip.patch_size
    return _Model(Subject(name, segmentor, vectors, size, patch_size), config, setting)


def _baseline(first: _Model, regions: int) -> _Model:
    """Give a two-stage segmentor on a CLIP of the first model's shapes; it takes pictures of any size."""
    two_stage = TwoStage(VisionTransformer(first.config.model.clip), Regions(regions))
    subject = replace(first.subject, name=f"{TWO_STAGE}, {regions} regions", model=two_stage, patch_size=1)
    return _Model(subject, first.config)


def _random_vectors(num_classes: int, config: RunConfig) -> Float[Tensor, "classes embed"]:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(num_classes, config.model.clip.embed_dim, generator=generator), dim=-1)


def _named_apart(models: Sequence[_Model]) -> list[_Model]:
    """Number models of the same name."""
    names = [model.subject.name for model in models]
    return [
        replace(model, subject=replace(model.subject, name=f"{name} ({names[: place + 1].count(name)})"))
        if names.count(name) > 1
        else model
        for place, (name, model) in enumerate(zip(names, models, strict=True))
    ]


def _measured(
    models: Sequence[_Model], settings: Settings, device: torch.device, threads: int | None
) -> tuple[Profiled, ...]:
    subjects = [model.subject for model in models]
    with progress("profile") as shown, threads_used(threads or torch.get_num_threads()):
        costs = measure(
            subjects, settings, device, told=lambda done, total, text: shown.advance(done, text, total=total)
        )
    return tuple(model.profiled(cost) for model, cost in zip(models, costs, strict=True))


def _write(folder: Path, profiles: Sequence[Profiled]) -> None:
    first, *others = [one.fields() for one in profiles]
    write_json(folder / PROFILE_FILE, first | {"others": others} if others else first)
    (folder / TABLE_FILE).write_text(markdown(profiles))
    save_frames(profiles, folder)
    save_plot(profiles, folder / PLOT_FILE)
