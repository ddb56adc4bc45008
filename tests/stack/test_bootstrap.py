import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from stack import bootstrap

RUN = bootstrap.run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment be in the test's folder, which has none yet, and let no command run."""
    monkeypatch.setattr(bootstrap, "HOME", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "venv")

    def refuse(command: list[str], what: str) -> None:
        raise AssertionError(what)

    monkeypatch.setattr(bootstrap, "run", refuse)


def test_an_environment_in_line_with_the_lock_is_left_alone() -> None:
    (bootstrap.VENV / "bin").mkdir(parents=True)
    (bootstrap.VENV / "bin" / "python").touch()
    (bootstrap.VENV / ".lock.sha256").write_text(
        bootstrap.hashlib.sha256(bootstrap.LOCK.read_bytes()).hexdigest()
    )
    bootstrap.bootstrap()


def test_no_disk_space_is_reported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("usage", (), {"free": 1}))
    with pytest.raises(bootstrap.BootstrapError, match="No disk space"):
        bootstrap.bootstrap()


@pytest.mark.parametrize("version", [(3, 10, 1), (3, 14, 0)])
def test_a_python_that_the_packages_do_not_support_is_named(
    version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(bootstrap.BootstrapError, match=r"3\.11 to 3\.13(.|\n)*PYTHON="):
        bootstrap.bootstrap()


def test_unreachable_registry_is_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    nowhere = [bootstrap.find_uv(), "pip", "install", "--index-url", "http://127.0.0.1:1"]
    with pytest.raises(bootstrap.BootstrapError, match=r"installing failed(.|\n)*proxy(.|\n)*PIP_INDEX_URL"):
        RUN([*nowhere, "--target", str(tmp_path), "medallion-nowhere"], "installing")


def locked(path: Path) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^ ]+)", path.read_text().lower(), re.MULTILINE))


@pytest.mark.parametrize(
    ("path", "left_out"), [(bootstrap.LOCK, set()), (bootstrap.RUNTIME_LOCK, {"test", "lint"})]
)
def test_a_lock_names_every_package_we_ask_for_and_no_registry(path: Path, left_out: set[str]) -> None:
    project = tomllib.loads((bootstrap.ROOT / "pyproject.toml").read_text())
    groups = {"": project["project"]["dependencies"], **project["dependency-groups"]}
    names = {
        group: {re.split(r"[^\w.-]", package)[0].lower().replace("_", "-") for package in packages}
        for group, packages in groups.items()
    }
    for group, packages in names.items():
        assert packages & locked(path).keys() == (set() if group in left_out else packages)
    assert "://" not in path.read_text()
    assert "--hash=sha256:" in path.read_text()


def test_the_locks_agree() -> None:
    assert locked(bootstrap.RUNTIME_LOCK).items() <= locked(bootstrap.LOCK).items()


def test_an_environment_whose_python_is_gone_is_recreated() -> None:
    test_an_environment_in_line_with_the_lock_is_left_alone()
    (bootstrap.VENV / "bin" / "python").unlink()
    with pytest.raises(AssertionError, match="Creating the environment"):
        bootstrap.bootstrap()


def test_a_folder_that_the_engines_do_not_take_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "HOME", tmp_path / "my data")
    with pytest.raises(bootstrap.BootstrapError, match=r"my data has ' ' in its name.*STACK_HOME"):
        bootstrap.bootstrap()


def test_a_long_step_shows_its_seconds(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "PROGRESS_SECONDS", 0.1)
    RUN([sys.executable, "-c", "import time; time.sleep(0.5)"], "Installing the packages")
    output = capfd.readouterr()
    assert output.err.count("  Installing the packages: 0 s so far\n") >= 2
    assert output.out == ""  # stdout goes to `eval "$(make -s env)"`
