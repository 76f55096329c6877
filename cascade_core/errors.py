"""The error class for faults that a user can mend; commands and servers show it without a traceback."""


class UserError(ValueError):
    """A fault of the input or the machine; the message says what was expected and how to mend it.

    Commands print the message and exit with 2; the server answers 400. Any other exception is a defect of the program:
    commands print a traceback and exit with 1; the server answers 500.
    """
