"""The YAML label file that describes a label set of one's own: names, ids in label maps, unseen classes, background.

The name under which its results go holds a hash of what decides their numbers, so that results of two states of
a file are never taken for one. The whole content travels with splits and checkpoints, which need no file then.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from PIL import ImageColor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.labels.label_set import BACKGROUND, IGNORE, INVALID, LabelSet, check_unseen
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import bullets, duplicates
from cascade_core.runtime.validation import sentence

SUFFIXES = (".yaml", ".yml")
MAX_CLASSES = IGNORE - 2
"""Background, where it counts as a class, comes on top."""
EXAMPLE = "such as `classes: [cat, {name: dog, synonyms: [puppy]}]`"


def _hex_colour(value: Any) -> Any:
    """Read "#ff8000", "orange" or [255, 128, 0] into "#ff8000"."""
    if isinstance(value, list | tuple):
        if len(value) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in value):
            raise UserError("a colour is three numbers of 0..255, or a text such as '#ff8000' or orange")
        return "#{:02x}{:02x}{:02x}".format(*value)
    if isinstance(value, str) and value:
        return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(value)[:3])
    return value


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: PyYAML lets the last one win, and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := duplicates(keys):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {twice[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _one_line(value: Any) -> Any:
    if not isinstance(value, str):
        raise UserError("a name is text; put quotes around it, YAML takes it for something else")
    if not value.strip():
        raise UserError("a name is empty; give it a word or two")
    return " ".join(value.split())


def _as_class(value: Any) -> Any:
    return value if isinstance(value, dict | OwnClass) else {"name": value}


Name = Annotated[str, BeforeValidator(_one_line)]
RawId = Annotated[int, Field(ge=0, le=255)]


class OwnClass(BaseModel):
    """A class: its name, the id that label maps have for it, names for the same thing, and a colour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    id: RawId | None = None
    synonyms: tuple[Name, ...] = ()
    colour: Annotated[str, BeforeValidator(_hex_colour)] = ""


class OwnBackground(Background):
    """The id of background pixels in label maps, and by which policy they are predicted."""

    id: RawId = 0
    names: tuple[Name, ...] = ()


