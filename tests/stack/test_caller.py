"""The launcher works alike whatever the caller's variables, locale, umask, user and folder are.

Each of its processes gets only the variables and secrets that it needs.
"""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from stack import bootstrap, build, supervisor
from stack.environment import environment
from stack.errors import StackError
from stack.postgres import SERVER
from stack.settings import ROOT, STACK, Settings

# Each of these changes what libpq, Airflow, dbt, Spark, Java, Python, pip, uv or pyiceberg does.
HOSTILE = {
    "PGSSLMODE": "require", "PGSERVICE": "prod", "PGSERVICEFILE": "/nowhere", "PGOPTIONS": "-c no=1", "PGPORT": "1",
    "AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONFIG": "/nowhere", "AIRFLOW__CORE__DAGS_FOLDER": "/nowhere",
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": "false",
    "DBT_TARGET_PATH": "/nowhere", "DBT_PROFILES_DIR": "/nowhere", "DBT_STATIC_PARSER": "no", "TRINO_METHOD": "ldap",
    "SPARK_HOME": "/nowhere", "SPARK_MASTER": "yarn", "SPARK_DAEMON_MEMORY": "1", "HADOOP_CONF_DIR": "/nowhere",
    "PYSPARK_DRIVER_PYTHON": "jupyter", "JAVA_TOOL_OPTIONS": "-Xmx1m", "JDK_JAVA_OPTIONS": "-Xmx1m", "CLASSPATH": "/no",
    "PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONIOENCODING": "latin-1",
    "PIP_TARGET": "/nowhere", "PIP_PREFIX": "/nowhere", "UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "3.8",
    "PYICEBERG_CATALOG__LAKE__WAREHOUSE": "/nowhere", "VIRTUAL_ENV": "/nowhere", "BASH_ENV": "/nowhere",
    "LC_ALL": "POSIX", "LANG": "de_DE.ISO-8859-1", "TZ": "Asia/Tokyo",
}  # fmt: skip
CHECKED = {"PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1"}
WANTED = {
    "HTTPS_PROXY": "http://proxy:1", "SSL_CERT_FILE": "/ca.pem", "PIP_INDEX_URL": "http://mirror", "UV_INDEX_URL": "u",
    "STACK_SHOP": "off", "MEDALLION_LOOKBACK": "PT1H", "AIRFLOW_CONN_SMTP_DEFAULT": "smtp://mail",
}  # fmt: skip
AIRFLOW = {
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CORE__FERNET_KEY",
}  # fmt: skip
TASKS = AIRFLOW | {
    "AIRFLOW_CONN_MEDALLION_SOURCE",
    "AIRFLOW_CONN_MEDALLION_GOLD",
    "AIRFLOW_CONN_SMTP_DEFAULT",
}
NEEDED = {
    "trino": {"LAKE_PASSWORD", "PUBLISHER_PASSWORD", "STACK_SOURCE_PASSWORD"},
    "thrift": set(),
    "api-server": AIRFLOW,
    "scheduler": TASKS,
    "dag-processor": TASKS,
    "triggerer": TASKS,
    "shop": {"SOURCE_URL", "STACK_SOURCE_URL"},
    supervisor.WATCH: set(),
}


