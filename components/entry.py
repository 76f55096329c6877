"""What every entry point does first: a command, a component in its pod."""

from components.servers.addresses import hide_secrets
from components.servers.certificates import trust
from components.servers.own_variables import adopt


def enter() -> None:
    """Hide secrets in logs and traces, read the variables of our own, and trust private authorities.

    Raises:
        UserError: the environment asks for a tracking server that is not there, or names no certificates.
    """
    hide_secrets()
    adopt()
    trust()
