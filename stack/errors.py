"""The error that users see as a plain message."""


class StackError(Exception):
    """A message that says what is wrong and what to do; the command line prints it and exits with status 1."""
