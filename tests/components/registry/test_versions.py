"""Champions: of two concurrent promoters at most one moves the alias, and rollbacks work."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import uniform
from threading import Barrier
from time import sleep

import pytest
from mlflow import MlflowClient

from components.registry import versions as registry
from components.tracking.store import open_store
from tests.components.tracking_server import started


@pytest.fixture
def client(store: Path) -> MlflowClient:
    """A sqlite store of the test's own."""
    return open_store()


@pytest.fixture
def name(client: MlflowClient) -> str:
    """A model with four versions and no champion."""
    name = "segmenter"
    client.create_registered_model(name)
    for _ in range(4):
        client.create_model_version(name, "file:///nowhere")
    return name


def _crown(client: MlflowClient, name: str, *numbers: int) -> None:
    for number in numbers:
        champion = registry.champion(client, name)
        expected = champion.number if champion else None
        registry.promote(client, name, number, expected=expected, reason=f"crowned {number}")


def test_a_promotion_notes_when_and_why(client: MlflowClient, name: str) -> None:
    _crown(client, name, 2)
    champion = registry.champion(client, name)
    assert champion is not None and champion.number == 2 and champion.champion
    assert champion.tags["promotion_reason"] == "crowned 2"
    assert champion.tags["promoted_at"].endswith("+00:00")
    assert [version.champion for version in registry.versions(client, name)] == [False, False, True, False]


def test_rolling_back_twice_goes_back_two_champions(client: MlflowClient, name: str) -> None:
    _crown(client, name, 1, 2, 1, 4)
    assert [registry.roll_back(client, name).number for _ in range(3)] == [1, 2, 1]
    with pytest.raises(ValueError, match="no champion is known before version 1"):
        registry.roll_back(client, name)
    assert registry.history(client, name) == [1]
    assert "rolled_back_at" in registry.version(client, name, 4).tags


def test_a_rollback_skips_deleted_versions(client: MlflowClient, name: str) -> None:
    _crown(client, name, 1, 2, 3)
    client.delete_model_version(name, "2")
    assert registry.roll_back(client, name).number == 1


def test_an_alias_moved_by_hand_is_believed(client: MlflowClient, name: str) -> None:
    _crown(client, name, 1, 2)
    client.set_registered_model_alias(name, "champion", "4")
    assert registry.history(client, name) == [1, 2, 4]
    assert registry.roll_back(client, name).number == 2


def test_a_decision_about_another_champion_is_refused(client: MlflowClient, name: str) -> None:
    _crown(client, name, 1)
    with pytest.raises(registry.ChampionMovedError, match="the champion is 1, expected was None"):
        registry.promote(client, name, 2, expected=None, reason="late")
    assert registry.history(client, name) == [1]


def test_an_overtaken_promotion_is_reported(
    client: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine writes to the store, without our lock."""
    set_alias = client.set_registered_model_alias

    def set_twice(model: str, alias: str, version: str) -> None:
        set_alias(model, alias, version)
        set_alias(model, alias, "4")

    monkeypatch.setattr(client, "set_registered_model_alias", set_twice)
    with pytest.raises(registry.ChampionMovedError, match="version 4 took the alias from version 2"):
        registry.promote(client, name, 2, expected=None, reason="slow")


def _promoted(client: MlflowClient, name: str, number: int, together: Barrier) -> bool:
    """Promote until there is a champion, and return whether this call made it."""
    together.wait(timeout=60)
    while registry.champion(client, name) is None:
        try:
            registry.promote(client, name, number, expected=None, reason="first")
        except registry.ChampionMovedError:
            sleep(uniform(0, 0.5))
        else:
            return True
    return False


def test_one_concurrent_promotion_wins_on_a_tracking_server(
    store: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All promoters see no champion, because the alias moves late."""
    server = started(store, store / "mlruns" / "mlflow.db", monkeypatch)
    try:
        client = MlflowClient(server.uri)
        set_alias, together = client.set_registered_model_alias, Barrier(3)

        def set_later(name: str, alias: str, version: str) -> None:
            sleep(0.2)
            set_alias(name, alias, version)

        monkeypatch.setattr(client, "set_registered_model_alias", set_later)
        with ThreadPoolExecutor(3) as pool:
            won = pool.map(lambda number: _promoted(client, name, number, together), (1, 2, 3))
            winners = [number for number, promoted in enumerate(won, 1) if promoted]
        assert [registry.history(client, name)] == [winners] and len(winners) == 1
        assert registry.model_names(client) == [name]
    finally:
        server.stop()


def _claim(client: MlflowClient, name: str, *, ago: timedelta) -> str:
    """Claim the alias as another promoter, on another version."""
    tag = f"{registry.CLAIM_TAG}another"
    client.set_model_version_tag(name, "4", tag, (datetime.now(UTC) - ago).isoformat())
    return tag


def test_a_concurrent_promotion_must_be_decided_again(client: MlflowClient, name: str) -> None:
    tag = _claim(client, name, ago=timedelta())
    with pytest.raises(registry.ChampionMovedError, match="somebody else moves the champion"):
        registry.promote(client, name, 2, expected=None, reason="both")
    assert registry.champion(client, name) is None
    client.delete_model_version_tag(name, "4", tag)
    _crown(client, name, 2)
    assert not [tag for tag in client.get_model_version(name, "2").tags if tag.startswith(registry.CLAIM_TAG)]


def test_a_killed_promoters_claim_is_ignored_and_hidden(client: MlflowClient, name: str) -> None:
    _claim(client, name, ago=2 * registry.CLAIM_LASTS)
    _crown(client, name, 2)
    assert registry.history(client, name) == [2]
    assert not registry.version(client, name, 4).tags


def test_a_promotion_slower_than_its_claim_fails(
    client: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CLAIM_LASTS", timedelta())
    with pytest.raises(registry.ChampionMovedError, match="somebody else may have moved the champion"):
        registry.promote(client, name, 2, expected=None, reason="slow")


def test_a_model_without_champion_cannot_be_rolled_back(client: MlflowClient, name: str) -> None:
    assert registry.champion(client, name) is None
    with pytest.raises(ValueError, match="has no champion to roll back from"):
        registry.roll_back(client, name)


def test_an_unknown_model_or_version_lists_the_known_ones(client: MlflowClient, name: str) -> None:
    assert registry.champion(client, "nobody") is None
    with pytest.raises(ValueError, match=f"no registered model 'nobody'; known are: .*{name}"):
        registry.versions(client, "nobody")
    with pytest.raises(ValueError, match="has no version 9; it has 4, 3, 2, 1"):
        registry.promote(client, name, 9, expected=None, reason="")
    with pytest.raises(ValueError, match="quotation mark"):
        registry.versions(client, "a' or name like '%")