class LabelFile(BaseModel):
    """A label set of one's own with its unseen classes: the content of a label file.

    Classes without ids are numbered in their order, from 1 where background is 0, else from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
    classes: tuple[Annotated[OwnClass, BeforeValidator(_as_class)], ...]
    unseen: tuple[Name, ...] = ()
    ignore_id: RawId | None = 255
    background: OwnBackground | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [owned.name for owned in self.classes]
        if not 0 < len(names) <= MAX_CLASSES:
            raise UserError(
                f"classes has {len(names)} entries; 8-bit label maps have room for 1 to {MAX_CLASSES}"
            )
        if twice := duplicates(names):
            raise UserError(f"classes name {', '.join(twice)} twice; every class has one entry")
        if BACKGROUND in names:
            raise UserError(
                f"no class can be named {BACKGROUND!r}; say by `background: {{id: 0}}` what it is"
            )
        every = [*names, *(synonym for owned in self.classes for synonym in owned.synonyms)]
        every += self.background.names if self.background else ()
        if twice := duplicates(name.casefold() for name in every):
            raise UserError(f"{', '.join(twice)} stands for two things; a name or synonym has one class")
        return self

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        stated = [owned.id for owned in self.classes if owned.id is not None]
        if 0 < len(stated) < len(self.classes):
            without = next(owned.name for owned in self.classes if owned.id is None)
            raise UserError(f"class {without!r} has no id where others have; give every class one, or none")
        taken: dict[int, str] = {}
        for raw, meaning in self._meanings():
            if raw in taken:
                raise UserError(f"id {raw} stands for {taken[raw]} and {meaning}; every id has one meaning")
            taken[raw] = meaning
        if stray := [raw for raw in taken if raw > 255]:
            raise UserError(f"class ids reach {max(stray)}; label maps hold 0..255, so give ids by hand")
        return self

    @model_validator(mode="after")
    def _check_unseen(self) -> Self:
        names = [owned.name for owned in self.classes]
        if stray := [name for name in self.unseen if name not in names]:
            raise UserError(
                f"unseen names {', '.join(stray)}, which no class is; there are {', '.join(names)}"
            )
        check_unseen(self.unseen, self.label_set(), where=f"split {self.protocol!r}")
        return self

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each class in label maps."""
        first = 1 if self.background is not None and self.background.id == 0 else 0
        return tuple(first + i if owned.id is None else owned.id for i, owned in enumerate(self.classes))

    @property
    def protocol(self) -> str:
        """The name that results go under; other classes, ids, synonyms or unseen classes give another one."""
        return f"{self.name}-{_digest([self._content(), *self._words()])}"

    @property
    def background_setting(self) -> Background:
        """How background is predicted; "dropped" where the file says nothing."""
        return Background(**self.background.model_dump(exclude={"id"})) if self.background else Background()

    def colours_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Give the colour of each class name, "" where the file has none for it, or no such class."""
        colours = {owned.name.casefold(): owned.colour for owned in self.classes}
        return tuple(colours.get(name.casefold(), "") for name in names)

    def label_set(self) -> LabelSet:
        """Give names and ids; background is ignored here, as in training under every policy."""
        table = [INVALID] * 256
        background = () if self.background is None else (self.background.id,)
        for raw in (*background, *(() if self.ignore_id is None else (self.ignore_id,))):
            table[raw] = IGNORE
        for train, raw in enumerate(self.ids):
            table[raw] = train
        return LabelSet(
            f"{self.name}-maps-{_digest(self._content())}",
            tuple(owned.name for owned in self.classes),
            tuple(table),
            synonyms=tuple(owned.synonyms for owned in self.classes),
            colours=tuple(owned.colour for owned in self.classes),
            background_ids=background,
        )

    def _meanings(self) -> list[tuple[int, str]]:
        meanings = [(raw, f"class {owned.name!r}") for raw, owned in zip(self.ids, self.classes, strict=True)]
        if self.background is not None:
            meanings.append((self.background.id, "background"))
        return meanings + ([] if self.ignore_id is None else [(self.ignore_id, "ignore_id")])

    def _content(self) -> list[Any]:
        """What says how label maps are read."""
        names = [owned.name for owned in self.classes]
        background = None if self.background is None else self.background.id
        return [self.name, names, self.ids, self.ignore_id, background]

    def _words(self) -> list[Any]:
        """What more decides scores; how background is told is a setting of each evaluation, and shows there."""
        return [[owned.synonyms for owned in self.classes], sorted(self.unseen)]


def is_label_file(protocol: str) -> bool:
    """Tell the path of a label file from the name of a protocol, without looking whether it is there."""
    return protocol.lower().endswith(SUFFIXES)


def read_label_file(path: Path) -> LabelFile:
    """Read and check a label file.

    Raises:
        UserError: it is missing, no YAML, or wrong; the message names the file and up to ten fields.
    """
    text = read_text(path, "label file")
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"label file {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"label file {path} holds {content!r}; expected keys and values, {EXAMPLE}")
    try:
        return LabelFile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"label file {path}:{_told(error)}") from error


def with_label_file(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Give overrides of a recipe in which a label file that stands for `data.protocol` is read.

    Protocol, definition and, unless overridden too, the background's policy take its place.

    Raises:
        UserError: the file is missing or wrong.
    """
    chosen = overrides.get("data.protocol")
    if isinstance(chosen, str) and is_label_file(chosen):
        chosen = read_label_file(Path(chosen))
    if not isinstance(chosen, LabelFile):
        return dict(overrides) | ({"data.own": None} if chosen is not None else {})
    placed: dict[str, Any] = {"data.protocol": chosen.protocol, "data.own": chosen.model_dump(mode="json")}
    if not any(key.startswith("evaluate.background") for key in overrides):
        placed["evaluate.background"] = chosen.background_setting.model_dump(mode="json")
    return {**overrides, **placed}


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:8]


def _told(error: ValidationError) -> str:
    """Say what is wrong with which field, one problem a line where there are several."""
    problems = [_problem(one) for one in error.errors()]
    return f" {problems[0]}" if len(problems) == 1 else bullets(problems)


def _problem(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        below: dict[str, type[BaseModel]] = {"classes": OwnClass, "background": OwnBackground}
        known = LabelFile if len(error["loc"]) == 1 else below.get(str(error["loc"][0]), LabelFile)
        return f"{where}: unknown key; known are {', '.join(known.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: is missing; expected {EXAMPLE if where == 'classes' else 'a value'}"
    return sentence(error)
