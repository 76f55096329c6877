"""The label file: a user's own label set in YAML, with class names, ids, unseen classes and background.

Its protocol name contains a hash of all fields that affect scores, so that results of two versions of a file are
never compared. Splits and checkpoints store the whole content and do not need the file.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from PIL import ImageColor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.labels.label_set import BACKGROUND, IGNORE, LabelSet, check_unseen, id_table
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import brief, bullets, check_letters, duplicates, same_name, shortened
from cascade_core.runtime.validation import sentence
from cascade_core.runtime.yaml_text import MOST_BYTES, parse_yaml

SUFFIXES = (".yaml", ".yml")
_OWN_PROTOCOL = re.compile(r"(?P<name>.+)-[0-9a-f]{8}")
LONGEST_NAME = 200
MAX_CLASSES = IGNORE - 2
"""The most classes of a label file; a background class may be added to them."""
EXAMPLE = "such as `classes: [cat, {name: dog, synonyms: [puppy]}]`"


def _hex_colour(value: Any) -> Any:
    """Convert "#ff8000", "orange" or [255, 128, 0] to "#ff8000"."""
    if isinstance(value, list | tuple):
        if len(value) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in value):
            raise UserError("a colour is three numbers of 0..255, or a text such as '#ff8000' or orange")
        return "#{:02x}{:02x}{:02x}".format(*value)
    if isinstance(value, str) and value:
        return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(value)[:3])
    return value


def _one_line(value: Any) -> Any:
    if not isinstance(value, str):
        raise UserError("a name is text; put quotes around it, YAML takes it for something else")
    if not value.strip():
        raise UserError("a name is empty; give it a word or two")
    if len(value) > LONGEST_NAME:
        raise UserError(f"a name has {len(value)} characters; give it at most {LONGEST_NAME}")
    check_letters(value)
    return " ".join(value.split())


def _as_class(value: Any) -> Any:
    return value if isinstance(value, dict | OwnClass) else {"name": value}


Name = Annotated[str, BeforeValidator(_one_line)]
Colour = Annotated[str, BeforeValidator(_hex_colour), Field(min_length=7)]
RawId = Annotated[int, Field(ge=0, le=255)]


class OwnClass(BaseModel):
    """A class of a label file: its name, its id in label maps, its synonyms, and its colour in pictures.

    `map_colours` are its colours in label maps that hold colours in place of ids.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    id: RawId | None = None
    synonyms: tuple[Name, ...] = ()
    colour: Annotated[str, BeforeValidator(_hex_colour)] = ""
    map_colours: tuple[Colour, ...] = ()

    @property
    def picture_colour(self) -> str:
        """Its colour in pictures: the stated one, else the first of its label maps; "" for any."""
        return self.colour or next(iter(self.map_colours), "")


class OwnBackground(Background):
    """The id (or `map_colours`) of background pixels in label maps, and the policy that predicts background."""

    id: RawId = 0
    map_colours: tuple[Colour, ...] = ()
    names: tuple[Name, ...] = ()


