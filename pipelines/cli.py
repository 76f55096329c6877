"""The command line: `cascade-clip <command>`, a thin layer over the steps and pipelines."""

import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines.commands import data, models, pipeline, results, trainjob

USAGE_ERROR = 2
CHATTY = ("PIL", "alembic", "asyncio", "botocore", "fsspec", "git", "matplotlib", "urllib3")


class CascadeGroup(TyperGroup):
    """Tells a `ValueError`, which is about what was given, in one line; other exceptions keep their trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValueError as error:
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(USAGE_ERROR) from error


class CascadeCommand(TyperCommand):
    """Ends its help with a command to paste, which is never wrapped."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\nExample:\n  {self.epilog}\n")


app = typer.Typer(
    cls=CascadeGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 110},
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
    """Run what changed of the whole workflow, tell results."""
    from pipelines import workflow

    workflow.repro(targets or (), pull=pull, force=force)
    workflow.tell_results()


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("run", run, "cascade-clip run"),
    (
        "prepare",
        data.prepare,
        "cascade-clip prepare --raw data/mini --protocol mini-18-6 --image-set train=train --image-set test=test",
    ),
    ("splits", data.splits, "cascade-clip splits --protocol mini-18-6"),
    (
        "text-vectors",
        data.text_vectors,
        "cascade-clip text-vectors --protocol mini-18-6 --recipe mini_zegclip --clip data/mini/clip",
    ),
    (
        "train",
        models.train,
        "cascade-clip train --recipe mini_zegclip --clip data/mini/clip --out local_outputs/train",
    ),
    (
        "self-train",
        models.self_train,
        "cascade-clip self-train --trained outputs/train/zegclip --out local_outputs/self_train",
    ),
    (
        "evaluate",
        models.evaluate,
        "cascade-clip evaluate --checkpoint outputs/train/zegclip/final --split val --out local_outputs/evaluate",
    ),
    (
        "profile",
        models.profile,
        "cascade-clip profile --checkpoint outputs/train/zegclip/final --out local_outputs/profile",
    ),
    (
        "register",
        results.register,
        "cascade-clip register --checkpoint outputs/train/zegclip/final --evaluation outputs/evaluate/zegclip-inductive --profile outputs/profile/zegclip --out local_outputs/register",
    ),
    (
        "report",
        results.report,
        "cascade-clip report --evaluation outputs/evaluate/zegclip-inductive --profile outputs/profile/zegclip --out local_outputs/report",
    ),
    (
        "predict",
        results.predict,
        'cascade-clip predict data/mini/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg --labels "zebra, onion, grass, sand"',
    ),
    ("mini-results", results.mini_results, "cascade-clip mini-results --seeds 0,1,2"),
    ("mini-data", data.mini_data, "cascade-clip mini-data --out local_outputs/world"),
    ("pretrain", data.pretrain, "cascade-clip pretrain --out local_outputs/clip"),
    (
        "import-clip",
        data.import_clip,
        "cascade-clip import-clip open_clip_model.safetensors --out data/clip/ViT-B-16",
    ),
)
"""Name, function, and a command to paste."""

PIPELINE_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("compile", pipeline.compile_pipeline, "cascade-clip pipeline compile --out build/zero_shot.yaml"),
    (
        "run-local",
        pipeline.run_local,
        "cascade-clip pipeline run-local --set train.iterations=20 --set self_train.start_iteration=10",
    ),
    (
        "trainjob",
        trainjob.trainjob,
        "cascade-clip pipeline trainjob --nodes 2 --gpus 4 --volume cascade-data=/data -- train --recipe zegclip_voc12 --clip /data/clip --prepared /data/prepared --splits /data/splits --text /data/text --out /data/train",
    ),
)

for group, commands in ((app, COMMANDS), (pipeline_app, PIPELINE_COMMANDS)):
    for name, function, example in commands:
        group.command(name, cls=CascadeCommand, epilog=example)(function)
app.add_typer(pipeline_app, name="pipeline")
