"""What every entry point does first: a command, a component in its pod."""

from components.addresses import hide_secrets
from components.own_variables import adopt


def enter() -> None:
    """Hide secrets in logs and traces, and read the variables of our own.

    Raises:
        UserError: the environment asks for a tracking server that is not there.
    """
    hide_secrets()
    adopt()
