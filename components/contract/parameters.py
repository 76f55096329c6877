"""Parameters of a step, and the classes that annotate what each one means."""

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Folder:
    """An input folder that another step wrote.

    Attributes:
        default: where the workflow puts the folder.
        content: the files in it that DVC depends on; empty for the whole folder.
        artifact: its artifact type in Kubeflow.
        below: the subfolder that this step reads, such as `final` of a training.
        travels_as: its name as a Kubeflow artifact, if that is not the parameter's name.
        part: the part of the other step's output that this step reads, if that is an artifact of its own.
        local: whether it is for commands and dvc.yaml only: no input of the step's Kubeflow component.
        made_by: the words of the command that writes the folder, for the error where it is missing.
    """

    help: str
    default: str | None = None
    content: tuple[str, ...] = ()
    artifact: Literal["Dataset", "Model", "Artifact"] = "Artifact"
    below: str = ""
    travels_as: str | None = None
    flag: str | None = None
    part: str | None = None
    local: bool = False
    made_by: str | None = None


@dataclass(frozen=True)
class Place:
    """An input path that no step wrote, such as raw data or CLIP weights; it may be in an object store.

    If users may give a name instead of the path, `locate` returns the path. A `local` place is for commands: it is no
    input of the step's Kubeflow component.
    """

    help: str
    default: str | None = None
    flag: str | None = None
    locate: Callable[[Path], Path] | None = None
    local: bool = False


@dataclass(frozen=True)
class Output:
    """The folder that the step writes; every step has one.

    The command writes to `default`; the stage of dvc.yaml writes to `stage`.
    """

    help: str = (
        "Folder to write; that of an earlier call is replaced as a whole, and left as it was on an error."
    )
    default: str | None = None
    stage: str | None = None


@dataclass(frozen=True)
class Option:
    """A plain value.

    Attributes:
        default: the command's default, if it differs from the function's.
        parse: reads a structured value from the text of a command.
        texts: writes a structured value as texts that `parse` reads.
        unrecorded: whether the option stays out of the manifest, because the result does not depend on it.
        argument: whether the command takes it by position, without a flag.
        former: the flag of before, which the command still takes, with a note.
    """

    help: str = ""
    flag: str | None = None
    metavar: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    default: Any = None
    parse: Callable[[Any], Any] | None = None
    texts: Callable[[Any], list[str]] | None = None
    repeatable: bool = False
    unrecorded: bool = False
    argument: bool = False
    former: str | None = None


@dataclass(frozen=True)
class Settings:
    """Overrides of a recipe by dotted keys; commands take `--set KEY=VALUE` and `--overrides FILE`."""

    help: str = "Override of the recipe; repeatable."


Meaning = Folder | Place | Output | Option | Settings


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step: name, type without the annotation, meaning, and the function's default."""

    name: str
    type: Any
    meaning: Meaning
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether the function has no default; the command may have one."""
        return self.default is inspect.Parameter.empty

    @property
    def several(self) -> bool:
        """Whether the parameter takes any number of values."""
        return any(get_origin(hint) in (list, tuple, Sequence) for hint in (self.type, *get_args(self.type)))

    def argument(self, folders: PurePath | Iterable[PurePath]) -> Any:
        """Return the argument for folders that other steps wrote: their `below` parts, as a tuple if `several`."""
        assert isinstance(self.meaning, Folder), f"parameter {self.name} is not a folder of another step"
        folders = [folders] if isinstance(folders, PurePath) else folders
        parts = tuple(folder / self.meaning.below for folder in folders)
        return parts if self.several else parts[0]


def parameter(name: str, hint: Any, default: Any) -> Parameter:
    """Make a `Parameter` of an annotation; `Annotated[Path, ...] | None` allows None."""
    optional = get_origin(hint) in (Union, UnionType)
    parts = get_args(hint) if optional else (hint,)
    annotated = next((part for part in parts if hasattr(part, "__metadata__")), None)
    assert annotated is not None, f"the annotation of parameter {name} lacks its meaning"
    base, *metadata = get_args(annotated)
    (meaning,) = (item for item in metadata if isinstance(item, Meaning))
    return Parameter(name, base | None if optional else base, meaning, default)


def words(name: str, meaning: Meaning, value: Any) -> list[str]:
    """Return the command-line arguments that pass a parameter's value; none for None.

    Overrides are a mapping, or the file that holds them. Examples: `--seed=1`, `--no-resume`,
    `--set=train.iterations=20`, `--overrides=params.yaml`.
    """
    if value is None:
        return []
    flag = flag_of(name, meaning)
    match meaning:
        case Settings() if isinstance(value, Path):
            return [f"--overrides={value}"]
        case Settings():
            return [f"--set={key}={json.dumps(item)}" for key, item in value.items()]
        case Option(texts=texts) if texts is not None:
            return [f"{flag}={text}" for text in texts(value)]
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, list | tuple):
        return [f"{flag}={item}" for item in value]
    return [f"{flag}={value}"]


def flag_of(name: str, meaning: Meaning) -> str:
    """Return the flag of a parameter, such as `--self-training`."""
    stated = None if isinstance(meaning, Output | Settings) else meaning.flag
    return stated or f"--{name.replace('_', '-')}"
