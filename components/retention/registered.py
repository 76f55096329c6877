"""Registered versions and their files: which are needed, and how one is removed.

A version stays if it is the champion, has any alias, is one that a rollback may return to, or if an accepted benchmark
measured it. Only versions that the register step made are looked at: a server may hold models of others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from components.registry import versions as registry
from components.registry.decisions import rounded
from components.results.names import SCORES
from components.results.rows import DROPPED, RerunRow
from components.retention.rule import Item, StillNeededError
from components.servers.paging import all_of
from components.tracking.store import tags_of
from components.tracking.stored_files import remove_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

MEASURED = ("protocol", "method", "setting", "seed", "split", "background")
"""Fields of a row of results, and tags of a version, that are equal for one model."""


@dataclass(frozen=True)
class OurVersion:
    """A version that the register step made, and why it is needed; "" if nothing refers to it."""

    version: registry.Version
    needed: str


def our_versions(client: "MlflowClient", accepted: Sequence[RerunRow], *, keep: int) -> list[OurVersion]:
    """Return all versions that the register step made; `accepted` are the rows of accepted benchmarks.

    Of the earlier champions, the last `keep` are needed: a rollback returns to them.
    """
    ours = []
    for name in registry.model_names(client):
        aliases, earlier = registry.aliases(client, name), registry.history(client, name)[-keep - 1 :]
        for version in registry.versions(client, name):
            if registry.CONTENT_TAG not in version.tags:
                continue
            needed = _needed(version, aliases.get(version.number, ()), earlier, accepted)
            ours.append(OurVersion(version, needed))
    return ours


def version_items(client: "MlflowClient", ours: Sequence[OurVersion]) -> Iterator[Item]:
    """Yield the versions, in groups of a model and a setting."""
    for one in ours:
        version = one.version
        yield Item(
            "version",
            f"{version.name} version {version.number}",
            version.created,
            (version.name, version.tags.get("setting")),
            version.run_id or "",
            partial(_remove_version, client, version),
            one.needed,
        )


def left_model_items(client: "MlflowClient", experiments: list[str]) -> Iterator[Item]:
    """Yield the files of versions that are gone: an interrupted removal leaves them."""
    if not experiments:
        return
    used = registry.model_ids(client)
    for model in all_of(lambda token: client.search_logged_models(experiments, page_token=token)):
        # A model whose run is gone cannot be distinguished from those of others.
        source = model.source_run_id and tags_of(client, model.source_run_id)
        if model.model_id in used or not source or source.get("step") != "register":
            continue
        creation = datetime.fromtimestamp(model.creation_timestamp / 1000, UTC)
        yield Item(
            "files",
            f"{model.name} {model.model_id}",
            creation,
            model.model_id,
            model.model_id,
            partial(_remove_model, client, model.model_id),
        )


def _needed(
    version: registry.Version,
    aliases: Sequence[str],
    earlier: Sequence[int],
    accepted: Sequence[RerunRow],
) -> str:
    if aliases:
        return f"has the alias {', '.join(aliases)}"
    if version.number in earlier:
        return "a rollback returns to it"
    if any(measured(row, version.tags) for row in accepted):
        return "an accepted benchmark measured it"
    return ""


def measured(row: RerunRow, tags: Mapping[str, str]) -> bool:
    """Return whether a row of results is of the version with these tags: the same training with the same scores."""
    known = {"background": DROPPED, **tags}
    if any(str(getattr(row, field)) != known.get(field) for field in MEASURED):
        return False
    if row.data_hash and row.data_hash != known.get("data_hash"):
        return False
    theirs = {name: float(known[name]) if name in known else None for name in SCORES}
    return all(rounded(getattr(row, name)) == rounded(value) for name, value in theirs.items())


def _remove_version(client: "MlflowClient", version: registry.Version) -> None:
    """Remove the version first: a kill leaves files that nothing names, which a later call finds."""
    try:
        registry.remove(client, version.name, version.number)
    except registry.NeededVersionError as error:
        raise StillNeededError(str(error)) from error
    if version.model_id is not None:
        _remove_model(client, version.model_id)


def _remove_model(client: "MlflowClient", model_id: str) -> None:
    if model_id in registry.model_ids(client):
        raise StillNeededError("another version has the same files")
    remove_files(client.get_logged_model(model_id).artifact_location, of=model_id)
    client.delete_logged_model(model_id)
