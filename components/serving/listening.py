"""The address that a server of this project listens at."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from cascade_core.errors import UserError


def check_free(host: str, port: int) -> IPv4Address | IPv6Address:
    """Refuse an unusable address before a model is loaded for a minute; return the number of a host with a name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as server:
            return ip_address(server.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"nothing can listen at {host}:{port} ({error.strerror}); choose another --port, or --host"
        ) from error
