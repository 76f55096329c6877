"""A Kubeflow Pipelines server to talk to: connected once, patient with what passes, clear about what does not.

What passes is retried with growing pauses: a connection that breaks, 429, 502, 503 and 504. What does not (a
wrong address, an expired token, an unknown id) becomes a `ValueError` of one sentence. A request that
creates something is never sent twice blindly: the answer may have been lost after the work was done, so
before each further try the server is asked whether the thing is there.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import kfp
import kfp_server_api
from urllib3 import exceptions as http

from cascade_core.errors import UserError
from components.patience import Patience

log = logging.getLogger(__name__)

TRANSIENT_STATUS = (429, 502, 503, 504)
FIRST_CONTACT_SECONDS = (5, 15)
"""How long the first request waits to connect, and for the answer."""

PATIENT, BRIEF = Patience(90.0, longest=20.0), Patience(8.0, longest=20.0)

Made = TypeVar("Made")


@dataclass(frozen=True)
class Cluster:
    """An unmodified client and what error messages need to know; the token is in the client alone."""

    client: kfp.Client
    host: str
    namespace: str | None
    patience: Patience = PATIENT

    def call(self, request: Callable[[], Made], *, about: str) -> Made:
        """Give what `request` returns, tried again after transient faults; `about` is what it is for.

        Only for requests that do the same when sent twice.

        Raises:
            UserError: the server refused, or could not be reached for longer than patience lasts.
        """

        def quietly() -> Made:
            # The client prints links on standard output, where commands write what scripts read.
            with contextlib.redirect_stdout(io.StringIO()):
                return request()

        try:
            return self.patience.ask(
                quietly,
                passes=_is_transient,
                on_fault=lambda error: log.warning("%s: %s; trying again", self.host, _reason(error)),
            )
        except (kfp_server_api.ApiException, http.HTTPError) as error:
            raise _explained(error, self, about) from error

    def create(self, request: Callable[[], Made], *, find: Callable[[], Made | None], about: str) -> Made:
        """Give what `request` creates; after a transient fault take what `find` gives, if it does, instead.

        Raises:
            UserError: the server refused, or could not be reached for longer than patience lasts.
        """
        tried: list[bool] = []

        def once() -> Made:
            made = find() if tried else None
            tried.append(True)
            return request() if made is None else made

        return self.call(once, about=about)

    def link(self, place: str) -> str:
        """Give the address of a page, such as "runs/details/ID"."""
        return f"{self.host}/#/{place}"


def connect(
    host: str, *, namespace: str | None = None, token: str | None = None, patience: Patience = PATIENT
) -> Cluster:
    """Connect to the server at `host`, as `token` if one is given.

    Raises:
        UserError: host or token cannot be one, nobody answers there, the answer is not that of Kubeflow
            Pipelines, the token is refused, or the server has namespaces and none is given.
    """
    host, token = _checked_host(host), _checked_token(token)
    # Its own quick tries are no news beside ours, which are told.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    multi_user = _first_contact(host, namespace, token)
    with warnings.catch_warnings():
        # That it only speaks to servers of version 2 is said of every client.
        warnings.filterwarnings("ignore", category=FutureWarning, module="kfp")
        client = kfp.Client(host=host, namespace=namespace or "kubeflow", existing_token=token)
    namespace = namespace or client.get_user_namespace() or None
    if multi_user and namespace is None:
        raise UserError(
            f"{host} keeps its users apart by namespaces; name yours with --namespace or KFP_NAMESPACE"
        )
    return Cluster(client, host, namespace, patience)


def _first_contact(host: str, namespace: str | None, token: str | None) -> bool:
    """Say if the server has namespaces, before `kfp.Client` asks: a refused token is five traces in 20 s there."""
    configuration = kfp_server_api.Configuration(
        host=host,
        api_key={"authorization": token} if token else None,
        api_key_prefix={"authorization": "Bearer"},
    )
    api = kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration))
    health = Cluster(None, host, namespace, BRIEF).call(
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
    return isinstance(error, http.HTTPError) and not isinstance(_root(error), http.NameResolutionError)


def _explained(error: BaseException, cluster: Cluster, about: str) -> UserError:
    """Say what went wrong with `about`, and the way out."""
    host, namespace = cluster.host, cluster.namespace
    match getattr(error, "status", None) or 0:
        case 0:
            return UserError(
                f"{host} cannot be reached ({_reason(error)}); check --host, the port-forward and the network"
            )
        case 401:
            why = "token missing, wrong or expired (401); get a new one into KFP_EXISTING_TOKEN"
        case 403:
            where = f"namespace {namespace!r}" if namespace else "this server without a namespace"
            why = f"no access to {where}, or there is none of that name (403); check --namespace and your rights"
        case 404:
            why = "it is not known there (404); list what there is, or check --host and --namespace"
        case 409:
            why = (
                f"the name is taken, maybe by something deleted or hidden ({_said(error)}); give another name"
            )
        case status if status in TRANSIENT_STATUS:
            why = f"the server stays unavailable ({_reason(error)}); try again later"
        case status:
            why = f"the server says: {_said(error)} ({status})"
    return UserError(f"{host}: {about}: {why}")


def _said(error: Any) -> str:
    """Give the server's own words: those of its JSON, or the start of whatever it sent."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    with contextlib.suppress(ValueError, AttributeError):
        content = json.loads(body)
        body = str(content.get("message") or content.get("error") or body)
    return " ".join(body.split())[:300] or str(error.reason)


def _reason(error: BaseException) -> str:
    if isinstance(error, kfp_server_api.ApiException):
        return f"{error.status or 'TLS'} {' '.join(str(error.reason).split())}"
    # urllib3 puts the connection's representation before what happened.
    return " ".join(str(_root(error)).rpartition("): ")[2].split())


def _root(error: BaseException) -> BaseException:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error


def _checked_host(host: str) -> str:
    parts = urlsplit(host.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(
            f"host {host!r} is not an address that starts with http:// or https://; an example is "
            "http://localhost:8080"
        )
    if parts.username or parts.password:
        raise UserError("the host's address holds a user name; give the token in KFP_EXISTING_TOKEN instead")
    return host.strip().rstrip("/")


def _checked_token(token: str | None) -> str | None:
    """Give the token without the line end that files bring; never shown, also not in an error."""
    cleaned = (token or "").strip()
    if not (cleaned.isascii() and cleaned.isprintable() and " " not in cleaned):
        raise UserError(
            "the token holds blanks, line ends or other characters that no token has; copy it again, whole"
        )
    return cleaned or None
