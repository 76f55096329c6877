"""Pipelines for `cascade-clip pipeline verify`: one looks around, one fails, one waits to be cancelled, one removes the trial."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components.cluster.pods import ISOLATED, SERVERS_ONLY, SMALL, Resources, Tracking
from components.ops.image import IMAGE
from pipelines.kubeflow.catalogue import compile_pipeline, write_compiled
from pipelines.kubeflow.resources import with_resources

MINUTES = 10
LIGHT = replace(ISOLATED, minutes=MINUTES)
FAILING = replace(LIGHT, retries=1)
LOOKING = replace(SERVERS_ONLY, data=True, minutes=MINUTES, patience=1)
DRAWING = replace(SMALL, secret=False, minutes=MINUTES)
TORCH = replace(SMALL, data=False, secret=False, minutes=MINUTES)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def look_around(folder: str, note: Output[Artifact]) -> None:
    """Report what the pod has: volume, secret, tracking server."""
    from pathlib import Path

    from components.cluster import pod_probe

    pod_probe.report_pod(folder)
    Path(note.path).write_text(pod_probe.EXPERIMENT, encoding="utf-8")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def import_torch(note: Input[Artifact]) -> None:
    """Import torch and read the artifact of the other step."""
    from pathlib import Path

    from components.cluster import pod_probe

    pod_probe.report_torch(Path(note.path).read_text(encoding="utf-8"))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def draw_benchmark(folder: str, run: str) -> None:
    """Draw a few pictures of the mini benchmark on the volume."""
    from components.trial import mini

    mini.draw(mini.trial_folder(folder, run))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def remove_trial(folder: str, drawn_by: str, kfp_run: str) -> None:
    """Look at what the trial left, and remove it."""
    from components.entry import enter
    from components.trial import mini

    enter()
    mini.look_and_remove(mini.trial_folder(folder, drawn_by), kfp_run)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail_always() -> None:
    """Fail, so that the number of tries shows the cluster's retry policy."""
    raise SystemExit(1)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def wait_long() -> None:
    """Wait until somebody cancels the run."""
    import time

    time.sleep(600)


def verify(looking: Resources) -> Any:
    """Return the pipeline that looks around in both images."""

    @dsl.pipeline(name="verify", description="Made and removed by `cascade-clip pipeline verify`.")
    def verify(folder: str = "/data") -> None:
        first = with_resources(look_around(folder=folder), looking)
        second = with_resources(import_torch(note=first.outputs["note"]), TORCH)
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        with_resources(draw_benchmark(folder=folder, run=run), DRAWING).after(second)

    return verify


@dsl.pipeline(name="verify-retries", description="Fails: made and removed by `cascade-clip pipeline verify`.")
def verify_retries() -> None:
    """Fail once or twice."""
    with_resources(fail_always(), FAILING)


@dsl.pipeline(name="verify-cancel", description="Cancelled and removed by `cascade-clip pipeline verify`.")
def verify_cancel() -> None:
    """Wait."""
    with_resources(wait_long(), LIGHT)


def removal(looking: Resources) -> Any:
    """Return the pipeline that removes what the trial left."""

    @dsl.pipeline(name="verify-removal", description="Made and removed by `cascade-clip pipeline verify`.")
    def verify_removal(folder: str, drawn_by: str, kfp_run: str) -> None:
        with_resources(remove_trial(folder=folder, drawn_by=drawn_by, kfp_run=kfp_run), looking)

    return verify_removal


def compile_probes(
    folder: Path, *, image: str | None, light_image: str | None, tracking: Tracking = "secret"
) -> dict[str, Path]:
    """Compile the pipelines of a verification into a folder, the ablation for the trial too; return their files by name.

    Raises:
        UserError: an image is wrong.
    """
    looking = replace(LOOKING, tracking=tracking)
    probes = {
        "verify": verify(looking),
        "verify_removal": removal(replace(looking, on_volume=True)),
        "verify_retries": verify_retries,
        "verify_cancel": verify_cancel,
    }
    files = {name: folder / f"{name}.yaml" for name in probes}
    for name, pipeline in probes.items():
        write_compiled(pipeline, files[name], image=image, light_image=light_image)
    files["ablation"] = folder / "ablation.yaml"
    compile_pipeline(
        "ablation",
        files["ablation"],
        image=image,
        light_image=light_image,
        changes=[f"all.tracking={tracking}"],
    )
    return files
