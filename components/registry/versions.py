"""Registered versions, the alias `champion` of each model, and the history of earlier champions.

The alias alone decides which version is champion. The registered model's tag `champion_history` lists earlier
champions, so that a rollback works on any machine. If somebody moves the alias by hand, the alias wins over the tag.

MLflow cannot move an alias on condition that nobody else has moved it. Therefore each promoter first sets a claim,
a tag on a version, and only then looks for claims of others and at the alias. Of two concurrent promoters, at least
one sees the other's claim.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from cascade_core.errors import UserError
from components.servers.paging import all_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
HISTORY_TAG, PROMOTED_TAG, REASON_TAG = "champion_history", "promoted_at", "promotion_reason"
ROLLED_BACK_TAG = "rolled_back_at"
CONTENT_TAG = "content_sha256"
"""Tag of a version by which registering the same model again finds it; versions of others lack it."""
HISTORY_LENGTH = 200
"""Champions kept in the history; the store limits a tag to 5000 characters."""

MODEL_ID = re.compile(r"\bm-[0-9a-f]{32}\b")
CLAIM_TAG = "promotion_claimed_at."
"""Prefix of a claim's tag; a random suffix identifies the promoter."""
CLAIM_LASTS = timedelta(minutes=2)
"""Older claims are ignored: their promoter was killed, since moving the alias takes a second."""


class ChampionMovedError(UserError):
    """Another process moved the alias or is moving it; the promotion must be decided again."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}; look, then try again")


class NeededVersionError(UserError):
    """A version is not to be removed."""


@dataclass(frozen=True)
class Version:
    """A registered version; its tags hold its training and its scores, and `model_id` is that of its logged model."""

    name: str
    number: int
    champion: bool
    created: datetime
    run_id: str | None
    description: str
    tags: Mapping[str, str]
    model_id: str | None = None

    @property
    def uri(self) -> str:
        """The address of this version for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.name}/{self.number}"


def model_names(client: "MlflowClient") -> list[str]:
    """List the registered models."""
    models = all_of(lambda token: client.search_registered_models(max_results=100, page_token=token))
    return sorted(model.name for model in models)


def model_ids(client: "MlflowClient") -> set[str]:
    """Return the ids of the logged models that versions of any registered model are made of."""
    entries = [entry for name in model_names(client) for entry in _entries(client, name)]
    return {model for entry in entries if (model := _model_of(entry))}


def versions(client: "MlflowClient", name: str) -> list[Version]:
    """List a model's versions, newest first.

    Raises:
        UserError: there is no such model; the message lists the registered models.
    """
    champion = _alias(client, name)
    listed = [
        Version(
            name=name,
            number=int(entry.version),
            champion=int(entry.version) == champion,
            created=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
            run_id=entry.run_id or None,
            description=entry.description or "",
            tags={tag: value for tag, value in entry.tags.items() if not tag.startswith(CLAIM_TAG)},
            model_id=_model_of(entry),
        )
        for entry in _entries(client, name)
    ]
    return sorted(listed, key=lambda version: -version.number)


def version(client: "MlflowClient", name: str, number: int) -> Version:
    """Return one version of a model.

    Raises:
        UserError: there is no such model or version; the message lists those that exist.
    """
    by_number = {version.number: version for version in versions(client, name)}
    if number not in by_number:
        listed = ", ".join(map(str, by_number)) or "none"
        raise UserError(f"model {name!r} has no version {number}; it has {listed}")
    return by_number[number]


def champion(client: "MlflowClient", name: str) -> Version | None:
    """Return a model's champion, or None if the model or its champion does not exist."""
    if not client.search_registered_models(_filter(name)):
        return None
    number = _alias(client, name)
    return None if number is None else version(client, name, number)


def version_or_champion(client: "MlflowClient", name: str, number: int | None) -> Version:
    """Return one version of a model, or its champion for None.

    Raises:
        UserError: there is no such model or version, or no champion; the message lists what there is.
    """
    chosen = _alias(client, name) if number is None else number
    if chosen is None:
        listed = ", ".join(str(version.number) for version in versions(client, name)) or "none"
        raise UserError(f"model {name!r} has no champion; give a version (it has {listed}), or promote one")
    return version(client, name, chosen)


def promote(client: "MlflowClient", name: str, number: int, *, expected: int | None, reason: str) -> None:
    """Make a version champion in place of `expected` (None: there is no champion); tag it with time and reason.

    Raises:
        ChampionMovedError: the champion is not `expected`, or another process is moving the alias.
        UserError: there is no such model or version.
    """
    version(client, name, number)
    with _claim(client, name, number):
        current = _alias(client, name)
        if current != expected:
            raise ChampionMovedError(name, f"the champion is {current}, expected was {expected}")
        _move_alias(client, name, number, [*history(client, name), number], reason)


