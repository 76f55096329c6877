"""The statement of a step, and a call of it: bound arguments, the run in MLflow, the folder and its manifest."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, update_wrapper
from importlib import import_module
from pathlib import Path
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    get_type_hints,
)

from cascade_core.runtime.files import new_folder
from components.artifacts import write_manifest
from components.cluster.pods import Resources
from components.contract.parameters import (
    Meaning,
    Option,
    Output,
    Parameter,
    Settings,
    as_folders,
    is_given_folder,
    parameter,
    words,
)
from components.tracking.tracker import StepTracker, tracked_step

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Cluster:
    """What a step asks of a cluster by kind of cluster, and how it looks there as a component.

    `output` names the artifact it writes. `options` are the parameters that pipelines pass; folders and places
    are always passed. What is `grouped` travels as one JSON object of that name. `labels` are further texts, which
    decide nothing inside the step but belong to its input, so that a cached result is one of the same data. A
    step that `reads_pictures` has the raw data brought to its pod; one that `trains` runs in as many processes as
    its pod has GPUs, or on several nodes.

    `pages` are artifacts that Kubeflow's pages show, by name and kind. `show` fills them and returns what the
    output is labelled with beside its inputs' labels: it gets the step's result (None from several nodes), the
    step's arguments, and the pages by name.
    """

    pods: Mapping[str, Resources]
    output: str
    artifact: str = "Artifact"
    options: tuple[str, ...] = ()
    grouped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    reads_pictures: bool = False
    trains: bool = False
    pages: Mapping[str, Literal["Metrics", "ClassificationMetrics"]] = field(default_factory=dict)
    show: Callable[..., Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Work:
    """What a running step writes to: the new folder, and its record in MLflow.

    `hashes` takes those of inputs that the step knows, such as of a data set hashed file by file.
    """

    folder: Path
    tracker: StepTracker
    hashes: dict[str, str] = field(default_factory=dict)


class Step(Generic[P, R]):
    """A step as it was stated; calling it runs it.

    `name` is its name in manifests and in MLflow, `command` the words of its command, `example` a line to paste.
    """

    def __init__(
        self,
        function: Callable[Concatenate["Call", P], R],
        *,
        name: str,
        command: str,
        example: str,
        tracked: bool,
        cluster: Cluster | None,
    ) -> None:
        self.function = function
        self.name = name
        self.command = command
        self.example = example
        self.tracked = tracked
        self.cluster = cluster
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step."""
        return self.function(Call(self, kwargs), *args, **kwargs)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, in the order of the statement."""
        hints = get_type_hints(self.function, include_extras=True)
        signature = inspect.signature(self.function)
        return {
            name: parameter(name, hints[name], one.default)
            for name, one in list(signature.parameters.items())[1:]
        }

    @cached_property
    def output(self) -> str:
        """The name of the parameter for the folder that the step writes."""
        (name,) = (one.name for one in self.parameters.values() if isinstance(one.meaning, Output))
        return name

    @property
    def help(self) -> str:
        """What the step does, for the help of its command: the docstring up to its section on errors."""
        text = inspect.cleandoc(self.function.__doc__ or "")
        return text.partition("\nRaises:")[0].strip()

    def words(self, arguments: Mapping[str, Any]) -> list[str]:
        """Give the words after the command that make it run with `arguments`."""
        return [
            word
            for name, value in arguments.items()
            for word in words(name, self.parameters[name].meaning, value)
        ]


def step_named(name: str) -> Step[Any, Any]:
    """Give a step by its name, which is that of its file too."""
    found = import_module(f"components.steps.{name}").run
    assert isinstance(found, Step), f"components/steps/{name}.py states no step `run`"
    return found


class Call:
    """One call of a step, with the arguments that it got."""

    def __init__(self, stated: Step[Any, Any], arguments: Mapping[str, Any]) -> None:
        self.step = stated
        defaults = {one.name: one.default for one in stated.parameters.values() if not one.required}
        self.arguments: dict[str, Any] = {**defaults, **arguments}

    @property
    def out(self) -> Path:
        """The folder to write."""
        return Path(self.arguments[self.step.output])

    @property
    def inputs(self) -> dict[str, Path]:
        """The input folders that were given, by the names under which the manifest records them."""
        return {
            key: folder
            for name, one in self.step.parameters.items()
            if is_given_folder(one.meaning, self.arguments[name])
            for key, folder in as_folders(name, self.arguments[name]).items()
        }

    @property
    def recorded(self) -> dict[str, Any]:
        """The parameters for the manifest: all but folders, and options that decide nothing."""
        return {
            name: _plain(one.meaning, self.arguments[name])
            for name, one in self.step.parameters.items()
            if isinstance(one.meaning, Settings)
            or (isinstance(one.meaning, Option) and not one.meaning.unrecorded)
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
        """Open the run in MLflow and the new folder; at the end write the manifest and hand the folder over.

        `parameters` and `inputs` take the place of the call's own in the manifest, and `tracked_parameters` in
        MLflow, where a step knows better ones; so does `out`. `tracked` decides for this call. A block that raises
        leaves an earlier folder as it was.

        Raises:
            UserError: the store is away, the disk is full, or an input does not exist.
        """
        noted, target = self.recorded if parameters is None else parameters, out or self.out
        run: AbstractContextManager[StepTracker] = nullcontext(StepTracker())
        if self.step.tracked if tracked is None else tracked:
            run = tracked_step(
                self.step.name,
                protocol=protocol,
                method=method,
                setting=setting,
                seed=seed,
                parameters=noted if tracked_parameters is None else tracked_parameters,
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
                parameters=noted,
                hashes=work.hashes,
            )


def step(
    name: str,
    *,
    example: str = "",
    command: str | None = None,
    tracked: bool = True,
    cluster: Cluster | None = None,
) -> Callable[[Callable[Concatenate[Call, P], R]], Step[P, R]]:
    """State a step; its function takes the call first, then the parameters by name.

    The command is the step's name with dashes, unless `command` gives its words. A step that only a workflow runs
    needs no example.
    """

    def stated(function: Callable[Concatenate[Call, P], R]) -> Step[P, R]:
        return Step(
            function,
            name=name,
            command=command or name.replace("_", "-"),
            example=example,
            tracked=tracked,
            cluster=cluster,
        )

    return stated


def _plain(meaning: Meaning, value: Any) -> Any:
    """Give a value as JSON holds it; one that JSON does not know is written as a command takes it."""
    match value:
        case None | str() | int() | float():
            return value
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
    assert isinstance(meaning, Option)
    return str(value) if meaning.texts is None else ",".join(meaning.texts(value))
