"""The command line of the stack. `python -m stack --help` lists the commands, and `make help` the targets for them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import click
from pydantic import ValidationError
from rich.console import Console

from medallion.names import (
    GOLD,
    GROUPS_UP_TO,
    MAINTENANCE_DAG,
    MODELS,
    RECONCILE_DAG,
    ROLLBACK_DAG,
    SILVER,
    Group,
)
from stack import demo, pipeline, supervisor
from stack.bootstrap import clean_environment
from stack.build import DBT, build, make_manifests
from stack.console import console
from stack.environment import (
    MARK,
    POSTGRES_BIN,
    environment,
    inherited_environment,
    no_proxy_variables,
    public_environment,
)
from stack.errors import StackError
from stack.lifecycle import clean_airflow, show_status
from stack.scaffold.project import make_project
from stack.scaffold.tables import check_schema, write_table, write_tables
from stack.settings import ROOT, Settings, read_settings
from stack.source import check_source
from stack.watch import watch

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])


def replace_process(command: list[str], env: Mapping[str, str]) -> None:
    """Replace this process by `command` in the project's folder. Raises StackError if it can't be run."""
    os.chdir(ROOT)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606, no shell is needed
    except OSError as error:
        raise StackError(f"{command[0]} can't be run: {error}") from None


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the stack's processes, without the mark by which `make down` finds them."""
    return {name: value for name, value in environment(settings).items() if name != MARK}


@click.group()
@click.pass_context
def cli(context: click.Context) -> None:
    """Start, fill, run and stop the medallion stack on this machine."""
    context.obj = read_settings()
    os.environ.update(no_proxy_variables())


@cli.command("build")
@click.pass_obj
def set_up(settings: Settings) -> None:
    """Fetch the engines and prepare everything they need; start nothing."""
    build(settings)


@cli.command()
@click.pass_obj
def manifest(settings: Settings) -> None:
    """Update the manifests of the dbt project; needs no engine."""
    make_manifests({**inherited_environment(), "DO_NOT_TRACK": "1"}, settings.home / "log")


@cli.command()
@click.pass_obj
def up(settings: Settings) -> None:
    """Start the engines and wait until they are healthy."""
    demo.start(settings)


@cli.command()
@click.pass_obj
def down(settings: Settings) -> None:
    """End every process of the stack."""
    supervisor.shutdown(settings)
    console.print("The stack is down.")


@cli.command("watch", hidden=True)
@click.pass_obj
def watch_services(settings: Settings) -> None:
    """Kill services that do not answer; only supervisord runs this command."""
    watch(settings)


@cli.command()
@click.pass_obj
def status(settings: Settings) -> None:
    """Show each service: state, process, port, uptime, memory."""
    show_status(settings)


@cli.command()
@click.argument("services", nargs=-1, type=click.Choice(supervisor.SERVICES))
@click.pass_obj
def logs(settings: Settings, services: tuple[str, ...]) -> None:
    """Follow the logs of SERVICES (default: all) until Ctrl-C."""
    files = [settings.home / "log" / f"{name}.log" for name in services or supervisor.SERVICES]
    existing = [str(file) for file in files if file.exists()]
    if not existing:
        raise StackError(f"No log is in {settings.home / 'log'} yet. Start the stack: make up")
    replace_process(["tail", "-n", "20", "-F", *existing], os.environ)


@cli.command()
@click.pass_obj
def env(settings: Settings) -> None:
    """Print shell lines with URLs, logins and a PATH that has psql; for eval."""
    path = os.pathsep.join([str(POSTGRES_BIN), os.environ["PATH"]])
    for name, value in {**public_environment(settings), "PATH": path}.items():
        quoted = value.replace("'", "'\\''")
        # Write bytes, because a PATH may have letters that the terminal's encoding lacks.
        click.echo(os.fsencode(f"export {name}='{quoted}'"))


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True)
@click.pass_obj
def execute(settings: Settings, command: tuple[str, ...]) -> None:
    """Run COMMAND (dbt, airflow, spark-submit, …) in the environment of the stack's processes."""
    replace_process(list(command), process_environment(settings))


@cli.command()
@click.option(
    "--olist",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the nine CSV files.",
)
@click.option(
    "--orders",
    type=int,
    default=50_000,
    show_default=True,
    help="Number of orders to generate without --olist.",
)
@click.pass_obj
def run(settings: Settings, olist: Path | None, orders: int) -> None:
    """Start everything, fill an empty shop, publish the history, then the next changes; show results."""
    demo.run(settings, olist, orders)


@cli.command()
@click.option("--from", "start", type=MOMENT, help="Start of the window, UTC.")
@click.option("--to", "end", type=MOMENT, help="End of the window, UTC, exclusive.")
@click.option("--layer", type=click.Choice([*GROUPS_UP_TO]), help="Stop after this layer.")
@click.option(
    "--rebuild", type=click.Choice([SILVER, GOLD]), help="Rebuild this layer and the layers above it."
)
@click.option("--allow-rejected", is_flag=True, help="Publish, however many rows are rejected.")
@click.pass_obj
def trigger(
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    layer: str | None,
    rebuild: str | None,
    allow_rejected: bool,
) -> None:
    """Run the pipeline once and follow it; without options the run takes what is new."""
    params = {
        "window_start": start and start.isoformat(),
        "window_end": end and end.isoformat(),
        "up_to": layer,
        "rebuild": rebuild,
        "allow_rejected": allow_rejected,
    }
    pipeline.trigger(settings, {name: value for name, value in params.items() if value})


@cli.command()
@click.option(
    "--allow-deletes", is_flag=True, help="Accept deletes, however large their share of a table is."
)
@click.pass_obj
def reconcile(settings: Settings, allow_deletes: bool) -> None:
    """Compare the whole source with bronze and follow the run; the next hourly run updates silver and gold."""
    pipeline.trigger(settings, {"allow_deletes": allow_deletes}, RECONCILE_DAG)


