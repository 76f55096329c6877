"""Step: measure parameters, multiply-adds, speed and memory of one model or several."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from components.artifacts.metadata import write_metadata
from components.cluster.pods import LARGE, MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, step
from components.contract.shared import Device, Out, Overrides, Text, whole_numbers

if TYPE_CHECKING:
    from cascade_core.engines.comparison import EngineTime
    from cascade_core.profile.measure import Cost
    from components.results.profile_table import Profiled

PLOT_FILE = "profile.png"
TRACKED = ("trainable_params", "gmacs", "images_per_second", "peak_memory_mib")
"""MLflow and Kubeflow show these fields of a `Cost` as metrics."""


@dataclass(frozen=True)
class Profile:
    """The measurements of each model, the folder with tables and a plot, and the first model in other engines, if asked."""

    profiles: "tuple[Profiled, ...]"
    out: Path
    engines: "tuple[EngineTime, ...]" = ()

    @property
    def cost(self) -> "Cost":
        """The cost of the first model."""
        return self.profiles[0].cost

    def show(self) -> None:
        """Print the tables."""
        import sys

        from rich.console import Console

        from components.results.engine_table import engine_table
        from components.results.profile_table import WIDE, tables

        # A file has no width: without one, rich would wrap the lines of DVC's log.
        console = Console() if sys.stdout.isatty() else Console(width=WIDE)
        for table in tables(self.profiles):
            console.print(table)
        if self.engines:
            console.print(engine_table(self.engines, _case(self.profiles[0])))
        print(f"plot and tables: {self.out.resolve()}")


def _case(profiled: "Profiled") -> str:
    """Describe what the engines computed."""
    cost = profiled.cost
    return f"{profiled.name}, one picture of {cost.image_size} px, {cost.num_classes} classes, {cost.threads} threads"


def show_cost(profile: Profile, _: Mapping[str, Any], *, metrics: Any) -> dict[str, Any]:
    """Write the first model's cost into a Metrics artifact of Kubeflow, and return no metadata."""
    write_metadata(metrics, {name: getattr(profile.cost, name) for name in TRACKED})
    return {}


@step(
    "profile",
    example="cascade-clip profile --checkpoint outputs/train/zegclip/final --out local_outputs/profile",
    cluster=Cluster(
        output="cost",
        pages={"metrics": "Metrics"},
        show=show_cost,
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
            made_by="train",
        ),
    ] = (),
    recipes: Annotated[
        Sequence[str],
        Option("Recipe, measured with random weights, which cost the same; repeatable.", flag="--recipe"),
    ] = (),
    text: Text | None = None,
    out: Out,
    two_stage: Annotated[
        int | None,
        Option(
            "Also measure a two-stage baseline: CLIP on this many crops of a picture, such as 100.",
            metavar="REGIONS",
        ),
    ] = None,
    batch_sizes: Annotated[
        tuple[int, ...],
        Option("Batch sizes, separated by commas.", default="1,8", **whole_numbers("--batch-sizes")),
    ] = (1, 8),
    image_sizes: Annotated[
        tuple[int, ...],
        Option(
            "Picture sides in pixels, separated by commas; if left out, that of each model.",
            **whole_numbers("--image-sizes"),
        ),
    ] = (),
    num_classes: Annotated[
        int | None,
        Option("Number of classes; uses random text vectors instead of those of --text.", flag="--classes"),
    ] = None,
    overrides: Overrides | None = None,
    repeats: Annotated[int, Option("Timed runs of each batch size and picture size.")] = 5,
    device: Device = None,
    threads: Annotated[int | None, Option("Threads on a CPU; if left out, torch's default.")] = None,
    engines: Annotated[
        bool,
        Option("Also compare torch, onnxruntime and OpenVINO in fp32, bf16 and int8, on the first model."),
    ] = False,
) -> Profile:
    """Measure parameters, multiply-adds, speed, memory.

    Writes latency and peak memory for each batch size and picture size, throughput, and a breakdown by part, as
    JSON, CSV, Markdown and a plot. Timed runs of several models alternate; the table compares each with the first.
    `profile.json` describes the first model, and the others in its field `others`. Checkpoints use the text vectors
    of --text; recipes use random ones for the classes of their label set. With --classes, both use that many random ones.
    Only the measurement of a single checkpoint on its own classes is tracked in MLflow.

    --engines exports the first model as `export` does, and times one picture of the first size in each engine on the
    CPU, in turns with torch: `engines.csv`. Engines that are not installed read so.

    Raises:
        UserError: no model is given, a checkpoint is missing, a recipe is unknown, the text vectors are of another
            label set, or an option has a wrong value or does not go with another.
    """
    from cascade_core.errors import UserError
    from cascade_core.predictor import device_named
    from cascade_core.profile.measure import Settings, check
    from components.profiling.engines import measure_engines
    from components.profiling.models import (
        TABLE_FILE,
        check_counts,
        measure_models,
        models_of,
        write_profiles,
    )
    from components.results.engine_table import write_engines

    if engines and device not in (None, "cpu"):
        raise UserError(
            f"--engines compares engines on the CPU, and --device is {device}; leave one of them out"
        )
    torch_device = device_named("cpu" if engines else device, ("cpu", "cuda"))
    settings = Settings(batch_sizes=batch_sizes, image_sizes=image_sizes, repeats=repeats)
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
        profiles = measure_models(models, settings, torch_device, threads)
        write_profiles(work.folder, profiles, plot=PLOT_FILE)
        times: tuple[EngineTime, ...] = ()
        if engines:
            times = measure_engines(models[0], profiles[0].cost.image_size, repeats, threads)
            write_engines(work.folder, times, _case(profiles[0]), page=work.folder / TABLE_FILE)
        work.tracker.metrics({name: float(getattr(profiles[0].cost, name)) for name in TRACKED})
        work.tracker.files(PLOT_FILE)
    return Profile(profiles, out, times)
