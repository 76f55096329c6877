"""Certificates of private authorities: every client of this process trusts them beside the public ones.

Libraries read different variables, and a file in any of them takes the place of the public certificates. So both are
joined in one file, which all of these variables name.
"""

import atexit
import os
import ssl
import tempfile
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text

VARIABLE = "CASCADE_CA_CERTIFICATES"
"""This variable names a file or folder with certificates."""
POD_FOLDER = "/etc/cascade-clip/certificates"
"""Pods have the certificates of the cluster's config map here."""
ENDINGS = (".crt", ".pem", ".cer")
READ_BY_LIBRARIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
"""OpenSSL's, requests' (and so MLflow's) and boto3's name of a file of trusted certificates."""


def trust() -> None:
    """Join the certificates of private authorities with the public ones, for this process and those that it starts.

    Variables that are set already stay. Does nothing without certificates.

    Raises:
        UserError: the variable names nothing, or a file is no certificate.
    """
    unset = [name for name in READ_BY_LIBRARIES if not os.environ.get(name)]
    if not unset or not (files := certificate_files()):
        return
    import certifi

    parts = [Path(certifi.where()).read_text(encoding="utf-8"), *map(_checked, files)]
    descriptor, name = tempfile.mkstemp(prefix="cascade-clip-certificates-", suffix=".pem")
    with os.fdopen(descriptor, "w", encoding="utf-8") as joined:
        joined.write("\n".join(parts))
    atexit.register(Path(name).unlink, missing_ok=True)
    os.environ.update(dict.fromkeys(unset, name))


def certificate_files() -> list[Path]:
    """Return the files of certificates: those that the variable names, or else the pod's.

    Raises:
        UserError: the variable names no file and no folder with certificates.
    """
    configured = os.environ.get(VARIABLE)
    place = Path(configured or POD_FOLDER)
    files = [place] if place.is_file() else sorted(file for file in place.glob("*") if file.suffix in ENDINGS)
    if configured and not files:
        raise UserError(
            f"{VARIABLE} is {configured}, which is no file, and no folder with {', '.join(ENDINGS)}"
        )
    return files


def _checked(file: Path) -> str:
    text = read_text(file, "the file of certificates")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            f"{file} holds no certificates in PEM format ({error}); it begins with -----BEGIN CERTIFICATE-----"
        ) from error
    return text