class LabelFile(BaseModel):
    """The content of a label file.

    Classes without ids are numbered in order, from 1 if background has id 0, else from 0. If the label maps hold colours,
    every class states its own; `ignore_colours` are those of pixels that never count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
    classes: tuple[Annotated[OwnClass, BeforeValidator(_as_class)], ...]
    unseen: tuple[Name, ...] = ()
    ignore_id: RawId | None = 255
    ignore_colours: tuple[Colour, ...] = ()
    background: OwnBackground | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = self.class_names
        if not 0 < len(names) <= MAX_CLASSES:
            raise UserError(
                f"classes has {len(names)} entries; 8-bit label maps have room for 1 to {MAX_CLASSES}"
            )
        if BACKGROUND in names:
            raise UserError(
                f"no class can be named {BACKGROUND!r}; state its id with `background: {{id: 0}}`"
            )
        synonyms = [synonym for entry in self.classes for synonym in entry.synonyms]
        all_names = (*names, *synonyms, *(self.background.names if self.background else ()))
        if repeated := duplicates(map(same_name, all_names)):
            raise UserError(
                f"{', '.join(repeated)} is named twice; every name or synonym stands for one class"
            )
        return self

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        missing = [entry.name for entry in self.classes if entry.id is None]
        if 0 < len(missing) < len(self.classes):
            raise UserError(
                f"class {missing[0]!r} has no id, but others have; give every class an id, or none"
            )
        meanings = [(raw, f"class {name!r}") for raw, name in zip(self.ids, self.class_names, strict=True)]
        meanings += [(raw, "background") for raw in self._background_ids]
        meanings += [(raw, "ignore_id") for raw in self._ignored_ids]
        first: dict[int, str] = {}
        for raw, meaning in meanings:
            if raw in first:
                raise UserError(f"id {raw} stands for {first[raw]} and {meaning}; every id has one meaning")
            first[raw] = meaning
        if max(first) > 255:
            raise UserError(f"class ids reach {max(first)}; label maps hold 0..255, so give ids by hand")
        return self

    @model_validator(mode="after")
    def _check_colours(self) -> Self:
        stated = self._colours()
        if not any(colours for _, colours, _ in stated):
            return self
        missing = [entry.name for entry in self.classes if not entry.map_colours]
        if missing:
            raise UserError(
                f"class {missing[0]!r} has no map_colours, but the label maps hold colours; give every class its own"
            )
        if self.ignore_colours and self.ignore_id is None:
            raise UserError("pixels of ignore_colours need an id; give an ignore_id, such as 255")
        first: dict[str, str] = {}
        for meaning, colours, _ in stated:
            for colour in colours:
                if colour in first:
                    raise UserError(
                        f"colour {colour} stands for {first[colour]} and {meaning}; every colour has one meaning"
                    )
                first[colour] = meaning
        return self

    @model_validator(mode="after")
    def _check_unseen(self) -> Self:
        check_unseen(self.unseen, self.label_set(), where=f"label file {self.name!r}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in order."""
        return tuple(entry.name for entry in self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each class in label maps."""
        first = 1 if 0 in self._background_ids else 0
        return tuple(first + i if entry.id is None else entry.id for i, entry in enumerate(self.classes))

    @property
    def map_colours(self) -> dict[str, int]:
        """The id for each colour ("#ff8000") of label maps that hold colours; empty if they hold ids."""
        return {colour: raw for _, colours, raw in self._colours() for colour in colours}

    def _colours(self) -> list[tuple[str, tuple[str, ...], int]]:
        """Return the colours in label maps by meaning: its name for errors, the colours, and the id."""
        stated = [
            (f"class {entry.name!r}", entry.map_colours, raw)
            for entry, raw in zip(self.classes, self.ids, strict=True)
        ]
        if self.background is not None:
            stated.append(("background", self.background.map_colours, self.background.id))
        # Without an id the file is refused.
        stated.append(("ignore_colours", self.ignore_colours, self.ignore_id or 0))
        return stated

    @property
    def _background_ids(self) -> tuple[int, ...]:
        return () if self.background is None else (self.background.id,)

    @property
    def _ignored_ids(self) -> tuple[int, ...]:
        return () if self.ignore_id is None else (self.ignore_id,)

    @property
    def protocol(self) -> str:
        """The protocol name; it changes with the classes, ids, synonyms and unseen classes.

        The background policy is a setting of each evaluation and does not change it.
        """
        synonyms = [entry.synonyms for entry in self.classes]
        return f"{self.name}-{_digest([self._map_content(), synonyms, sorted(self.unseen)])}"

    @property
    def background_setting(self) -> Background:
        """The background policy; "dropped" without a background in the file."""
        return (
            Background(**self.background.model_dump(exclude={"id", "map_colours"}))
            if self.background
            else Background()
        )

    def colours_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the colour of each class name; "" for a class without one and for other names."""
        colours = {same_name(entry.name): entry.picture_colour for entry in self.classes}
        return tuple(colours.get(same_name(name), "") for name in names)

    def label_set(self) -> LabelSet:
        """Return the label set; it ignores background pixels, as training does under every policy."""
        return LabelSet(
            f"{self.name}-maps-{_digest(self._map_content())}",
            self.class_names,
            id_table(self.ids, (*self._background_ids, *self._ignored_ids)),
            synonyms=tuple(entry.synonyms for entry in self.classes),
            colours=tuple(entry.picture_colour for entry in self.classes),
            background_ids=self._background_ids,
        )

    def _map_content(self) -> list[Any]:
        """Return the fields that decide how label maps are read."""
        background = None if self.background is None else self.background.id
        return [self.name, self.class_names, self.ids, self.ignore_id, background]


def are_of_one_file(*protocols: str) -> bool:
    """Return whether protocols belong to versions of one label file: they have its name, and the hash of a content."""
    matches = [_OWN_PROTOCOL.fullmatch(protocol) for protocol in protocols]
    return all(matches) and len({match["name"] for match in matches if match}) == 1


def is_label_file(protocol: str) -> bool:
    """Return whether a protocol is given as the path of a label file, which need not exist."""
    return protocol.lower().endswith(SUFFIXES)


def read_label_file(path: Path) -> LabelFile:
    """Read and check a label file.

    Raises:
        UserError: the file is missing, no YAML or invalid; the message names the file and up to ten fields.
    """
    content = parse_yaml(read_text(path, "label file", most=MOST_BYTES), f"label file {path}")
    if not isinstance(content, dict):
        raise UserError(f"label file {path} holds {brief(content)}; expected keys and values, {EXAMPLE}")
    try:
        return LabelFile.model_validate(content)
    except ValidationError as error:
        problems = [_problem(problem) for problem in error.errors()]
        text = f" {problems[0]}" if len(problems) == 1 else bullets(problems)
        raise UserError(f"label file {path}:{text}") from error


def with_label_file(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """If `data.protocol` in a recipe's overrides is a label file's path, replace it by the file's content.

    The content sets the protocol, the label set and, unless it is overridden too, the background policy.

    Raises:
        UserError: the file is missing or invalid.
    """
    protocol = overrides.get("data.protocol")
    if isinstance(protocol, str) and is_label_file(protocol):
        protocol = read_label_file(Path(protocol))
    if not isinstance(protocol, LabelFile):
        return dict(overrides) | ({"data.own": None} if protocol is not None else {})
    content = {"data.protocol": protocol.protocol, "data.own": protocol.model_dump(mode="json")}
    if not any(key.startswith("evaluate.background") for key in overrides):
        content["evaluate.background"] = protocol.background_setting.model_dump(mode="json")
    return {**overrides, **content}


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:8]


def _problem(error: ErrorDetails) -> str:
    """Describe one invalid field in a sentence."""
    where = ".".join(shortened(str(part), most=60) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        nested: dict[str, type[BaseModel]] = {"classes": OwnClass, "background": OwnBackground}
        model = LabelFile if len(error["loc"]) == 1 else nested.get(str(error["loc"][0]), LabelFile)
        return f"{where}: unknown key; known are {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: is missing; expected {EXAMPLE if where == 'classes' else 'a value'}"
    return sentence(error)
