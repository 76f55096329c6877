"""A project: the settings in its params.yaml, which all runners of the workflow read."""

from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.configs.overrides import read_parameters
from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.listing import brief
from cascade_core.runtime.validation import validated
from components.inputs.own_data import OwnData
from components.results.margins import Margins

PARAMETERS = Path("params.yaml")
SECTIONS = {"protocol", "data", "recipes"}
"""Every project states these."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ListedData(_Strict):
    """A data set in Pascal VOC's layout or in parallel folders: what `prepare index` reads."""

    raw: str
    clip: str
    image_sets: dict[str, str] = Field(min_length=1)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits."""
        return tuple(self.image_sets)


class OwnFolders(OwnData):
    """Folders of pictures and label maps, or files of objects: what `prepare custom` reads."""

    raw: str
    clip: str


class Cluster(_Strict):
    """Where the pods find the files of a project: each a path in the pods or an s3:// address.

    `folder` is the place of the project's own folder; `raw`, `clip` and `labels` are places of what lies elsewhere.
    """

    folder: str | None = None
    raw: str | None = None
    clip: str | None = None
    labels: str | None = None


DataT = TypeVar("DataT", ListedData, OwnFolders)


class OfSplit(_Strict):
    """A step's split."""

    split: str


class Gate(Margins):
    """The margins of the gate, and the split by which it compares."""

    split: str = "val"


class Project(_Strict, Generic[DataT]):
    """The settings of a project, a folder; `benchmark` and `predict` are the sections of those commands.

    `task` is the name in the registry for the models of all methods; without it each method has a name of its own.
    """

    seed: int = Field(default=0, ge=0)
    protocol: str
    data: DataT
    recipes: dict[str, str] = Field(min_length=1)
    overrides: dict[str, Any] | None = None
    self_training: Literal["none", "oracle", "strict"] = "none"
    evaluate: OfSplit = OfSplit(split="test")
    fit: OfSplit = OfSplit(split="val")
    benchmark: dict[str, Any] | None = None
    predict: dict[str, Any] | None = None
    cluster: Cluster | None = None
    gate: Gate = Gate()
    task: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")

    @property
    def own(self) -> OwnFolders | None:
        """The data, if they are folders of the user's own."""
        return self.data if isinstance(self.data, OwnFolders) else None


def is_project(folder: Path = Path()) -> bool:
    """Say whether a folder has the settings of a project; a params.yaml with other keys is another program's."""
    file = folder / PARAMETERS
    return file.is_file() and read_parameters(file).keys() >= SECTIONS


def read_project(folder: Path = Path()) -> Project[Any]:
    """Read and check the settings of the project in a folder.

    Raises:
        UserError: there is no params.yaml, a key is unknown or missing, a value is wrong, or a scored split is none of
            the data's.
    """
    file = folder / PARAMETERS
    if not file.is_file():
        raise UserError(
            f"there is no {PARAMETERS} in {folder.resolve()}; work in a project's folder, or make one with "
            "`cascade-clip init`"
        )
    return checked_project(read_parameters(file), file)


def checked_project(values: Any, source: Path) -> Project[Any]:
    """Check the values of a settings file; raises as `read_project`."""
    data = values.get("data")
    kind: Any = Project[OwnFolders] if isinstance(data, dict) and "images" in data else Project[ListedData]
    project: Project[Any] = validated(kind, values, source=source)
    if project.own is not None and not is_label_file(project.protocol):
        raise UserError(
            f"{source}: protocol is {brief(project.protocol)}; folders of your own need the path of a label file (.yaml)"
        )
    names = project.data.split_names
    for key in ("evaluate", "fit", "gate"):
        split = getattr(project, key).split
        if names and split not in names:
            raise UserError(
                f"{source}: {key}.split is {brief(split)}; the data have the splits {', '.join(names)}"
            )
    return project
