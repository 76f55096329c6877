"""The registry's versions, its one champion a model, and the history that leads back to earlier champions.

The alias `champion` is the only truth about who is champion, and moves in one call. A tag of the registered model,
`champion_history`, lists who held it before, so that a rollback also works on another machine and after a restart.
Where the two differ, because someone moved the alias by hand, the alias is believed.

MLflow has no "move this alias only if it is still there". So whoever is about to move it says so first, in a tag
of a version, and only then looks for such tags of others and at the alias: of two at once at least one sees the other.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from cascade_core.errors import UserError
from components.paging import all_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
HISTORY_TAG, PROMOTED_TAG, REASON_TAG = "champion_history", "promoted_at", "promotion_reason"
ROLLED_BACK_TAG = "rolled_back_at"
HISTORY_LENGTH = 200
"""Champions that are remembered; the store keeps 5000 characters of a tag."""

CLAIM_TAG = "promotion_claimed_at."
"""Begins the tag, and a word of the promoter's own ends it, that stands on a version while the alias moves."""
CLAIM_LASTS = timedelta(minutes=2)
"""An older claim is that of a promoter that died: moving the alias takes a second."""


class ChampionMovedError(UserError):
    """Somebody else moved the alias since it was read, or is about to: what was decided must be decided anew."""


@dataclass(frozen=True)
class Version:
    """One registered version: its tags say what it was trained on and how it scored."""

    name: str
    number: int
    champion: bool
    created: datetime
    run_id: str | None
    description: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """Address by which `mlflow.pyfunc.load_model` finds this version."""
        return f"models:/{self.name}/{self.number}"


def model_names(client: "MlflowClient") -> list[str]:
    """List the registered models."""
    models = all_of(lambda token: client.search_registered_models(max_results=100, page_token=token))
    return sorted(model.name for model in models)


def versions(client: "MlflowClient", name: str) -> list[Version]:
    """List a model's versions, the newest first.

    Raises:
        UserError: there is no such model; the message lists those there are.
    """
    champion = _alias(client, name)
    listed = [_version(found, champion) for found in _pages(client, name)]
    return sorted(listed, key=lambda one: -one.number)


def version(client: "MlflowClient", name: str, number: int) -> Version:
    """Give one version of a model.

    Raises:
        UserError: there is no such model or version; the message lists those there are.
    """
    known = versions(client, name)
    for one in known:
        if one.number == number:
            return one
    listed = ", ".join(str(one.number) for one in known) or "none"
    raise UserError(f"model {name!r} has no version {number}; it has {listed}")


def champion(client: "MlflowClient", name: str) -> Version | None:
    """Give a model's champion, or None where the model or its champion does not exist (yet)."""
    if not client.search_registered_models(_filter(name)):
        return None
    number = _alias(client, name)
    return None if number is None else version(client, name, number)


def promote(client: "MlflowClient", name: str, number: int, *, expected: int | None, reason: str) -> None:
    """Make a version the champion in place of `expected` (None: of nobody), and note when and why.

    Raises:
        ChampionMovedError: the champion was not, or is no longer, the expected one, or somebody else moves the alias
            at this moment.
        UserError: there is no such model or version.
    """
    version(client, name, number)
    with _claimed(client, name, number):
        held = _alias(client, name)
        if held != expected:
            raise ChampionMovedError(
                f"{name}: the champion is {held}, expected was {expected}; look, then try again"
            )
        _crown(client, name, number, [*_history(client, name, held), number], reason)


def roll_back(client: "MlflowClient", name: str) -> Version:
    """Give the alias back to the champion before the present one, and return it; deleted versions are skipped.

    Raises:
        ChampionMovedError: somebody else moves the alias at this moment.
        UserError: no earlier champion is known, or there is no such model.
    """
    known = [one.number for one in versions(client, name)]
    if not known or _alias(client, name) is None:
        raise UserError(f"model {name!r} has no champion to roll back from; promote a version")
    with _claimed(client, name, known[0]):
        held = _alias(client, name)
        before = _history(client, name, held)[:-1]
        while before and (before[-1] not in known or before[-1] == held):
            before.pop()
        if not before:
            raise UserError(
                f"model {name!r}: no champion is known before version {held}; promote the version you want"
            )
        _crown(client, name, before[-1], before, f"rolled back from version {held}")
        if held in known:
            client.set_model_version_tag(name, str(held), ROLLED_BACK_TAG, _now())
    return version(client, name, before[-1])


def history(client: "MlflowClient", name: str) -> list[int]:
    """List the versions that were champion, the present one last."""
    return _history(client, name, _alias(client, name))


@contextmanager
def _claimed(client: "MlflowClient", name: str, number: int) -> Iterator[None]:
    """Claim the alias of `name` through the block, in a tag of the version of this number.

    Raises:
        ChampionMovedError: somebody else claims it, too (both may see that, and neither goes on), or the block took
            longer than a claim lasts.
    """
    claim, began = f"{CLAIM_TAG}{uuid4().hex}", datetime.now(UTC)
    client.set_model_version_tag(name, str(number), claim, began.isoformat())
    try:
        since = began - CLAIM_LASTS
        for found in _pages(client, name):
            for tag, value in found.tags.items():
                if tag.startswith(CLAIM_TAG) and tag != claim and datetime.fromisoformat(value) > since:
                    raise ChampionMovedError(
                        f"{name}: somebody else moves the champion at this moment; look, then try again"
                    )
        yield
    finally:
        client.delete_model_version_tag(name, str(number), claim)
    if datetime.now(UTC) - began > CLAIM_LASTS:
        raise ChampionMovedError(
            f"{name}: this took so long that somebody else may have gone on meanwhile; look, then try again"
        )


def _crown(client: "MlflowClient", name: str, number: int, line: list[int], reason: str) -> None:
    """Move the alias first: if what follows fails, the next call finds out who is champion from it."""
    client.set_registered_model_alias(name, CHAMPION, str(number))
    kept = ",".join(str(one) for one in line[-HISTORY_LENGTH:])
    client.set_registered_model_tag(name, HISTORY_TAG, kept)
    client.set_model_version_tag(name, str(number), PROMOTED_TAG, _now())
    client.set_model_version_tag(name, str(number), REASON_TAG, reason)
    held = _alias(client, name)
    if held != number:
        raise ChampionMovedError(
            f"{name}: version {held} took the alias from version {number} at once; look, then try again"
        )


def _pages(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    return all_of(
        lambda token: client.search_model_versions(_filter(name), max_results=200, page_token=token)
    )


def _history(client: "MlflowClient", name: str, held: int | None) -> list[int]:
    noted = client.get_registered_model(name).tags.get(HISTORY_TAG, "")
    line = [int(one) for one in noted.split(",") if one]
    return line if held is None or line[-1:] == [held] else [*line, held]


def _alias(client: "MlflowClient", name: str) -> int | None:
    if not client.search_registered_models(_filter(name)):
        known = ", ".join(model_names(client)) or "none"
        raise UserError(f"there is no registered model {name!r}; known are: {known}")
    held = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if held is None else int(held)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _filter(name: str) -> str:
    if "'" in name or '"' in name:
        raise UserError(f"model name {name!r} holds a quotation mark; a name is letters, digits, - and _")
    return f"name = '{name}'"


def _version(found: "ModelVersion", champion: int | None) -> Version:
    return Version(
        name=found.name,
        number=int(found.version),
        champion=int(found.version) == champion,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        run_id=found.run_id or None,
        description=found.description or "",
        tags={tag: value for tag, value in found.tags.items() if not tag.startswith(CLAIM_TAG)},
    )
