"""The one kind of error that users can mend themselves; commands and servers show it as a sentence, without a trace."""


class UserError(ValueError):
    """The input, or the machine, is at fault, and the message says what was expected and how to mend it.

    Commands exit with 2 and print the message; the server answers 400. Any other exception is a defect of the
    program: exit code 1 with a trace, status 500.
    """
