"""Private authorities: a server with such a certificate is trusted by every client, and public ones stay trusted."""

import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import certifi
import pytest
import requests
import urllib3

from components.servers import certificates
from components.storage import s3
from tests.http_listener import listening


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Restore what `trust` sets, and start without certificates of this machine."""
    for name in (certificates.VARIABLE, *certificates.READ_BY_LIBRARIES):
        monkeypatch.setenv(name, "set, so that it is restored")
        monkeypatch.delenv(name)
    monkeypatch.setattr(certificates, "POD_FOLDER", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that no public authority signed, with its key beside it."""
    folder = tmp_path_factory.mktemp("authority")
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "ca.crt")]
    subprocess.run(["openssl", "req", *options.split(), *files], check=True, capture_output=True)
    return folder


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<ListAllMyBucketsResult><Buckets><Bucket><Name>ours</Name></Bucket></Buckets></ListAllMyBucketsResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    with listening(Handler, tls=context) as port:
        yield f"https://127.0.0.1:{port}"


def test_every_client_trusts_a_private_authority(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with served(authority) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(address, timeout=5)
        with pytest.raises(
            ValueError, match="certificate is not trusted .* name the authority's in CASCADE_CA"
        ):
            s3.bucket_names(s3.connect(tries=1))
        monkeypatch.setenv(certificates.VARIABLE, str(authority))
        certificates.trust()
        assert requests.get(address, timeout=5).ok  # as MLflow asks
        assert s3.bucket_names(s3.connect(tries=1)) == ["ours"]
        with urllib3.PoolManager(ca_certs=os.environ["SSL_CERT_FILE"]) as pool:  # as kfp's client asks
            assert pool.request("GET", address).status == 200


def test_public_authorities_stay_and_variables_that_are_set(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "POD_FOLDER", str(authority))
    monkeypatch.setenv("AWS_CA_BUNDLE", "mine")
    certificates.trust()
    joined = Path(os.environ["SSL_CERT_FILE"])
    assert os.environ["AWS_CA_BUNDLE"] == "mine" and os.environ["REQUESTS_CA_BUNDLE"] == str(joined)
    assert joined.read_text().startswith(Path(certifi.where()).read_text())
    assert (authority / "ca.crt").read_text() in joined.read_text()


def test_without_certificates_nothing_changes() -> None:
    before = dict(os.environ)
    certificates.trust()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "is no file, and no folder with .crt"), ("secret", "ca.crt holds no certificates in PEM format")],
)
def test_wrong_certificates_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, sentence: str
) -> None:
    file = tmp_path / "ca.crt"
    monkeypatch.setenv(certificates.VARIABLE, str(file))
    if content:
        file.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        certificates.trust()
