"""Errors of an object store become one sentence with a way out."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from components.storage import s3


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403"]
)
def test_wrong_or_expired_keys_are_reported(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    message = (
        rf"s3://b/k at https://s3.example.org: the object store refuses \({code}\); check AWS_ACCESS_KEY_ID"
    )
    with pytest.raises(ValueError, match=message), s3.translate_errors(s3.Address("b", "k")):
        raise ClientError({"Error": {"Code": code}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            NoCredentialsError(),
            "no keys for the object store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            EndpointConnectionError(endpoint_url="http://x"),
            "does not answer .* AWS_ENDPOINT_URL is its address",
        ),
        (
            ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject"),
            "there is no bucket 'b' in this store",
        ),
        (S3DownloadFailedError("another ETag"), "it changed during the fetch"),
        (RetriesExceededError(OSError("reset by peer")), r"its answers break off \(reset by peer\)"),
        (ClientError({"Error": {"Code": "SlowDown", "Message": "less"}}, "GetObject"), "SlowDown.*less"),
    ],
)
def test_other_errors_say_what_to_check(error: Exception, message: str) -> None:
    with pytest.raises(ValueError, match=message), s3.translate_errors(s3.Address("b", "k")):
        raise error


def test_our_own_errors_are_not_translated() -> None:
    with pytest.raises(KeyError), s3.translate_errors(s3.Address("b", "k")):
        raise KeyError("ours")


def test_an_address_below_a_folder_has_one_slash_between() -> None:
    assert str(s3.address("s3://b/data/").below("x/y")) == "s3://b/data/x/y"
    assert str(s3.address("s3://b").below("x")) == "s3://b/x"
