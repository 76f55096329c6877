"""The command line: `cascade-clip <command>`, a thin layer over the steps and pipelines."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines import step_commands as steps

if TYPE_CHECKING:
    import click

USAGE_ERROR = 2
CHATTY = ("PIL", "alembic", "asyncio", "botocore", "fsspec", "git", "matplotlib", "urllib3")


class CascadeGroup(TyperGroup):
    """Tells a `ValueError`, which is about what was given, in one line; other exceptions keep their trace."""

    def invoke(self, ctx: "click.Context") -> Any:
        try:
            return super().invoke(ctx)
        except ValueError as error:
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(USAGE_ERROR) from error


class CascadeCommand(TyperCommand):
    """Ends its help with a command to paste, which is never wrapped."""

    def format_epilog(self, ctx: "click.Context", formatter: "click.HelpFormatter") -> None:
        formatter.write(f"\nExample:\n  {self.epilog}\n")


app = typer.Typer(
    cls=CascadeGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
pipeline_app = typer.Typer(
    help="The same workflow as a Kubeflow pipeline.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell details, and the trace of every error.")
    ] = False,
) -> None:
    """Zero-shot semantic segmentation: ZegCLIP and Cascade-CLIP in a reproducible workflow."""
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to run, with what they need; all if none.")
    ] = None,
    pull: Annotated[bool, typer.Option(help="Fetch missing data from the DVC remote.")] = True,
    force: Annotated[bool, typer.Option(help="Run stages that did not change, too.")] = False,
) -> None:
    """Run what changed of the whole workflow in dvc.yaml, and print its table."""
    from pipelines import workflow

    workflow.repro(targets or (), pull=pull, force=force)
    workflow.tell_results()


COMMANDS = (
    ("run", run, "cascade-clip run"),
    (
        "prepare",
        steps.prepare,
        "cascade-clip prepare --raw data/mini --protocol mini-18-6 --image-set train=train --image-set test=test",
    ),
    ("splits", steps.splits, "cascade-clip splits --protocol mini-18-6"),
    (
        "text-vectors",
        steps.text_vectors,
        "cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip data/mini/clip",
    ),
    ("mini-data", steps.mini_data, "cascade-clip mini-data --out local_outputs/mini"),
    ("pretrain", steps.pretrain, "cascade-clip pretrain --out local_outputs/clip"),
    (
        "import-clip",
        steps.import_clip,
        "cascade-clip import-clip open_clip_model.safetensors --out data/clip/ViT-B-16",
    ),
    (
        "train",
        steps.train,
        "cascade-clip train --recipe mini_zegclip --clip data/mini/clip --out local_outputs/train",
    ),
    (
        "self-train",
        steps.self_train,
        "cascade-clip self-train --trained outputs/train/zegclip --out local_outputs/self_train",
    ),
)
for name, function, example in COMMANDS:
    app.command(name, cls=CascadeCommand, epilog=example)(function)
app.add_typer(pipeline_app, name="pipeline")
