"""Run the shop's command line in the tests' process."""

from pathlib import Path

from click.testing import CliRunner, Result

from sample.__main__ import main

ROOT = Path(__file__).parents[2]


def sample(*arguments: object) -> Result:
    """Run the command line and return its result. Exceptions that it does not turn into a message are raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
