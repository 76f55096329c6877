"""A data set of the user's own, as settings state it: folders, files of objects and splits, relative to the data set's folder."""

from collections.abc import Callable, Mapping
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief


def _inside(path: str) -> str:
    """Check that a path stays within the data set's folder, which a pod may have at another place."""
    if not path.strip() or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise UserError(
            f"{brief(path)} is no path below data.raw; give a relative path without '..', such as images"
        )
    return path


Inside = Annotated[str, AfterValidator(_inside)]
Share = Annotated[float, Field(gt=0, lt=1)]


class OwnData(BaseModel):
    """Pictures with label maps or files of objects; every path is relative to the data set's folder.

    `annotations` (before: `coco`) is one file of objects, or a file per split. `splits` names a folder of pictures (below `images`) for a split, `lists` a
    file with one picture a line, `hold_out` a share of the training pictures. Without them, each folder below `images`
    is a split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images: Inside
    maps: Inside | None = None
    map_suffix: str = ".png"
    annotations: Inside | dict[str, Inside] | None = None
    coco: Inside | dict[str, Inside] | None = None
    splits: dict[str, Inside] = {}
    lists: dict[str, Inside] = {}
    hold_out: dict[str, Share] = {}
    split_seed: int = Field(default=0, ge=0)
    ignore_others: bool = False
    leave_out: bool = False

    @model_validator(mode="after")
    def _check_sources(self) -> "OwnData":
        if sum(map(bool, (self.maps, self.annotations, self.coco))) != 1:
            raise UserError(
                "labels come from a folder of label maps or from files of objects: state exactly one of maps and annotations"
            )
        stated = [*self.splits, *self.lists, *self.hold_out]
        if twice := {split for split in stated if stated.count(split) > 1}:
            raise UserError(
                f"split {min(twice)!r} is stated twice; name it in one of splits, lists and hold_out"
            )
        return self

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that the settings name; empty if folders of pictures name them."""
        named = (*self.splits, *self.lists, *self.hold_out)
        _, files = self._objects()
        if isinstance(files, dict):
            named = (*named, *files)
        return tuple(dict.fromkeys(("train", *named))) if named else ()

    def arguments(
        self, raw: PurePath, value: Callable[[str, Any], Any] = lambda _, stated: stated
    ) -> dict[str, Any]:
        """Return the arguments of the step that prepares these data, except the label file, for the folder `raw`.

        `value` returns what stands for a setting, given its dotted name and the setting: dvc.yaml names settings instead
        of repeating them.
        """

        def entries(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
            return {split: value(f"{name}.{split}", one) for split, one in stated.items()}

        annotations: dict[str, PurePath] | None = None
        key, files = self._objects()
        if isinstance(files, str):
            annotations = {"": raw / value(key, files)}
        elif files:
            annotations = {split: raw / path for split, path in entries(key, files).items()}
        lists = {split: str(raw / path) for split, path in entries("lists", self.lists).items()}
        arguments = {
            "images": raw / value("images", self.images),
            "maps": None if self.maps is None else raw / value("maps", self.maps),
            "annotations": annotations,
            "splits": {**entries("splits", self.splits), **lists} or None,
            "held_out": entries("hold_out", self.hold_out) or None,
        }
        names = {
            "seed": "split_seed",
            "map_suffix": "map_suffix",
            "other_categories": "ignore_others",
            "leave_out": "leave_out",
        }
        # Those at their defaults stay out, so that settings need not name them.
        changed = {name for name in names.values() if name in self.model_fields_set}
        arguments |= {
            name: getattr(self, of) if isinstance(getattr(self, of), bool) else value(of, getattr(self, of))
            for name, of in names.items()
            if of in changed
        }
        return {name: one for name, one in arguments.items() if one is not None}

    def files(
        self, raw: PurePath, value: Callable[[str, Any], Any] = lambda _, stated: stated
    ) -> list[PurePath]:
        """Return the folders and files below `raw` that the data consist of: pictures, labels, lists."""
        arguments = self.arguments(raw, value)
        lists = [raw / value(f"lists.{split}", path) for split, path in self.lists.items()]
        objects = (arguments.get("annotations") or {}).values()
        return [path for path in (arguments["images"], arguments.get("maps"), *objects, *lists) if path]

    def _objects(self) -> tuple[str, str | dict[str, str] | None]:
        """Return the files of objects, and the key that states them."""
        return ("coco", self.coco) if self.coco else ("annotations", self.annotations)
