"""Retries: as long as the environment says, and only after transient errors."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore import exceptions as aws
from mlflow.exceptions import MlflowException
from requests import exceptions as http
from sqlalchemy.exc import OperationalError

from cascade_core.errors import UserError
from components.servers.patience import AwayError, patiently
from components.storage import places, s3
from components.tracking import store


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.servers.patience.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("components.servers.patience.LONGEST_PAUSE", 0.02)
    monkeypatch.delenv("CASCADE_PATIENCE", raising=False)


def _failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    """Give a request that fails so often, and the list that grows with every try."""
    tries: list[int] = []

    def request() -> str:
        tries.append(len(tries))
        if len(tries) <= times:
            raise error
        return "there"

    return request, tries


def test_a_request_is_retried_until_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "60")
    request, tries = _failing(3, AwayError("away"))
    assert patiently(request) == "there"
    assert len(tries) == 4


def test_the_final_error_keeps_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "0.05")
    behind = OSError("refused")

    def request() -> None:
        raise AwayError("away") from behind

    with pytest.raises(AwayError, match="away") as raised:
        patiently(request)
    assert raised.value.__cause__ is behind


def test_retries_end_after_the_stated_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "0.2")
    request, tries = _failing(10_000, AwayError("it is away"))
    began = time.monotonic()
    with pytest.raises(AwayError, match="it is away"):
        patiently(request)
    assert time.monotonic() - began < 5
    assert len(tries) > 2


@pytest.mark.parametrize(
    ("patience", "error"),
    [(None, AwayError("away")), ("0", AwayError("away")), ("60", ValueError("refused"))],
    ids=["unset", "none", "what does not pass"],
)
def test_other_errors_are_not_retried(
    monkeypatch: pytest.MonkeyPatch, patience: str | None, error: Exception
) -> None:
    if patience is not None:
        monkeypatch.setenv("CASCADE_PATIENCE", patience)
    request, tries = _failing(1, error)
    with pytest.raises(type(error)):
        patiently(request)
    assert len(tries) == 1


@pytest.mark.parametrize("given", ["five minutes", "-1", "nan", "inf"])
def test_a_patience_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", given)
    with pytest.raises(ValueError, match=rf"CASCADE_PATIENCE is '{given}'; give seconds"):
        patiently(lambda: None)


def _behind(error: Exception) -> MlflowException:
    """Raise an error as MLflow's client does: in words, the error behind its own."""
    try:
        try:
            raise error
        except Exception:
            raise MlflowException("API request failed with exception")  # noqa: B904
    except MlflowException as error:
        return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (_behind(http.ConnectionError("refused")), True),
        (_behind(http.ReadTimeout("silent")), True),
        (_behind(http.ChunkedEncodingError("killed while it answered")), True),
        (_behind(http.RetryError("too many 503")), True),
        (_behind(http.SSLError("certificate")), False),
        (_behind(http.MissingSchema("no address")), False),
        (MlflowException("you are not authenticated"), False),
        (OperationalError("select 1", {}, Exception("refused")), True),
        (KeyError("a mistake of ours"), False),
    ],
)
def test_only_transient_errors_count_as_away(error: Exception, passes: bool) -> None:
    assert store.away(error) == passes


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aws.EndpointConnectionError(endpoint_url="http://there"), AwayError),
        (aws.ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), AwayError),
        (aws.SSLError(endpoint_url="https://there", error="certificate"), UserError),
        (aws.ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), UserError),
        (aws.ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject"), UserError),
    ],
)
def test_a_refusal_of_an_object_store_is_not_retried(error: Exception, kind: type) -> None:
    with (
        pytest.raises(ValueError, match="s3://bucket/data") as refused,
        s3.translate_errors(s3.address("s3://bucket/data")),
    ):
        raise error
    assert type(refused.value) is kind


def test_data_are_fetched_from_an_object_store_that_comes_back(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "60")
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path))
    request, tries = _failing(2, AwayError("the object store does not answer"))
    monkeypatch.setattr("components.storage.transfer.fetch", lambda uri, to: (request(), to.mkdir()))
    assert places.folder("raw", "s3://bucket/raw").is_dir()
    assert len(tries) == 3
