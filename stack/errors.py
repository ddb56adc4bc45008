"""The one error that reaches the user as a plain message."""


class StackError(Exception):
    """What is wrong and what to do about it; the command line prints it and exits with status 1."""
