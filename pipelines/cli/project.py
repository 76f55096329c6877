"""Commands about a project: make one, and take its data from folders to a champion in one call."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cascade_core.configs.overrides import parse_overrides
from cascade_core.runtime.cores import use_threads
from cascade_core.runtime.files import read_json
from components.contract import Option
from components.contract.shared import names_by_commas
from components.steps import prepare_custom
from pipelines.cli.from_step import with_former
from pipelines.cli.kubeflow_options import flat_options
from pipelines.cli.options import Jobs, Set, StageThreads
from pipelines.workstation import workflow

if TYPE_CHECKING:
    from pipelines.graphs.project import Project

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectOptions:
    """The options of `init` and `fit`; what is left out stays as the project's settings state it."""

    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the data set: pictures with label maps or files of objects.", show_default=False
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Label file (.yaml) with names, ids, unseen classes and background."
        ),
    ] = None
    clip: Annotated[
        str | None, typer.Option(metavar="CLIP", help="CLIP folder, or the name of an imported CLIP.")
    ] = None
    methods: Annotated[
        str | None,
        typer.Option(help="Methods or recipes, separated by commas; cascade_clip in a new project."),
    ] = None
    project: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the project: settings, state and results.")
    ] = Path()
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures; looked for in DATA if left out.")
    ] = None
    maps: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Label maps; looked for in DATA if left out.")
    ] = None
    map_suffix: Annotated[
        str | None, typer.Option(help="End of a label map's name; .png in a new project.")
    ] = None
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SPLIT=]FILE",
            help="Instead of --maps: objects in a file of COCO, CVAT, Label Studio or GeoJSON; repeatable.",
        ),
    ] = None
    coco: Annotated[list[str] | None, typer.Option(hidden=True)] = None
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT=LIST", help="Pictures of a split: a file with a list, or a folder; repeatable."
        ),
    ] = None
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT=SHARE",
            help="Share of the training pictures for another split, such as val=0.2; repeatable.",
        ),
    ] = None
    self_training: Annotated[
        Literal["none", "oracle", "strict"] | None,
        typer.Option(help="Continue training with pseudo-labels; none in a new project."),
    ] = None
    across_settings: Annotated[
        bool | None,
        typer.Option(help="Let a transductive model replace an inductive champion; no in a new project."),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the trainings; 0 in a new project.", min=0)] = None
    set_: Set = None

    def made(self, before_write: Callable[[], None] = lambda: None) -> "Project[Any]":
        """Make or update the project; raises as `project_files.make`."""
        from pipelines.workstation.project_files import Choices, make

        choices = Choices(
            data=self.data,
            labels=self.labels,
            clip=self.clip,
            methods=names_by_commas(self.methods, source="--methods") if self.methods else (),
            images=self.images,
            maps=self.maps,
            map_suffix=self.map_suffix,
            annotations=_parsed(
                "annotations", with_former("--coco", "--annotations", self.coco, self.annotations)
            ),
            splits=_parsed("splits", self.split),
            held_out=_parsed("held_out", self.hold_out),
            self_training=self.self_training,
            across_settings=self.across_settings,
            seed=self.seed,
            overrides=parse_overrides(self.set_ or ()),
        )
        return make(self.project, choices, before_write=before_write)


def _parsed(name: str, items: list[str] | None) -> Any:
    """Read a repeatable option as the command `prepare custom` does."""
    meaning = prepare_custom.run.parameters[name].meaning
    assert isinstance(meaning, Option) and meaning.parse is not None
    return meaning.parse(items) if items else None


@flat_options
def init(options: ProjectOptions) -> None:
    """Make a project in a folder, or change the settings of one: params.yaml, dvc.yaml, .gitignore.

    A project holds the settings of a data set's workflow, and its state and results. Edit params.yaml, and run
    `cascade-clip run` in the folder.
    """
    options.made()
    print(f"project  {options.project.resolve()}")
    print("next     cascade-clip run" + ("" if options.project == Path() else f"   # in {options.project}"))


@flat_options
def fit(
    options: ProjectOptions,
    force: Annotated[bool, typer.Option(help="Run unchanged stages too.")] = False,
    jobs: Jobs = None,
    threads: StageThreads = None,
) -> None:
    """Take a data set from its folder to a registered champion: check, split, train, evaluate, compare, register.

    Makes a project in the working folder, or updates the one there, and runs what changed; an interrupted call resumes.
    Without options it runs the project as it is, as `cascade-clip run` does.
    """
    from components.tracking.store import require_store

    if threads is not None:
        use_threads(threads)
    # Before hours of training, not after.
    project = options.made(before_write=partial(require_store, "register the models in"))
    with contextlib.chdir(options.project):
        workflow.repro(
            force=force, jobs=jobs, first=("splits", "text_vectors"), check=partial(_preflight, project)
        )
        workflow.print_outcome()
        for line in _champions():
            print(line)


def _preflight(project: "Project[Any]") -> None:
    """Check before the training that label maps, class names and text vectors agree; log what is unusual."""
    from components.inputs.preflight import preflight

    outputs = Path("outputs")
    report = preflight(
        prepared=outputs / "prepared",
        splits=outputs / "splits",
        text=outputs / "text",
        clip=Path(project.data.clip),
    )
    for sentence in (*report.passed, *report.notes):
        log.info("preflight: %s", sentence)


def _champions(register: Path = Path("outputs/register")) -> Iterator[str]:
    """Yield a line for each registered model of this project that has a champion here."""
    for name in sorted({read_json(file)["name"] for file in register.glob("*/model.json")}):
        yield f"serve    cascade-clip models serve {name}"
