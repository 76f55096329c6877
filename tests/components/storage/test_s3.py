"""What an object store says against a call, in one sentence with a way out."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from components.storage import s3


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403"]
)
def test_keys_that_are_wrong_or_expired_are_told(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    told = (
        rf"s3://b/k at https://s3.example.org: the object store refuses \({code}\); check AWS_ACCESS_KEY_ID"
    )
    with pytest.raises(ValueError, match=told), s3.told(s3.Address("b", "k")):
        raise ClientError({"Error": {"Code": code}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoCredentialsError(), "no keys to go in with; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (
            EndpointConnectionError(endpoint_url="http://x"),
            "does not answer .* AWS_ENDPOINT_URL is its address",
        ),
        (
            ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject"),
            "there is no bucket 'b' in this store",
        ),
        (S3DownloadFailedError("another ETag"), "changed while it was fetched"),
        (RetriesExceededError(OSError("reset by peer")), r"its answers break off \(reset by peer\)"),
        (ClientError({"Error": {"Code": "SlowDown", "Message": "less"}}, "GetObject"), "SlowDown.*less"),
    ],
)
def test_every_other_fault_says_what_to_look_at(error: Exception, told: str) -> None:
    with pytest.raises(ValueError, match=told), s3.told(s3.Address("b", "k")):
        raise error


def test_our_own_mistakes_are_not_taken_for_the_stores() -> None:
    with pytest.raises(KeyError), s3.told(s3.Address("b", "k")):
        raise KeyError("ours")


def test_an_address_below_a_folder_has_one_slash_between() -> None:
    assert str(s3.address("s3://b/data/").below("x/y")) == "s3://b/data/x/y"
    assert str(s3.address("s3://b").below("x")) == "s3://b/x"
