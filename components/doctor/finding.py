"""A finding of the doctor: its state, what it is about, and what to do."""

from dataclasses import dataclass
from typing import Literal

from cascade_core.errors import UserError

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """What a check saw.

    Attributes:
        subject: what the check looked at, such as "disk".
        state: `ok`; `note` for something that is missing but not needed by every command; `problem` otherwise.
        sentence: what the check saw, with paths and addresses to copy; may hold a password, which the printer masks.
        mend: a command or an action that mends it; "" if nothing needs mending.
    """

    subject: str
    state: State
    sentence: str
    mend: str = ""

    @classmethod
    def of_error(cls, subject: str, error: UserError) -> "Finding":
        """Return the problem that an error describes; what follows its last semicolon is the way out."""
        sentence, _, mend = str(error).rpartition("; ")
        return cls(subject, "problem", sentence or mend, mend if sentence else "")
