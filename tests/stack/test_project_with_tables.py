"""A project that `make new` created passes its checks after it got tables.

The files of some tables were written by `make tables` from scaffold_schema.sql; the others are the fixture project's.
"""

import shutil
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from pydantic import SecretStr

from stack.errors import StackError
from stack.scaffold import tables
from stack.settings import Settings
from support.dbt_project import FIXTURE_MODELS
from support.postgres import Server
from support.project_copy import make, new_project, run
from tests.stack.conftest import erp_url

SCHEMA = Path(__file__).with_name("scaffold_schema.sql")


@pytest.fixture
def project(tmp_path: Path, settings: Settings, erp: Server) -> Path:
    """Create a project with the tables of the schemas `billing` and `crm` and of the fixture project."""
    folder = new_project(tmp_path / "my-etl")
    shutil.copytree(FIXTURE_MODELS, folder / "include" / "dbt" / "models", dirs_exist_ok=True)
    with closing(psycopg2.connect(erp.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("create database typed")
    with closing(psycopg2.connect(erp.url(database="typed"))) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA.read_text())
        connection.commit()
    source = settings.model_copy(update={"source_url": SecretStr(erp_url(erp, database="typed"))})
    models = folder / "include" / "dbt" / "models"
    tables.write_tables(source, "billing", overwrite=False, models=models)
    with pytest.raises(StackError, match="4 of 7 tables were not done"):
        tables.write_tables(source, "crm", overwrite=False, models=models)
    run(folder, sys.executable, "-m", "stack", "manifest")
    return folder


def test_project_passes_its_checks(project: Path) -> None:
    run(project, "env", "PYTHONPATH=plugins", sys.executable, "-m", "medallion.project.declarations")
    run(project, sys.executable, "-m", "sqlfluff", "lint", "include")
    make(project, "test-dags")