def roll_back(client: "MlflowClient", name: str) -> Version:
    """Make the previous champion champion again and return it; deleted versions are skipped.

    Raises:
        ChampionMovedError: another process is moving the alias.
        UserError: there is no earlier champion, or no such model.
    """
    numbers = [version.number for version in versions(client, name)]
    if not numbers or _alias(client, name) is None:
        raise UserError(f"model {name!r} has no champion to roll back from; promote a version")
    with _claim(client, name, numbers[0]):
        current = _alias(client, name)
        earlier = history(client, name)[:-1]
        while earlier and (earlier[-1] not in numbers or earlier[-1] == current):
            earlier.pop()
        if not earlier:
            raise UserError(
                f"model {name!r}: no champion is known before version {current}; promote the version you want"
            )
        _move_alias(client, name, earlier[-1], earlier, f"rolled back from version {current}")
        if current in numbers:
            client.set_model_version_tag(name, str(current), ROLLED_BACK_TAG, _now())
    return version(client, name, earlier[-1])


def aliases(client: "MlflowClient", name: str) -> dict[int, list[str]]:
    """Return the aliases of a model by the number of their version."""
    by_number: dict[int, list[str]] = {}
    for alias, number in sorted(client.get_registered_model(name).aliases.items()):
        by_number.setdefault(int(number), []).append(alias)
    return by_number


def remove(client: "MlflowClient", name: str, number: int) -> None:
    """Remove a version that has no alias; its files stay. No promotion comes in between.

    Raises:
        NeededVersionError: the version has an alias, or is the model's only one.
        ChampionMovedError: another process is moving the alias.
    """
    others = [entry.number for entry in versions(client, name) if entry.number != number]
    if not others:
        raise NeededVersionError(f"{name}: version {number} is the only one")
    with _claim(client, name, others[0]):
        if named := aliases(client, name).get(number):
            raise NeededVersionError(f"{name}: version {number} has the alias {', '.join(named)}")
        client.delete_model_version(name, str(number))


def history(client: "MlflowClient", name: str) -> list[int]:
    """List all champions so far by version number, the current one last."""
    current = _alias(client, name)
    text = client.get_registered_model(name).tags.get(HISTORY_TAG, "")
    numbers = [int(number) for number in text.split(",") if number]
    return numbers if current is None or numbers[-1:] == [current] else [*numbers, current]


@contextmanager
def _claim(client: "MlflowClient", name: str, number: int) -> Iterator[None]:
    """Hold a claim on the alias of `name` during the block, as a tag of version `number`.

    Raises:
        ChampionMovedError: another process holds a claim (both may see that, and neither continues), or the block
            took longer than `CLAIM_LASTS`.
    """
    claim, start = f"{CLAIM_TAG}{uuid4().hex}", datetime.now(UTC)
    client.set_model_version_tag(name, str(number), claim, start.isoformat())
    try:
        tags = [tag for entry in _entries(client, name) for tag in entry.tags.items()]
        others = [time for tag, time in tags if tag.startswith(CLAIM_TAG) and tag != claim]
        if any(datetime.fromisoformat(time) > start - CLAIM_LASTS for time in others):
            raise ChampionMovedError(name, "somebody else moves the champion at this moment")
        yield
    finally:
        client.delete_model_version_tag(name, str(number), claim)
    if datetime.now(UTC) - start > CLAIM_LASTS:
        raise ChampionMovedError(name, "this took so long that somebody else may have moved the champion")


def _move_alias(client: "MlflowClient", name: str, number: int, champions: list[int], reason: str) -> None:
    """Move the alias first, then write the tags: if a tag fails, the next call still reads the right champion."""
    client.set_registered_model_alias(name, CHAMPION, str(number))
    client.set_registered_model_tag(name, HISTORY_TAG, ",".join(map(str, champions[-HISTORY_LENGTH:])))
    client.set_model_version_tag(name, str(number), PROMOTED_TAG, _now())
    client.set_model_version_tag(name, str(number), REASON_TAG, reason)
    current = _alias(client, name)
    if current != number:
        raise ChampionMovedError(name, f"version {current} took the alias from version {number} at once")


def _entries(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    return all_of(
        lambda token: client.search_model_versions(_filter(name), max_results=200, page_token=token)
    )


def _model_of(entry: "ModelVersion") -> str | None:
    """Return the id of a version's logged model; a database keeps it in the source only."""
    match = MODEL_ID.search(entry.source or "")
    return entry.model_id or (match[0] if match else None)


def _alias(client: "MlflowClient", name: str) -> int | None:
    if not client.search_registered_models(_filter(name)):
        names = ", ".join(model_names(client)) or "none"
        raise UserError(f"there is no registered model {name!r}; known are: {names}")
    number = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if number is None else int(number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _filter(name: str) -> str:
    if "'" in name or '"' in name:
        raise UserError(f"model name {name!r} has a quotation mark; a name is letters, digits, - and _")
    return f"name = '{name}'"
