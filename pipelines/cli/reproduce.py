"""The command that repeats a published run and puts its numbers beside the paper's."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from cascade_core.clip.home import clip_folder
from cascade_core.configs.overrides import parse_overrides
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError
from cascade_core.runtime.option_texts import numbers
from cascade_core.runtime.targets import check_gathering_folder
from pipelines.cli.options import Device, OverridesFile, Set

OUT = Path("local_outputs/reproduce")


def reproduce(
    data_set: Annotated[
        str | None,
        typer.Argument(
            metavar="[voc12|context|cocostuff]",
            help="Data set; a --checkpoint shows its own.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="Method, such as zegclip; maskclip, sclip, clearclip and naclip need no training."),
    ] = "cascade_clip",
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Score this .pth file of the authors' code instead of training."),
    ] = None,
    prepared: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder that `cascade-clip prepare` wrote.")
    ] = Path("local_outputs/prepared"),
    clip: Annotated[
        Path, typer.Option(metavar="FOLDER", help="CLIP folder, or the name of an imported CLIP.")
    ] = Path("ViT-B-16"),
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Text vectors of the classes (.npy), instead of CLIP's text tower."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    self_train: Annotated[
        bool, typer.Option(help="Self-train too (transductive), from each inductive training.")
    ] = True,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch, such as one per GPU.")
    ] = 1,
    set_: Set = None,
    overrides: OverridesFile = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol of the --checkpoint, if the file does not show it.")
    ] = None,
    setting: Annotated[
        Literal["inductive", "transductive_oracle", "supervised"] | None,
        typer.Option(help="Setting of the --checkpoint, if the file does not show it."),
    ] = None,
    device: Device = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only measure a few steps; say time, memory and disk, and what is missing."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of all outputs; resumes there. local_outputs/reproduce/DATA_SET if none.",
        ),
    ] = None,
) -> None:
    """Repeat a published run, and print its scores beside the published ones.

    Trains a method's recipe with several seeds, self-trains it, and scores the validation pictures: the paper's table
    from prepared data and CLIP. An interrupted call resumes. With --checkpoint nothing is trained: the file is
    converted and scored, which takes minutes on a GPU. Nor do the methods that need no training: all classes of the data
    set are scored alike, and mIoU(S) is the mIoU of all.
    """
    from pipelines.workstation import reproduction, reproduction_page, workflow
    from pipelines.workstation import reproduction_without_training as without_training

    inputs = reproduction.Inputs(prepared, clip_folder(clip), vectors)
    named = None if data_set is None else reproduction.data_set_named(data_set)
    out = out or OUT / ("released" if named is None else named.name)
    check_gathering_folder(out)
    if checkpoint is not None:
        if dry_run or set_ or overrides:
            raise UserError(
                "--dry-run, --set and --overrides go with a training; leave them out with --checkpoint"
            )
        config, rows = reproduction.score_released(
            checkpoint, inputs, data_set=named, protocol=protocol, setting=setting, out=out
        )
        title = f"{checkpoint.name} on {config.data.protocol}"
        command = f"cascade-clip reproduce --checkpoint {shlex.quote(checkpoint.name)}"
        remarks = reproduction.remarks(reproduction.data_set_of(config), inputs, {})
    else:
        if named is None:
            known = ", ".join(reproduction.data_sets())
            raise UserError(f"reproduce needs a data set ({known}), or --checkpoint FILE")
        if protocol or setting:
            raise UserError("--protocol and --setting describe a --checkpoint; a recipe has its own")
        changes, chosen = (
            parse_overrides(set_ or (), overrides),
            numbers("--seeds", seeds, int, example="0,1,2"),
        )
        name, trains = reproduction.recipe_named(named, method), not without_training.is_training_free(method)
        config = (
            recipe(name, changes) if trains else without_training.config_without_clip(named, method, changes)
        )
        parts = reproduction.SPLITS if trains else (reproduction.SPLIT,)
        if dry_run:
            from cascade_core.predictor import device_named
            from pipelines.workstation.reproduction_cost import estimate

            plan = estimate(
                config,
                named,
                inputs,
                num_seeds=len(chosen) if trains else 1,
                self_training=self_train,
                processes=processes,
                device=device_named(device, ("cpu", "cuda")),
                out=out,
                trains=trains,
            )
            print(
                f"plan     {name} on {named.title} ({config.data.protocol})"
                + (f", seeds {seeds}" if trains else "")
            )
            for line in plan.lines():
                print(line)
            for line in reproduction.missing(named, inputs, splits=parts):
                print(f"missing  {line}")
            return
        reproduction.check(named, inputs, splits=parts)
        title = f"{name} on {named.title}"
        command = f"cascade-clip reproduce {named.name} --method {method}"
        if trains:
            command += f" --seeds {seeds}"
            rows = reproduction.train(
                config,
                inputs,
                seeds=chosen,
                self_training=self_train,
                overrides=changes,
                processes=processes if processes > 1 else None,
                out=out,
            )
        else:
            _, rows = without_training.score(named, method, inputs, overrides=changes, out=out)
        remarks = reproduction.remarks(named, inputs, changes)
    page = reproduction_page.write(rows, inputs, title=title, command=command, remarks=remarks, out=out)
    print(reproduction_page.summary(rows, remarks))
    print(f"page     {page.resolve()}")
    workflow.print_where_runs_are(config.data.protocol)
