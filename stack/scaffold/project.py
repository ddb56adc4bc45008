"""`make new`: a project without the sample, from the files of this one.

Its git repository has two branches: `product` holds only the product's files, and later versions are committed there;
`main` holds the project, and merges them.
"""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from string import Template

from stack.console import console
from stack.errors import StackError
from stack.fetch import atomic_target
from stack.settings import ROOT

# Patterns of the sample's files. They match every model, because all models belong to the sample.
SAMPLE_FILES = Path(__file__).parent / "sample_files.txt"
README = Path(__file__).parent / "project_readme.md"
# Files of which a new project gets its own version.
OWN = {"README.md"}
MADE = {".git", ".stack", ".hypothesis", "__pycache__", "target", "logs", ".env"}


def sample_patterns() -> list[str]:
    """Return the patterns of the sample's files, as git and pathlib read them."""
    return SAMPLE_FILES.read_text().split()


def sample_files(root: Path) -> set[Path]:
    """Return the files and folders of a project that belong to the sample, and its models."""
    return {path for pattern in sample_patterns() for path in root.glob(pattern)}


def project_files(root: Path) -> list[Path]:
    """Return the files of a project that git tracks; without git, all files but those that commands create."""
    if (root / ".git").exists() and shutil.which("git"):
        listed = git(root, "ls-files", "-z").split("\0")
        return [root / name for name in listed if name and (root / name).is_file()]
    return [
        path
        for path in root.rglob("*")
        if path.is_file()
        and not any(part in MADE or part.endswith("_cache") for part in path.relative_to(root).parts)
    ]


def files_to_copy(root: Path) -> list[Path]:
    """Return the files that a new project copies: all but the sample's files and those of OWN."""
    left_out = sample_files(root) | {root / name for name in OWN}
    return [path for path in project_files(root) if not left_out.intersection([path, *path.parents])]


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return its output. Raises StackError with its message."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"git {arguments[0]} failed in {folder}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def commit(folder: Path, message: str) -> None:
    """Commit everything in a folder, under the name that git has for the user, or else under a neutral one."""
    try:
        git(folder, "var", "GIT_COMMITTER_IDENT")
        identity = []
    except StackError:
        identity = ["-c", "user.name=medallion", "-c", "user.email=medallion@localhost"]
    git(folder, "add", "--all")
    git(
        folder,
        *identity,
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "--no-verify",
        "--message",
        message,
    )


def check_folder(folder: Path) -> None:
    """Raise StackError if a project can't be made in a folder."""
    if match := re.search(r"[\s%#?\"']", str(folder)):
        raise StackError(
            f"DIR={folder} has {match[0]!r} in its name, which the engines do not support: choose another."
        )
    if folder.resolve().is_relative_to(ROOT.resolve()):
        raise StackError(f"DIR={folder} is inside of this project, {ROOT}: choose a folder beside it.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StackError(f"DIR={folder} exists and is not an empty folder: choose another name.")


def make_project(folder: Path) -> None:
    """Make a project in a new folder. Raises StackError, and leaves nothing there, if it can't be made."""
    folder = folder.resolve()
    check_folder(folder)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    try:
        with atomic_target(folder) as parent:
            project = parent / folder.name
            for path in files_to_copy(ROOT):
                target = project / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
            has_git = shutil.which("git") is not None
            if has_git:
                git(project, "-c", "init.defaultBranch=product", "init", "--quiet")
                commit(project, f"Take medallion {version}")
                git(project, "switch", "--quiet", "--create", "main")
            (project / "README.md").write_text(Template(README.read_text()).substitute(name=folder.name))
            if has_git:
                commit(project, "Start the project")
                git(project, "remote", "add", "product", str(ROOT))
            if (ROOT / ".env").exists():
                (project / ".env").touch(mode=0o600)
                (project / ".env").write_text((ROOT / ".env").read_text())
    except OSError as error:
        raise StackError(f"{folder} can't be made: {error}. Nothing was left there.") from None
    console.print(f"Made the project {folder}", markup=False)
    if not has_git:
        console.print("git is not installed, so the project is no git repository yet.")
    if (folder / ".env").exists():
        console.print("Its .env is a copy of the one here.")
