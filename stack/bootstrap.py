"""Makes the Python environment `.stack/venv` from the lock file; runs on any system Python, standard library only.

Usage: python3 -m stack.bootstrap [lock]     (lock: resolve pyproject.toml into the lock files again)
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.txt"
# What of it an Airflow of one's own needs, without the tests' and linters' packages.
RUNTIME_LOCK = ROOT / "requirements.txt"
# An environment variable alone, not `.env`: it says where the environment that reads `.env` is.
HOME = Path(os.environ.get("STACK_HOME") or ROOT / ".stack").absolute()
VENV = HOME / "venv"
CACHE = Path(
    os.environ.get("STACK_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medallion"
)
UV = "uv==0.13.8"
SPACE = 2 * 1024**3  # bytes: 1.2 GB installed, and what is unpacked on the way


class BootstrapError(Exception):
    """What is wrong and what to do about it."""


def find_uv() -> str:
    """Return the path of `uv`: the one on PATH, else the cached one, fetched with pip where there is none."""
    if found := shutil.which("uv"):
        return found
    target = CACHE / UV.replace("==", "-")
    if not target.exists():
        # Not the environment's own Python, a link: that has no pip.
        python = os.path.realpath(sys.executable)
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
            raise BootstrapError(
                f"Neither uv nor pip is there for {python}: install one (Debian: apt-get install python3-pip)."
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--root-user-action", "ignore", "--target", f"{folder}/uv", UV]
            run(command, f"fetching {UV}")
            Path(folder, "uv").rename(target)
    return str(target / "bin" / "uv")


def run(command: list[str], what: str) -> None:
    """Run `command` in the project's folder; raise BootstrapError where it fails."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise BootstrapError(
            f"{what} failed; the lines above say why.\nIf they speak of a connection: check the network, your proxy "
            "(HTTPS_PROXY), your certificates (SSL_CERT_FILE)\nor your mirror "
            "(PIP_INDEX_URL, UV_INDEX_URL), and try again."
        )


def bootstrap() -> None:
    """Bring `.stack/venv` in line with the lock file; at once done when it is. Raises BootstrapError."""
    if not (3, 11) <= sys.version_info < (3, 14):
        raise BootstrapError(
            f"Python 3.11 to 3.13 is needed; {sys.executable} is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=/path/to/python3.11 …"
        )
    stamp = VENV / ".lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    # The Python that it was made with may have left with an upgrade of the system.
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return
    for place in (ROOT, HOME, CACHE):
        if odd := re.search(r"[\s%#?\"']", str(place)):
            raise BootstrapError(
                f"{place} has {odd[0]!r} in its name, which the engines do not take: choose another folder for the "
                "project, STACK_HOME or STACK_CACHE."
            )
    HOME.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(HOME).free
    if free < SPACE:
        raise BootstrapError(
            f"No disk space: {SPACE >> 20} MB needed in {HOME}, {free >> 20} MB free. Free some."
        )
    uv = find_uv()
    # One that is killed while it installs is done again, whatever is wanted then.
    stamp.unlink(missing_ok=True)
    # Not what `eval "$(make -s env)"` takes.
    print("Installing the locked Python packages (some minutes the first time) …", file=sys.stderr)
    if not python.exists():
        shutil.rmtree(VENV, ignore_errors=True)
        run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], "making the environment")
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
        "installing the packages",
    )
    stamp.write_text(wanted)


def lock() -> None:
    """Resolve the packages of pyproject.toml into the lock files, for every supported Python. Raises BootstrapError."""
    options = ["--universal", "--generate-hashes", "--no-emit-index-url", "--quiet", "--group", "stack"]
    for path, more in (
        (LOCK, ["--group", "test", "--group", "lint"]),
        (RUNTIME_LOCK, ["--constraints", LOCK.name]),
    ):
        run(
            [find_uv(), "pip", "compile", "pyproject.toml", *options, *more, "--output-file", path.name],
            f"resolving the packages of {path.name}",
        )


if __name__ == "__main__":
    try:
        lock() if sys.argv[1:] == ["lock"] else bootstrap()
    except BootstrapError as error:
        sys.exit(f"Error: {error}")
