"""Read `scores.json` of an evaluate step and `profile.json` of a profile step; tables and pages rely on the types of their fields."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.results.names import PROFILE_FILE, SCORES_FILE

_FINITE = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


class _Scores(BaseModel):
    model_config = _FINITE

    method: str | None = None
    setting: str | None = None
    protocol: str | None = None
    split: str | None = None
    background: str | None = None
    num_pictures: int | None = None
    num_classes: int | None = None
    num_seen: int | None = None
    data_hash: str | None = None
    seen_penalty: float | None = None
    pAcc: float | None = None
    miou: float | None = None
    miou_seen: float | None = None
    miou_unseen: float | None = None
    hiou: float | None = None


class _Part(BaseModel):
    model_config = _FINITE

    name: str
    milliseconds: float
    gmacs: float


class _Breakdown(BaseModel):
    model_config = _FINITE

    milliseconds: PositiveFloat
    batch_size: int
    image_size: int
    parts: list[_Part]


class _Speed(BaseModel):
    model_config = _FINITE

    batch_size: int
    image_size: int
    milliseconds_per_batch: float | None
    milliseconds_quartiles: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    images_per_second: float | None
    peak_memory_mib: float | None


class _Profile(BaseModel):
    model_config = _FINITE

    method: str | None = None


class _ProfileInParts(_Profile):
    """A profile of a version that measures the parts of a model."""

    device: str
    threads: int
    gmacs_counted_by: str
    peak_memory_measured_by: str
    speeds: list[_Speed]
    breakdown: _Breakdown


def read_scores(evaluation: Path, *needed: str) -> dict[str, Any]:
    """Read the scores in an evaluate step's folder.

    Raises:
        UserError: the file is missing, one of its fields has a wrong type, or a `needed` one is missing.
    """
    return _checked(evaluation / SCORES_FILE, _Scores, needed, "run the evaluate step again")


def read_profile(profile: Path, *needed: str) -> dict[str, Any]:
    """Read what a profile step measured of its first model; early ones have no field `breakdown`.

    Raises:
        UserError: the file is missing, one of its fields has a wrong type, or a `needed` one is missing.
    """
    content = _checked(profile / PROFILE_FILE, _Profile, needed, "run the profile step again")
    if "breakdown" in content:
        _checked(profile / PROFILE_FILE, _ProfileInParts, needed, "run the profile step again")
    return content


def _checked(file: Path, kind: type[BaseModel], needed: tuple[str, ...], way_out: str) -> dict[str, Any]:
    content = read_json(file)
    validated(kind, content, source=file, way_out=way_out)
    if missing := [name for name in needed if content.get(name) is None]:
        raise UserError(f"{file}: field {missing[0]} is missing; {way_out}")
    return dict(content)
