"""The shop's command line, run in the tests' process."""

from pathlib import Path

from click.testing import CliRunner, Result

from sample.__main__ import main

ROOT = Path(__file__).parents[2]


def sample(*arguments: object) -> Result:
    """Run the command line; a failure that isn't a clear message is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
