"""Make the Python environment `.stack/venv` from the lock file; it needs only a system Python and its standard library.

Usage: python3 -m stack.bootstrap [lock]     (lock: resolve pyproject.toml into the lock files)
"""

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.txt"
# The packages of LOCK that an Airflow needs, without those of tests and linters.
RUNTIME_LOCK = ROOT / "requirements.txt"
# STACK_HOME cannot be set in `.env`: the Python that reads `.env` is installed below STACK_HOME.
HOME = Path(os.environ.get("STACK_HOME") or ROOT / ".stack").absolute()
VENV = HOME / "venv"
CACHE = Path(
    os.environ.get("STACK_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~"), ".cache")) / "medallion"
)
UV = "uv==0.13.8"
PROGRESS_SECONDS = 15
SPACE = 2 * 1024**3  # bytes: 1.2 GB installed, and temporary files
# The caller's variables that every process gets. Others are dropped, because they may change what a program does:
# PGSSLMODE, AIRFLOW__CORE__EXECUTOR, DBT_TARGET_PATH, SPARK_HOME or JAVA_TOOL_OPTIONS, for example.
INHERITED = re.compile(
    r"PATH|LD_LIBRARY_PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|XDG_\w+|TERM|COLORTERM|COLUMNS|LINES|NO_COLOR"
    r"|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|KRB5\w+"
    r"|MEDALLION_\w+|AIRFLOW_(CONN|VAR)_\w+|OBJC_DISABLE_INITIALIZE_FORK_SAFETY"
)
# More variables that the launcher and its set-up get: its settings, and how to reach package registries.
FOR_SET_UP = re.compile(
    r"STACK_\w+|JAVA_HOME|NETRC"
    r"|(PIP|UV)_\w*(INDEX|LINKS|PROXY|CERT|HOST|CACHE|HTTP|TIMEOUT|RETRIES|CONFIG_FILE|KEYRING|TLS|OFFLINE)\w*"
)
# The locale of every process, and options of pip. A pip.conf may set the two options otherwise, and pip would then
# refuse to install with --target.
FIXED = {"LC_ALL": "C.UTF-8", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


class BootstrapError(Exception):
    """A message that says what is wrong and what to do."""


def clean_environment() -> None:
    """Keep only the caller's variables that the launcher needs, for this process and all that it starts."""
    for name in [*os.environ]:
        if not INHERITED.fullmatch(name) and not FOR_SET_UP.fullmatch(name):
            del os.environ[name]
    os.environ.update(FIXED)
    os.environ.setdefault("PATH", os.defpath)
    os.environ.setdefault("HOME", os.path.expanduser("~"))


def check_user() -> None:
    """Raise BootstrapError if the user has no name."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise BootstrapError(
            f"The user id {os.getuid()} has no name, so PostgreSQL and Spark would not start. Add the user to "
            f"/etc/passwd (useradd --uid {os.getuid()} medallion), or work as another user."
        ) from None


def is_moved() -> bool:
    """Return whether the environment was made in another folder, to which its commands still refer."""
    command = VENV / "bin" / "airflow"
    if not command.exists():
        return False
    # The first line names the interpreter after `#!`. If its path is too long for that, the second line quotes it.
    interpreter = re.search(rb"#!/bin/sh\n'''exec' '([^']+)|#!(.+)", command.read_bytes())
    folder = Path(os.fsdecode(interpreter[1] or interpreter[2])).parent if interpreter else Path()
    return not folder.exists() or not folder.samefile(command.parent)


def find_uv() -> str:
    """Return the path of `uv`: the one on PATH, or else one in the cache, fetched with pip if needed."""
    if path := shutil.which("uv"):
        return path
    target = CACHE / UV.replace("==", "-")
    if not target.exists():
        # The Python of a virtual environment may lack pip, but the system's Python that it links to may have it.
        python = os.path.realpath(sys.executable)
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
            raise BootstrapError(
                f"{python} has neither uv nor pip: install one (Debian: apt-get install python3-pip)."
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--root-user-action", "ignore", "--target", f"{folder}/uv", UV]
            run(command, f"Fetching {UV}")
            Path(folder, "uv").rename(target)
    return str(target / "bin" / "uv")


def run(command: list[str], what: str) -> None:
    """Run `command` in the project's folder, with a line of progress now and then; raise BootstrapError if it fails."""
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.returncode is None:
            try:
                process.wait(PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"  {what}: {time.monotonic() - began:.0f} s so far", file=sys.stderr)
    if process.returncode:
        raise BootstrapError(
            f"{what} failed; the reason is in the lines above.\nIf it is the connection: check the network, your proxy "
            "(HTTPS_PROXY), your certificates (SSL_CERT_FILE)\nor your mirror "
            "(PIP_INDEX_URL, UV_INDEX_URL), and try again."
        )


def bootstrap() -> None:
    """Install the packages of the lock file in `.stack/venv`, unless they are installed. Raises BootstrapError."""
    if not (3, 11) <= sys.version_info < (3, 14):
        raise BootstrapError(
            f"Python 3.11 to 3.13 is needed; {sys.executable} is {sys.version.split()[0]}. "
            "Name another Python: make PYTHON=/path/to/python3.11 …"
        )
    check_user()
    stamp = VENV / ".lock.sha256"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    # An upgrade of the system may have removed the Python that the environment links to.
    if stamp.exists() and stamp.read_text() == digest and python.exists() and not is_moved():
        return
    for place in (ROOT, HOME, CACHE):
        if match := re.search(r"[\s%#?\"']", str(place)):
            raise BootstrapError(
                f"{place} has {match[0]!r} in its name, which the engines do not support: choose another folder for "
                "the project, STACK_HOME or STACK_CACHE."
            )
    HOME.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(HOME).free
    if free < SPACE:
        raise BootstrapError(
            f"No disk space: {SPACE >> 20} MB needed in {HOME}, {free >> 20} MB free. Free some space."
        )
    uv = find_uv()
    # Remove the stamp first, so that an interrupted installation is repeated.
    stamp.unlink(missing_ok=True)
    # The line goes to stderr, because stdout goes to `eval "$(make -s env)"`.
    print("Installing the locked Python packages (some minutes the first time) …", file=sys.stderr)
    if not python.exists() or is_moved():
        shutil.rmtree(VENV, ignore_errors=True)
        run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], "Creating the environment")
    run(
        [
            uv,
            "pip",
            "sync",
            "--quiet",
            "--python",
            str(VENV),
            "--require-hashes",
            "--compile-bytecode",
            LOCK.name,
        ],
        "Installing the packages",
    )
    stamp.write_text(digest)


def lock() -> None:
    """Resolve the packages of pyproject.toml into the lock files, for every supported Python. Raises BootstrapError."""
    options = ["--universal", "--generate-hashes", "--no-emit-index-url", "--quiet", "--group", "stack"]
    for path, more in (
        (LOCK, ["--group", "test", "--group", "lint"]),
        (RUNTIME_LOCK, ["--constraints", LOCK.name]),
    ):
        run(
            [find_uv(), "pip", "compile", "pyproject.toml", *options, *more, "--output-file", path.name],
            f"Resolving the packages of {path.name}",
        )


if __name__ == "__main__":
    clean_environment()
    try:
        lock() if sys.argv[1:] == ["lock"] else bootstrap()
    except BootstrapError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        sys.exit(f"Error: {error}\nSTACK_HOME and STACK_CACHE must name folders that you can write to.")
