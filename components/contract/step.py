"""A step, and one call of it: arguments, the run in MLflow, the output folder and its manifest."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from cascade_core.errors import UserError
from cascade_core.runtime.cores import limit_threads
from cascade_core.runtime.files import new_folder
from components.artifacts.manifest import git_commit, write_manifest
from components.cluster.pods import Resources
from components.contract.output import checked_output
from components.contract.parameters import (
    Folder,
    Option,
    Output,
    Parameter,
    Place,
    Settings,
    flag_of,
    parameter,
    words,
)
from components.tracking.tracker import StepTracker, tracked_step

P = ParamSpec("P")
R = TypeVar("R")

Threads = Literal["free", "usable"]
"""The cores that a command has a thread for: those that other processes leave free, or all that it may use."""


@dataclass(frozen=True)
class Cluster:
    """What a step needs in a cluster, and its interface as a Kubeflow component.

    Attributes:
        pods: resources of its pod, by kind of cluster.
        output: name of the artifact that the step writes, and `artifact` its type.
        parts: further artifacts, by name and type, for the parts of a training that other steps read.
        options: the options that pipelines pass; folders and places are always passed.
        grouped: options that pipelines pass together, as one JSON object of that name.
        reads_pictures: whether the pod needs the raw data.
        trains: whether the step runs in a process per GPU of its pod, or on several nodes.
        pages: artifacts that Kubeflow's pages show, by name and type.
        show: fills `pages`, and returns metadata for the output beside those of its inputs; takes the step's result
            (None from several nodes), the step's arguments, and the artifacts of `pages` by name.
    """

    pods: Mapping[str, Resources]
    output: str
    artifact: str = "Artifact"
    parts: Mapping[str, Literal["Model", "Artifact"]] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    grouped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reads_pictures: bool = False
    trains: bool = False
    pages: Mapping[str, Literal["Metrics", "ClassificationMetrics", "Markdown"]] = field(default_factory=dict)
    show: Callable[..., Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Work:
    """What a running step writes to: its new folder, its run in MLflow, and the content hashes that it knows of its inputs."""

    folder: Path
    tracker: StepTracker
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Step(Generic[P, R]):
    """A step; calling it runs its function.

    Attributes:
        name: its name in manifests and in MLflow.
        command: the words of its command.
        example: a command line to paste.
        tracked: whether a call is a run in MLflow.
        threads: whether its command takes `--threads`, and the default: a thread for each core that is free, or for
            each usable one where the result depends on their number in its last digits or the step measures speed.
    """

    function: Callable[Concatenate["Call", P], R]
    name: str
    command: str
    example: str
    tracked: bool
    cluster: Cluster | None
    threads: Threads | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step, after a check that its output folder may be written; it writes to the target of a link.

        Raises:
            UserError: a folder of an earlier step is missing, the output folder may not be written (see
                `checked_output`), or as of the step.
        """
        for name, value in kwargs.items():
            meaning = self.parameters[name].meaning if name in self.parameters else None
            if isinstance(meaning, Place) and meaning.locate and isinstance(value, str | Path):
                kwargs[name] = meaning.locate(Path(value))
        limit_threads()
        call = Call(self, kwargs)
        if call.arguments[self.output] is not None:
            call.arguments[self.output] = kwargs[self.output] = call.checked(call.out)
        call.check_folders()
        return self.function(call, *args, **kwargs)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, in the order of the signature."""
        hints = get_type_hints(self.function, include_extras=True)
        signature = inspect.signature(self.function)
        return {
            name: parameter(name, hints[name], stated.default)
            for name, stated in list(signature.parameters.items())[1:]
        }

    @cached_property
    def output(self) -> str:
        """The name of the parameter for the output folder."""
        (name,) = (name for name, stated in self.parameters.items() if isinstance(stated.meaning, Output))
        return name

    @property
    def help(self) -> str:
        """The help of the command: the function's docstring up to `Raises:`."""
        text = inspect.cleandoc(self.function.__doc__ or "")
        return text.partition("\nRaises:")[0].strip()

    def words(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the command-line arguments that make the command run with `arguments`."""
        return [
            word
            for name, value in arguments.items()
            for word in words(name, self.parameters[name].meaning, value)
        ]


def step_named(name: str) -> Step[Any, Any]:
    """Import the step `name` from the module of the same name."""
    run = import_module(f"components.steps.{name}").run
    assert isinstance(run, Step), f"`run` of components/steps/{name}.py is not a step"
    return run


class Call:
    """One call of a step, with its arguments and the defaults of the others."""

    def __init__(self, called: Step[Any, Any], arguments: Mapping[str, Any]) -> None:
        self.step = called
        defaults = {name: stated.default for name, stated in called.parameters.items() if not stated.required}
        self.arguments: dict[str, Any] = {**defaults, **arguments}
        self.commit = git_commit()  # now, as files may change while a long step runs

    @property
    def out(self) -> Path:
        """The output folder."""
        return Path(self.arguments[self.step.output])

    @property
    def inputs(self) -> dict[str, Path]:
        """The input folders, by their names in the manifest: `text`, or `evaluations-0`, `evaluations-1`, ..."""
        folders: dict[str, Path] = {}
        for name, stated in self.step.parameters.items():
            value = self.arguments[name]
            if not isinstance(stated.meaning, Folder | Place) or value is None:
                continue
            if isinstance(value, Path):
                folders[name] = value
            else:
                folders |= {f"{name}-{position}": folder for position, folder in enumerate(value)}
        return folders

    def check_folders(self) -> None:
        """Check that the folders of earlier steps exist.

        A folder that the function can do without passes if it stands at the command's default: the user did not ask
        for it, and the step's own reading names it where this call needs it.

        Raises:
            UserError: one does not; the message names the command that writes it.
        """
        for name, stated in self.step.parameters.items():
            meaning, value = stated.meaning, self.arguments.get(name)
            if not isinstance(meaning, Folder) or meaning.made_by is None or value is None:
                continue
            if not stated.required and meaning.default is not None and str(value) == meaning.default:
                continue
            for folder in [value] if isinstance(value, str | Path) else value:
                if not Path(folder).exists():
                    raise UserError(
                        f"{folder} does not exist; `cascade-clip {meaning.made_by}` writes it, or name another folder "
                        f"with {flag_of(name, meaning)}"
                    )

    def checked(self, out: Path) -> Path:
        """Return the folder to write for `out`; raises as `checked_output`."""
        return checked_output(out, step=self.step.name, inputs=self.inputs.values())

    @property
    def recorded(self) -> dict[str, Any]:
        """The parameters for the manifest: overrides, and options that the result depends on."""
        return {
            name: _plain(stated.meaning, self.arguments[name])
            for name, stated in self.step.parameters.items()
            if isinstance(stated.meaning, Settings)
            or (isinstance(stated.meaning, Option) and not stated.meaning.unrecorded)
        }

    @contextmanager
    def writing(
        self,
        *,
        protocol: str = "",
        method: str | None = None,
        setting: str | None = None,
        seed: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        tracked_parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Path] | None = None,
        tags: Mapping[str, object] | None = None,
        tracked: bool | None = None,
        out: Path | None = None,
        folder: Callable[[Path], AbstractContextManager[Path]] = new_folder,
    ) -> Iterator[Work]:
        """Open the run in MLflow and the new folder; after the block, write the manifest and put the folder in place.

        If the block raises, an earlier folder stays as it was. `parameters`, `inputs` and `out` replace those of the
        call, `tracked_parameters` those that MLflow gets, and `tracked` what the step states.

        Raises:
            UserError: the folder may not be written (see `checked_output`), the MLflow store is away, the disk is
                full, or an input does not exist.
        """
        recorded, target = self.recorded if parameters is None else parameters, self.checked(out or self.out)
        run: AbstractContextManager[StepTracker] = nullcontext(StepTracker())
        if self.step.tracked if tracked is None else tracked:
            run = tracked_step(
                self.step.name,
                protocol=protocol,
                method=method,
                setting=setting,
                seed=seed,
                parameters=recorded if tracked_parameters is None else tracked_parameters,
                tags=tags,
                out=target,
            )
        with run as tracker, folder(target) as working:
            work = Work(working, tracker)
            yield work
            write_manifest(
                working,
                step=self.step.name,
                inputs=self.inputs if inputs is None else inputs,
                parameters=recorded,
                hashes=work.hashes,
                commit=self.commit,
            )


def step(
    name: str,
    *,
    example: str = "",
    command: str | None = None,
    tracked: bool = True,
    cluster: Cluster | None = None,
    threads: Threads | None = None,
) -> Callable[[Callable[Concatenate[Call, P], R]], Step[P, R]]:
    """Make a step of a function that takes the call first, then the parameters by name.

    `command` is the step's name with dashes if left out. A step that only a workflow runs needs no example.
    """
    return lambda function: Step(
        function, name, command or name.replace("_", "-"), example, tracked, cluster, threads
    )


def _plain(meaning: Option | Settings, value: Any) -> Any:
    """Convert a value for JSON; a type that JSON lacks becomes the text that a command takes."""
    match value:
        case None | str() | int() | float():
            return value
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
    assert isinstance(meaning, Option)
    return str(value) if meaning.texts is None else ",".join(meaning.texts(value))