def run_main(code: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Start the launcher with `code` in place of its command line interface."""
    start = f"from stack import __main__ as launcher; launcher.cli = lambda **_: {code}; launcher.main()"
    env = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([sys.executable, "-c", start], cwd=ROOT, env=env, capture_output=True, check=False)


@pytest.mark.usefixtures("fetched")
def test_no_variable_of_the_caller_changes_what_a_process_gets(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = environment(settings)
    for name, value in {**HOSTILE, **CHECKED}.items():
        monkeypatch.setenv(name, value)
    assert environment(settings) == expected


def test_the_launcher_drops_such_variables_and_keeps_how_to_reach_the_network() -> None:
    hostile = {name: value for name, value in HOSTILE.items() if not name.startswith("PYTHON")}
    code = "print(__import__('json').dumps(dict(launcher.os.environ)))"
    done = run_main(code, **hostile, **CHECKED, **WANTED)
    variables = json.loads(done.stdout)
    assert not variables.keys() & (hostile.keys() - {"LC_ALL"})
    assert WANTED.items() <= variables.items()
    assert {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "LC_ALL": "C.UTF-8"}.items() <= variables.items()
    assert Path(variables["HOME"]).is_dir()


@pytest.mark.parametrize(
    "name", ["PYTHONSAFEPATH", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONINSPECT"]
)
def test_make_ignores_variables_of_python(name: str, tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    show = tmp_path / "venv" / "bin" / "python"
    show.write_text(f'#!/bin/sh\nexec {sys.executable} "$1" -c "print(1)"\n')
    show.chmod(0o755)
    done = subprocess.run(
        ["make", "-o", "venv", "status", f"STACK_HOME={tmp_path}"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], name: HOSTILE[name]}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_letter_that_the_terminal_lacks_is_shown_as_a_placeholder() -> None:
    done = run_main("launcher.console.print('Grüße …')", PYTHONIOENCODING="latin-1")
    assert (done.stdout, done.stderr) == ("Grüße ?\n".encode("latin-1"), b"")


def test_a_user_without_a_name_is_told_so_in_one_sentence() -> None:
    nobody = "import pwd; pwd.getpwuid = lambda _: {}[0]; import stack.bootstrap as b; b.bootstrap()"
    done = subprocess.run(
        [sys.executable, "-c", nobody], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert re.search(r"BootstrapError: The user id \d+ has no name.*useradd --uid \d+", last)


def test_folders_that_can_not_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("STACK_HOME", "STACK_CACHE"):
        env = {"PATH": "/nowhere", "STACK_HOME": str(tmp_path / "home"), name: str(tmp_path / "file" / "x")}
        done = subprocess.run(
            [sys.executable, "-E", "-m", "stack.bootstrap"],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert re.search(
            r"^Error: .*Not a directory.*\nSTACK_HOME and STACK_CACHE", done.stderr, re.MULTILINE
        )


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_folders_with_data_are_private_whatever_the_umask_is(
    umask: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("make_manifests", "copy_parsed_projects", "make_class_archive"):
        monkeypatch.setattr(build, step, lambda *_: None)
    (settings.home / "warehouse").mkdir(mode=0o755)  # as an earlier version created it
    before = os.umask(umask)
    try:
        build.build(settings)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.home.iterdir()}
    assert {"warehouse", "log", "airflow", "trino", "spark"} < modes.keys()
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


@pytest.fixture
def everything(settings: Settings, fetched: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment that the supervisor gets if the source is outside of the stack."""
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", "smtp://user:secret-of-mail@mail")
    url = SecretStr("postgresql://reader:secret-of-source@erp:5432/erp")
    env = environment(settings.model_copy(update={"source_url": url}))
    return env | supervisor.options_of_env(env)


def holds_secret(env: dict[str, str], everything: dict[str, str]) -> set[str]:
    """Return the names of the variables whose value contains a secret."""
    secret = ["secret-of-mail", "secret-of-source"]
    secret += [
        value for name, value in everything.items() if re.search("PASSWORD$|SECRET|KEY$", name) and value
    ]
    return {name for name, value in env.items() if any(text in value for text in secret)}


@pytest.mark.parametrize("service", [name for name in supervisor.SERVICES if name != "postgres"])
def test_a_service_gets_only_the_secrets_that_it_needs(service: str, everything: dict[str, str]) -> None:
    parser = RawConfigParser()
    parser.read(STACK / "supervisord.conf")
    [section] = [name for name in parser.sections() if name.partition(":")[2] == service]
    [options] = re.findall(r"^env %\(ENV_(\w+)\)s ", parser[section]["command"])
    command = ["env", *shlex.split(everything[options]), "env", "-0"]
    output = subprocess.run(command, env=everything, capture_output=True, text=True, check=True).stdout
    env = dict(line.split("=", 1) for line in output.split("\0") if line)
    assert holds_secret(env, everything) == NEEDED[service]


def test_postgres_gets_no_secret(everything: dict[str, str]) -> None:
    output = subprocess.run(
        [SERVER, "/usr/bin/env"], env=everything, capture_output=True, text=True, check=True
    ).stdout
    assert {line.partition("=")[0] for line in output.splitlines()} <= {"PATH", "LC_ALL", "TZ", "PWD", "_"}


@contextmanager
def program(mode: int) -> Iterator[Path]:
    """Create a program that prints its user and rights, in a folder with this mode; yields its path."""
    with tempfile.TemporaryDirectory() as folder:
        show = Path(folder, "show")
        # `find -readable` checks with access(2), as initdb does.
        reads = (
            '#!/bin/sh\ngrep -E "^(Uid|CapEff|NoNewPrivs)" /proc/self/status\nfind "$0" -readable -print\n'
        )
        show.write_text(reads)
        show.chmod(0o755)
        Path(folder).chmod(mode)
        yield show


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs PostgreSQL as another user")
@pytest.mark.parametrize(
    ("mode", "rights"),
    # The rights are capabilities: CAP_DAC_READ_SEARCH is 4. A root without it passes on CAP_DAC_OVERRIDE, which is 2.
    [(0o755, {0}), (0o700, {4, 2})],
    ids=["open", "private"],
)
def test_postgres_under_root_has_only_the_rights_to_reach_its_folder(mode: int, rights: set[int]) -> None:
    with program(mode) as show:
        output = subprocess.run([SERVER, show], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == str(show)
    fields = dict(re.findall(r"(\w+):\s+(\w+)", output))
    assert fields["Uid"] == "65534"
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) in rights


@pytest.mark.parametrize(
    "first_lines", ["#!{}/bin/python\n", "#!/bin/sh\n'''exec' '{}/bin/python' \"$0\" \"$@\"\n"]
)
def test_an_environment_that_was_moved_is_recreated(
    first_lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "here" / "venv")
    command = tmp_path / "here" / "venv" / "bin" / "airflow"
    command.parent.mkdir(parents=True)
    assert not bootstrap.is_moved()
    command.write_text(first_lines.format(tmp_path / "here" / "venv"))
    assert not bootstrap.is_moved()
    command.write_text(first_lines.format(tmp_path / "there" / "venv"))
    assert bootstrap.is_moved()
    (tmp_path / "there" / "venv" / "bin").mkdir(parents=True)  # as if the environment were a copy
    assert bootstrap.is_moved()


def test_data_that_was_moved_is_refused(settings: Settings, tmp_path: Path) -> None:
    record = settings.home / "settings.json"
    build.check_not_moved(settings)
    record.write_text(settings.model_dump_json())
    build.check_not_moved(settings)
    record.write_text(settings.model_copy(update={"home": tmp_path / "earlier"}).model_dump_json())
    with pytest.raises(StackError, match=f"was made in {tmp_path}/earlier.*Move the folder back.*make clean"):
        build.check_not_moved(settings)


def test_a_stack_whose_folder_was_moved_is_found(settings: Settings) -> None:
    wait = [sys.executable, "-c", "print(flush=True); input()", "/earlier/stack/supervisord.conf"]
    pipe = subprocess.PIPE
    with subprocess.Popen(wait, cwd=settings.home, stdin=pipe, stdout=pipe) as leader:
        assert leader.stdout
        leader.stdout.readline()
        moved = settings.model_copy(update={"home": settings.home.rename(settings.home.with_name("moved"))})
        supervisor.session_record(moved).write_text(str(leader.pid))
        assert supervisor.session(moved) == leader.pid
        settings.home.mkdir()
        supervisor.session_record(settings).write_text(str(leader.pid))
        assert supervisor.session(settings) is None  # the process belongs to the stack in the moved folder
        leader.kill()
