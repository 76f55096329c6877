"""The connection to a Kubeflow Pipelines server, with retries and one-sentence errors.

Transient faults (a broken connection, 429, 502, 503, 504) are retried with growing pauses. All others (a wrong
address, an expired token, an unknown id) become a `UserError`. A request that creates something may have succeeded
although its answer was lost, so each retry first asks the server whether the thing exists.
"""

import contextlib
import io
import itertools
import json
import logging
import os
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import kfp
import kfp_server_api
from urllib3 import exceptions as http

from cascade_core.errors import UserError
from components.servers.addresses import server_address
from components.servers.certificates import VARIABLE as CA_VARIABLE
from components.servers.patience import Patience

log = logging.getLogger(__name__)

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""OpenSSL's and requests' names of a file of trusted certificates; kfp's client reads neither itself."""
TRANSIENT_STATUS = (429, 502, 503, 504)
FIRST_CONTACT_SECONDS = (5, 15)
"""Timeouts of the first request: to connect, and to get the answer."""

LOG_PATH = "/apis/v1alpha1/runs/{run}/nodes/{node}/log"
"""No later version of the API has logs."""
LOG_SECONDS = (5, 30)
NO_LOG_STATUS = (400, 404, 500)
"""The answers for a pod that does not run yet or is gone."""

PAGE_SIZE = 100
NEWEST_FIRST: dict[str, Any] = {"page_size": PAGE_SIZE, "sort_by": "created_at desc"}

PATIENT, BRIEF = Patience(90.0, longest=20.0), Patience(8.0, longest=20.0)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Connection:
    """kfp's client, and what error messages need; only the client holds the token."""

    client: kfp.Client
    api: kfp_server_api.ApiClient
    host: str
    namespace: str | None
    patience: Patience = PATIENT

    def call(self, request: Callable[[], Answer], *, about: str) -> Answer:
        """Send an idempotent request, with retries after transient faults; errors name its subject, `about`.

        Raises:
            UserError: the server refused, or stayed unavailable for longer than `patience`.
        """

        def silent_request() -> Answer:
            # The client prints links on standard output, which scripts read.
            with contextlib.redirect_stdout(io.StringIO()):
                return request()

        try:
            return self.patience.ask(
                silent_request,
                passes=_is_transient,
                on_fault=lambda error: log.warning("%s: %s; trying again", self.host, _reason(error)),
            )
        except (kfp_server_api.ApiException, http.HTTPError) as error:
            raise _explained(error, self, about) from error

    def create(
        self, request: Callable[[], Answer], *, find: Callable[[], Answer | None], about: str
    ) -> Answer:
        """Send a request that creates something; a retry first looks with `find` whether it exists.

        Raises:
            UserError: the server refused, or stayed unavailable for longer than `patience`.
        """
        attempts = itertools.count()

        def find_or_request() -> Answer:
            existing = find() if next(attempts) else None
            return request() if existing is None else existing

        return self.call(find_or_request, about=about)

    def log_of(self, run_id: str, node: str) -> str | None:
        """Return the log of a node's pod; None if the server has none: the pod does not run yet, or is gone.

        Raises:
            UserError: the server refuses the token, or stays unavailable.
        """
        path = LOG_PATH.format(run=quote(run_id, safe=""), node=quote(node, safe=""))

        def request() -> str | None:
            try:
                answer = self.api.call_api(
                    path,
                    "GET",
                    auth_settings=["Bearer"],
                    _preload_content=False,
                    _request_timeout=LOG_SECONDS,
                )
            except kfp_server_api.ApiException as error:
                if error.status in NO_LOG_STATUS:
                    return None
                raise
            return str(answer.data.decode(errors="replace"))

        return self.call(request, about=f"log of node {node!r}")

    def link(self, place: str) -> str:
        """Return the address of a page, such as "runs/details/ID"."""
        return f"{self.host}/#/{place}"


def connect(
    host: str, *, namespace: str | None = None, token: str | None = None, patience: Patience = PATIENT
) -> Connection:
    """Connect to the server at `host`, with a bearer `token` if the server wants one.

    Raises:
        UserError: host or token is malformed, no server answers, it is not Kubeflow Pipelines, it refuses the token, or
            it has namespaces and none is given.
    """
    host, token = _checked_host(host), _checked_token(token)
    # urllib3's own quick retries are not logged; `Connection.call` logs ours.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    api = _api_client(host, token)
    multi_user = _first_contact(api, host, namespace)
    with warnings.catch_warnings():
        # The client always warns that it needs a server of version 2.
        warnings.filterwarnings("ignore", category=FutureWarning, module="kfp")
        client = kfp.Client(
            host=host,
            namespace=namespace or "kubeflow",
            existing_token=token,
            ssl_ca_cert=_trusted_certificates(),
        )
    namespace = namespace or client.get_user_namespace() or None
    if multi_user and namespace is None:
        raise UserError(
            f"{host} separates its users by namespaces; name yours with --namespace or KFP_NAMESPACE"
        )
    return Connection(client, api, host, namespace, patience)


