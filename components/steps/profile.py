"""Step: measure what models cost: a checkpoint's at its own picture size and label set, or several side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, step
from components.contract.shared import Device, Out, Overrides, Text, whole_numbers

if TYPE_CHECKING:
    from cascade_core.profile.measure import Cost
    from components.results.profile_table import Profiled

PLOT_FILE = "profile.png"
TRACKED = ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib")
"""Fields of a cost that MLflow and Kubeflow show as metrics."""


@dataclass(frozen=True)
class Profile:
    """What models cost, and the folder with tables and a plot; `cost` is that of the first model."""

    profiles: "tuple[Profiled, ...]"
    out: Path

    @property
    def cost(self) -> "Cost":
        return self.profiles[0].cost

    def show(self) -> None:
        """Print the tables."""
        import sys

        from rich.console import Console

        from components.results.profile_table import WIDE, tables

        # A file, or DVC's log, has no width: no line is to be cut there.
        console = Console() if sys.stdout.isatty() else Console(width=WIDE)
        for table in tables(self.profiles):
            console.print(table)
        print(f"plot and tables: {self.out.resolve()}")


def show_cost(found: Profile, metrics: Any) -> dict[str, Any]:
    """Put the first model's cost into a Metrics artifact of Kubeflow; no label follows from it."""
    for name in TRACKED:
        metrics.log_metric(name, getattr(found.cost, name))
    return {}


@step(
    "profile",
    example="cascade-clip profile --checkpoint outputs/train/zegclip/final --out local_outputs/profile",
    cluster=Cluster(
        output="cost",
        pages={"metrics": "Metrics"},
        show=lambda found, _, *, metrics: show_cost(found, metrics),
        pods=by_kind(cpu=MINI.with_retries(1), gpu=LARGE.with_retries(1)),
    ),
)
def run(
    call: Call,
    /,
    *,
    checkpoints: Annotated[
        Sequence[Path],
        Folder(
            "Checkpoint folder; repeatable.",
            flag="--checkpoint",
            artifact="Model",
            below="final",
            travels_as="trained",
        ),
    ] = (),
    recipes: Annotated[
        Sequence[str],
        Option("Recipe, with random weights: no cost depends on them; repeatable.", flag="--recipe"),
    ] = (),
    text: Text | None = None,
    out: Out,
    two_stage: Annotated[
        int | None,
        Option(
            "Also a two-stage baseline: CLIP on so many crops of a picture, such as 100.", metavar="REGIONS"
        ),
    ] = None,
    batch_sizes: Annotated[
        tuple[int, ...],
        Option("Pictures at once, by commas.", default="1,8", **whole_numbers("--batch-sizes")),
    ] = (1, 8),
    image_sizes: Annotated[
        tuple[int, ...],
        Option(
            "Sides of pictures in pixels, by commas; each model's own if left out.",
            **whole_numbers("--image-sizes"),
        ),
    ] = (),
    num_classes: Annotated[
        int | None,
        Option("Random text vectors instead of the label set's; no --text needed then.", flag="--classes"),
    ] = None,
    overrides: Overrides | None = None,
    repeats: Annotated[int, Option("Timed runs of each batch and picture size.")] = 5,
    device: Device = None,
    threads: Annotated[int | None, Option("Threads on a CPU; torch's own choice if left out.")] = None,
) -> Profile:
    """Measure parameters, multiply-adds, speed, memory.

    Latency and peak memory at each batch and picture size, throughput, and a breakdown by part, as JSON, CSV,
    Markdown and a plot. Several models take turns and stand in one table, with ratios to the first;
    `profile.json` is that of the first, the others' lie in its field `others`. Random text vectors of
    --classes stand for a label set; without them checkpoints take those of --text, recipes as many as their
    label set has classes. A checkpoint alone, on its own classes, is tracked.

    Raises:
        UserError: no model is given, a checkpoint is missing, a recipe is unknown, the text vectors are of
            another label set, or a setting is refused.
    """
    from cascade_core.predictor import device_named
    from cascade_core.profile.measure import Settings, check
    from components.profiling.models import check_counts, measure_models, models_of, write_profiles

    settings = Settings(batch_sizes=batch_sizes, image_sizes=image_sizes, repeats=repeats)
    chosen = device_named(device)
    check_counts(classes=num_classes, regions=two_stage, threads=threads)
    models = models_of(checkpoints, recipes, overrides or {}, two_stage, num_classes, text)
    check([model.subject for model in models], settings)
    first = models[0].config
    needs_text = bool(checkpoints) and num_classes is None
    with call.writing(
        tracked=needs_text and len(models) == 1,
        method=first.method,
        setting=models[0].setting,
        protocol=first.data.protocol,
        seed=first.seed,
        tracked_parameters=asdict(settings) | {"image_size": first.model.image_size},
        inputs={name: path for name, path in call.inputs.items() if name != "text" or needs_text},
    ) as work:
        profiles = measure_models(models, settings, chosen, threads)
        write_profiles(work.folder, profiles, plot=PLOT_FILE)
        work.tracker.metrics({name: float(getattr(profiles[0].cost, name)) for name in TRACKED})
        work.tracker.files(PLOT_FILE)
    return Profile(profiles, out)
