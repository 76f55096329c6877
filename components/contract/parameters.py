"""Parameters of a step, and the meanings they may have, which stand as metadata in the annotations of its `run`."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Folder:
    """A folder that another step wrote; the workflow puts it at `default`, and DVC looks at `content` of it alone.

    In Kubeflow it travels as an artifact of the given kind, under the parameter's name unless it `travels_as`
    another. The step takes the part `below` of the folder that the other step wrote.
    """

    help: str
    default: str | None = None
    content: tuple[str, ...] = ()
    artifact: Literal["Dataset", "Model", "Artifact"] = "Artifact"
    below: str = ""
    travels_as: str | None = None
    flag: str | None = None


@dataclass(frozen=True)
class Place:
    """A folder that no step wrote, such as raw data or CLIP weights: it stays where it lies, or in an object store."""

    help: str
    default: str | None = None
    flag: str | None = None


@dataclass(frozen=True)
class Output:
    """The folder that the step writes; every step has one."""

    help: str = "Folder to write; replaced whole, or left as it was on an error."
    default: str | None = None


@dataclass(frozen=True)
class Option:
    """A plain value. A structured one is written as texts (`texts`) and read back from them (`parse`).

    The `default` is that of the command, where it differs from the function's. An option that is `unrecorded`
    decides nothing about the result, such as whether to resume, and stays out of the manifest.
    """

    help: str = ""
    flag: str | None = None
    metavar: str | None = None
    minimum: int | None = None
    default: Any = None
    parse: Callable[[Any], Any] | None = None
    texts: Callable[[Any], list[str]] | None = None
    repeatable: bool = False
    unrecorded: bool = False
    argument: bool = False


@dataclass(frozen=True)
class Settings:
    """Overrides of a recipe: dotted keys and values, in commands as `--set KEY=VALUE` and `--overrides FILE`."""

    help: str = "Override of the recipe; repeatable."


Meaning = Folder | Place | Output | Option | Settings


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step: its type without the annotation, what it means, and the function's default."""

    name: str
    type: Any
    meaning: Meaning
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a call must give it; a command may know a default of its own."""
        return self.default is inspect.Parameter.empty

    @property
    def several(self) -> bool:
        """Whether it takes any number of values."""
        return any(get_origin(hint) in (list, tuple, Sequence) for hint in (self.type, *get_args(self.type)))

    def taken(self, folders: PurePath | Iterable[PurePath]) -> Any:
        """Give folders that other steps wrote as the step takes them: the part that it reads, in a tuple if `several`."""
        assert isinstance(self.meaning, Folder), f"parameter {self.name} is no folder of another step"
        wrote = [folders] if isinstance(folders, PurePath) else list(folders)
        parts = tuple(folder / self.meaning.below for folder in wrote)
        return parts if self.several else parts[0]


def parameter(name: str, hint: Any, default: Any) -> Parameter:
    """Take an annotation apart; `Annotated[Path, ...] | None` means a parameter that may be None."""
    optional = get_origin(hint) in (Union, UnionType)
    annotated = (
        next((one for one in get_args(hint) if hasattr(one, "__metadata__")), hint) if optional else hint
    )
    assert hasattr(annotated, "__metadata__"), f"parameter {name} does not say what it means"
    base, *metadata = get_args(annotated)
    (meaning,) = (one for one in metadata if isinstance(one, Meaning))
    return Parameter(name, base | None if optional else base, meaning, default)


def words(name: str, meaning: Meaning, value: Any) -> list[str]:
    """Give the words by which a command takes a parameter's value; none for None.

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
            return [f"--set={key}={json.dumps(one)}" for key, one in value.items()]
        case Option(texts=texts) if texts is not None:
            return [f"{flag}={one}" for one in texts(value)]
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, list | tuple):
        return [f"{flag}={one}" for one in value]
    return [f"{flag}={value}"]


def flag_of(name: str, meaning: Meaning) -> str:
    """Give the option's name on a command line, such as `--self-training`."""
    stated = None if isinstance(meaning, Output | Settings) else meaning.flag
    return stated or f"--{name.replace('_', '-')}"


def is_given_folder(meaning: Meaning, value: Any) -> bool:
    """Say whether a value is one or more input folders, whose hashes a manifest records."""
    return isinstance(meaning, Folder | Place) and value is not None and value not in ((), [])


def as_folders(name: str, value: Path | Sequence[Path]) -> Mapping[str, Path]:
    """Give input folders by the names under which a manifest records them: one, or numbered ones."""
    if isinstance(value, Path):
        return {name: value}
    return {f"{name}-{place}": folder for place, folder in enumerate(value)}