def _api_client(host: str, token: str | None) -> kfp_server_api.ApiClient:
    configuration = kfp_server_api.Configuration(
        host=host,
        api_key={"authorization": token} if token else None,
        api_key_prefix={"authorization": "Bearer"},
    )
    configuration.ssl_ca_cert = _trusted_certificates()
    return kfp_server_api.ApiClient(configuration)


def _first_contact(api_client: kfp_server_api.ApiClient, host: str, namespace: str | None) -> bool:
    """Return whether the server has namespaces.

    This comes before `kfp.Client`, which answers a refused token with five tracebacks in 20 s.
    """
    api = kfp_server_api.HealthzServiceApi(api_client)
    health = Connection(None, api_client, host, namespace, BRIEF).call(
        lambda: api.healthz_service_get_healthz(
            _request_timeout=FIRST_CONTACT_SECONDS, _preload_content=False
        ),
        about="first contact",
    )
    try:
        return bool(json.loads(health.data).get("multi_user"))
    except (ValueError, AttributeError):
        raise UserError(
            f"{host} answers, but not as Kubeflow Pipelines does; give the address of its API (often ending in "
            "/pipeline), and a token if a login page stands before it"
        ) from None


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, kfp_server_api.ApiException):
        return error.status in TRANSIENT_STATUS
    root = _root(error)
    if isinstance(root, http.SSLError):  # a connection that breaks off in between is no refused certificate
        return any(isinstance(cause, ssl.SSLEOFError) for cause in root.args)
    return isinstance(error, http.HTTPError) and not isinstance(root, http.NameResolutionError)


def _explained(error: BaseException, cluster: Connection, about: str) -> UserError:
    """Turn a server's error into a sentence that says what to do; `about` is the subject of the request."""
    status = getattr(error, "status", None)
    if not status:
        reason = _reason(error)
        way_out = "check --host, the port-forward and the network"
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            way_out = f"its certificate is not trusted: name the file of its authority in {CA_VARIABLE}"
        elif isinstance(_root(error), http.SSLError):
            way_out = "write http:// if the server speaks no TLS"
        return UserError(f"{cluster.host} cannot be reached ({reason}); {way_out}")
    where = f"namespace {cluster.namespace!r}" if cluster.namespace else "this server without a namespace"
    message = _server_message(error)
    reasons = {
        401: "token missing, wrong or expired (401); get a new one, and set KFP_EXISTING_TOKEN",
        403: f"no access to {where}, or there is none of that name (403); check --namespace and your rights",
        404: "the server does not know it (404); list what exists, or check --host and --namespace",
        409: f"the name is taken, maybe by something deleted or hidden ({message}); give another name",
        **dict.fromkeys(
            TRANSIENT_STATUS, f"the server stays unavailable ({_reason(error)}); try again later"
        ),
    }
    return UserError(
        f"{cluster.host}: {about}: {reasons.get(status, f'the server answered: {message} ({status})')}"
    )


def _server_message(error: Any) -> str:
    """Return the message in the server's JSON, or the start of any other answer."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    with contextlib.suppress(ValueError, AttributeError):
        content = json.loads(body)
        body = str(content.get("message") or content.get("error") or body)
    return " ".join(body.split())[:300] or str(error.reason)


def _reason(error: BaseException) -> str:
    if isinstance(error, kfp_server_api.ApiException):
        return f"{error.status or 'TLS'} {' '.join(str(error.reason).split())}"
    # urllib3 puts the connection's representation before the reason.
    return " ".join(str(_root(error)).rpartition("): ")[2].split())


def _root(error: BaseException) -> BaseException:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error


def _checked_host(host: str) -> str:
    parts = server_address(host, "--host")
    if parts.username or parts.password:
        raise UserError("the host's address holds a user name; give the token in KFP_EXISTING_TOKEN instead")
    return parts.geturl().rstrip("/")


def _trusted_certificates() -> str | None:
    """Return the file of trusted certificates that the environment names; None: those of Python."""
    for name in CERTIFICATE_VARIABLES:
        if file := os.environ.get(name):
            if not Path(file).is_file():
                raise UserError(
                    f"{name} names {file}, which is no file; name the file of trusted certificates"
                )
            return file
    return None


def _checked_token(token: str | None) -> str | None:
    """Return the token without a file's line end; no error message shows it."""
    cleaned = (token or "").strip()
    if not (cleaned.isascii() and cleaned.isprintable() and " " not in cleaned):
        raise UserError(
            "the token holds blanks, line ends or other characters that no token has; copy the whole token again"
        )
    return cleaned or None


def timed_name(package: Path) -> str:
    """Name a run or version after the pipeline's file and the time in UTC."""
    return f"{package.stem} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def name_filter(name: str) -> str:
    """Return the server's filter for an exact name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
