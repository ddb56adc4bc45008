"""Make what the stack needs besides Python packages: downloads, dbt's manifests, Java's class archive; keep them."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from medallion.project.fingerprint import STAMP, dbt_code
from stack.console import console
from stack.environment import PROGRAMS, class_archive, environment, service_environment
from stack.errors import StackError
from stack.settings import ROOT, STACK, Settings

# Folders below STACK_HOME that hold rows of the source, or logs. PostgreSQL itself creates the folder `postgres`.
DATA = ("log", "airflow", "spark", "trino", "warehouse", "dbt", "docs")
DBT = ROOT / "include" / "dbt"
TARGETS = ("trino", "spark")
# dbt's command that makes a manifest. The Spark job needs the compiled selects of silver staging, and
# compiling them needs no engine.
STAGING = "path:models/silver/staging"
PARSE = {"trino": ["parse"], "spark": ["compile", "--no-introspect", "--select", STAGING]}
# Modules that check a manifest after it was made.
CHECKS = {"trino": "medallion.project.contracts", "spark": "medallion.project.declarations"}


def run(command: Sequence[str | Path], env: dict[str, str], log: Path, what: str) -> None:
    """Run `command` with its output in `log`; raise StackError with the end of the output if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            command, env=env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise StackError(f"{what} failed. The end of {log}:\n{last_lines(log)}")


def last_lines(log: Path, count: int = 20) -> str:
    """Return the last lines of a log, indented, without the frames of Java's stack traces."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    shortened = [line for line in lines if not line.lstrip().startswith("at ")]
    return "\n".join(f"  {line[:300]}" for line in shortened[-count:])


def make_manifests(env: dict[str, str], log: Path) -> None:
    """Make the manifests that Airflow's tasks are built from, one per engine, unless they are current."""
    digest = dbt_code()
    for target in TARGETS:
        stamp = DBT / "target" / target / STAMP
        if stamp.exists() and stamp.read_text() == digest:
            continue
        stamp.unlink(missing_ok=True)  # a killed parse leaves a partial manifest
        console.print(f"Parsing the dbt project for {target} …")
        command: list[str | Path] = [
            PROGRAMS / "dbt",
            "--no-version-check",
            *PARSE[target],
            "--target",
            target,
        ]
        command += ["--project-dir", DBT, "--profiles-dir", DBT, "--target-path", stamp.parent]
        run(command, env, log / f"dbt-parse-{target}.log", "Parsing the dbt project")
        check_models(CHECKS[target], env)
        stamp.write_text(digest)


def check_models(module: str, env: dict[str, str]) -> None:
    """Run a module that checks models. Raises StackError with its message if a model can't be used."""
    done = subprocess.run(
        [PROGRAMS / "python", "-m", module],
        env=env | {"PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(done.stderr.strip())


def copy_parsed_projects(cache: Path) -> None:
    """Copy the parsed dbt project to the place where Cosmos' tasks look for it."""
    for target in TARGETS:
        shutil.copytree(DBT / "target" / target, cache / target / "target", dirs_exist_ok=True)


def make_class_archive(settings: Settings, env: dict[str, str]) -> None:
    """Make Java's archive of the classes that a Spark job loads; it halves the CPU time of a job's start."""
    archive = class_archive(settings)
    if archive.exists():
        return
    console.print("Recording Spark's classes for faster starts …")
    for outdated in archive.parent.glob("*.jsa"):
        outdated.unlink()
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        partial = Path(folder) / archive.name
        catalog = "spark.sql.catalog.warm"
        command: list[str | Path] = [PROGRAMS / "spark-submit", "--master", "local[1]"]
        command += ["--conf", f"{catalog}=org.apache.iceberg.spark.SparkCatalog"]
        command += ["--conf", f"{catalog}.type=hadoop", "--conf", f"{catalog}.warehouse={folder}/lake"]
        command += [STACK / "spark" / "warm_up.py"]
        record = f"{env['SPARK_SUBMIT_OPTS']} -XX:ArchiveClassesAtExit={partial} -Xlog:cds=off"
        log = settings.home / "log" / "spark-warm-up.log"
        run(command, env | {"SPARK_SUBMIT_OPTS": record}, log, "Recording Spark's classes")
        partial.rename(archive)


def check_not_moved(settings: Settings) -> None:
    """Raise StackError if the lake was made in another folder, because its tables store the full path of each file."""
    record = settings.home / "settings.json"
    made_in = Path(json.loads(record.read_text())["home"]) if record.exists() else settings.home
    # The same folder may have another name, by a symbolic link or `..`.
    if made_in != settings.home and not (made_in.exists() and made_in.samefile(settings.home)):
        raise StackError(
            f"The data in {settings.home} was made in {made_in}, and the lake's tables name their files there. Move "
            f"the folder back to {made_in}, or start over without the data: make clean"
        )


def build(settings: Settings) -> dict[str, str]:
    """Prepare everything that is not a running service; return the services' environment."""
    check_not_moved(settings)
    for folder in DATA:
        (settings.home / folder).mkdir(parents=True, exist_ok=True)
        (settings.home / folder).chmod(0o700)  # whatever the umask is
    (settings.home / "spark" / "tmp").mkdir(exist_ok=True)
    env = service_environment("build", environment(settings))
    make_manifests(env, settings.home / "log")
    copy_parsed_projects(settings.home / "airflow" / "cosmos")
    make_class_archive(settings, env)
    return environment(settings)