@cli.command()
@click.option("--from", "start", type=MOMENT, required=True, help="Start of the first hour, UTC.")
@click.option("--to", "end", type=MOMENT, required=True, help="End of the last hour, UTC.")
@click.option("--allow-rejected", is_flag=True, help="Publish, however many rows are rejected.")
@click.pass_obj
def backfill(settings: Settings, start: datetime, end: datetime, allow_rejected: bool) -> None:
    """Run each hour of the range as a separate run, one after the other."""
    if start >= end:
        raise StackError(f"FROM ({start}) must be before TO ({end}).")
    params = {"allow_rejected": True} if allow_rejected else {}
    pipeline.backfill(settings, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), params)


@cli.command()
@click.pass_obj
def maintain(settings: Settings) -> None:
    """Compact the lake's tables, remove old snapshots and stray files; delete old metadata of Airflow."""
    pipeline.trigger(settings, {}, MAINTENANCE_DAG)
    clean_airflow(settings, process_environment(settings))


@cli.command()
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="Number of rows.")
@click.pass_obj
def publications(settings: Settings, last: int) -> None:
    """Show the publications: the batches that `as-of` and `rollback` take."""
    pipeline.show_publications(settings, last)


@cli.command("as-of")
@click.argument("batch", type=int)
@click.argument("table")
@click.option("--rows", type=click.IntRange(1), default=20, show_default=True, help="Number of rows.")
@click.pass_obj
def as_of(settings: Settings, batch: int, table: str, rows: int) -> None:
    """Show the gold TABLE as publication BATCH has it; changes nothing."""
    pipeline.show_as_of(settings, batch, table, rows)


@cli.command()
@click.argument("batch", type=int)
@click.pass_obj
def rollback(settings: Settings, batch: int) -> None:
    """Set PostgreSQL's gold back to publication BATCH, and hold publishing until `resume`."""
    pipeline.trigger(settings, {"to_batch": batch}, ROLLBACK_DAG)


@cli.command()
@click.pass_obj
def resume(settings: Settings) -> None:
    """Resume publishing after a rollback; the next run publishes everything since."""
    pipeline.trigger(settings, {}, ROLLBACK_DAG)


@cli.command()
@click.argument("table", metavar="SCHEMA.NAME")
@click.option(
    "--key",
    default="",
    help="Columns that identify a row, separated by commas; default: the table's own key.",
)
@click.option("--cursor", help="Column that says when a row last changed; default: one with a usual name.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.pass_obj
def table(settings: Settings, table: str, key: str, cursor: str | None, force: bool) -> None:
    """Write the models of a source table, bronze and silver, from the source's catalog."""
    names = [name.strip() for name in key.split(",") if name.strip()]
    check_source(settings)
    write_table(settings, table, names, cursor, force)


@cli.command()
@click.argument("schema")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.pass_obj
def tables(settings: Settings, schema: str, force: bool) -> None:
    """Write the models of all tables of a SCHEMA of the source."""
    check_source(settings)
    write_tables(settings, schema, force)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--schema", help="Write the models of all tables of this schema of the source, too.")
@click.pass_obj
def new(settings: Settings, folder: Path, schema: str | None) -> None:
    """Make a project without the sample in FOLDER, which must be new or empty."""
    if schema:
        # Check the source first: after a failure the folder would not be empty, and the next try would be refused.
        check_source(settings)
        check_schema(settings, schema)
    make_project(folder)
    if schema:
        models = folder.resolve() / DBT.relative_to(ROOT) / "models"
        write_tables(settings, schema, overwrite=False, models=models)
    else:
        console.print(f"Next: cd {folder}, then STACK_SOURCE_URL=… make tables SCHEMA=…", markup=False)


def dbt(settings: Settings, *arguments: str | Path) -> bool:
    """Run dbt on the project, print its output, and return whether it succeeded."""
    command = ["dbt", "--no-version-check", *arguments, "--project-dir", DBT, "--profiles-dir", DBT]
    return subprocess.run(command, env=process_environment(settings), cwd=ROOT, check=False).returncode == 0


@cli.command()
@click.pass_obj
def docs(settings: Settings) -> None:
    """Build dbt's documentation, with the lineage from source to gold, as one page."""
    folder = settings.home / "docs"
    if not dbt(settings, "docs", "generate", "--static", "--target-path", folder):
        raise StackError("dbt could not build the documentation; the reason is in the lines above.")
    console.print(f"Open in a browser: {folder / 'static_index.html'}")


@cli.command("dbt-test")
@click.pass_obj
def dbt_test(settings: Settings) -> None:
    """Run every dbt test over whole tables, on the engine that builds them."""
    marts = MODELS[Group.SILVER_MARTS]
    failed = [
        target
        for target, selection in (("trino", ["--exclude", marts]), ("spark", ["--select", marts]))
        if not dbt(
            settings, "test", "--target", target, "--target-path", settings.home / "dbt" / target, *selection
        )
    ]
    if failed:
        raise StackError(f"dbt tests failed on {' and '.join(failed)}; they are named in the lines above.")


def main() -> None:
    """Run the command line; print a StackError or a wrong setting as a message, with exit status 1."""
    clean_environment()
    for stream in (sys.stdout, sys.stderr):
        # Show a placeholder for a letter that the terminal's encoding lacks.
        cast("TextIOWrapper", stream).reconfigure(errors="replace")
    try:
        cli(prog_name="python -m stack")
    except (StackError, ValidationError) as error:
        Console(stderr=True, highlight=False, markup=False).print(f"Error: {error}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
