"""Run dbt without an engine: record every statement, and answer it from prepared rows."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

from dbt.adapters.base import BaseAdapter
from dbt.adapters.contracts.connection import AdapterResponse, ConnectionState
from dbt.adapters.spark import SparkAdapter
from dbt.adapters.spark.connections import SparkConnectionManager
from dbt.adapters.trino import TrinoAdapter
from dbt.adapters.trino.connections import TrinoConnectionManager
from dbt.cli.main import dbtRunner
from dbt_common.clients.agate_helper import table_from_data

Row = Mapping[str, Any]
# Trino's statement for the columns of a relation.
COLUMN_LISTING = re.compile(r"table_schema = '(.*)'\s+and table_name = '(.*)'")
# Part of the statement of a dbt data test -> the answer of a test that passes.
PASSED = {"as should_error": [{"failures": 0, "should_warn": False, "should_error": False}]}


@dataclass
class Recorder:
    """A dbt project whose statements are recorded instead of executed.

    columns: `schema.table` in lower case -> its columns, name -> type. comments: a column's name -> its comment in all
    of these tables. answers: a part of a statement -> the rows that the statement returns; any other statement returns
    no rows. statements: the recorded statements, without those that list columns.
    """

    project: Path
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    answers: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    comments: Mapping[str, str] = field(default_factory=dict)

    def dbt(self, *arguments: str, run: Row | None = None, target: str = "trino") -> Any:
        """Invoke dbt on the project, with `run` as the run's context; return its result."""
        self.statements.clear()
        options = ["--project-dir", self.project, "--profiles-dir", self.project, "--target", target]
        options += ["--target-path", self.project / "target" / target, "--log-path", self.project / "logs"]
        with ExitStack() as stack:
            if run:
                stack.enter_context(patch.dict(os.environ, {"MEDALLION_RUN": json.dumps(run)}))
            for manager in (SparkConnectionManager, TrinoConnectionManager):
                stack.enter_context(patch.object(manager, "open", open_nothing))
            for adapter in (BaseAdapter, *SparkAdapter.__mro__, *TrinoAdapter.__mro__):
                for name, function in self.replacements().items():
                    if name in vars(adapter):
                        stack.enter_context(patch.object(adapter, name, function))
            return dbtRunner().invoke(["--no-version-check", "--quiet", *map(str, [*arguments, *options])])

    def replacements(self) -> dict[str, Any]:
        """Return replacements for methods of dbt's adapters that need an engine, by name."""

        def execute(_: Any, sql: str, *_arguments: Any, **_options: Any) -> tuple[AdapterResponse, Any]:
            if listing := COLUMN_LISTING.search(sql):
                columns = self.columns.get(".".join(listing.groups()), {})
                rows: Sequence[Row] = [
                    {
                        "entry": json.dumps(
                            {"name": name, "data_type": data_type, "comment": self.comments.get(name)}
                        )
                    }
                    for name, data_type in columns.items()
                ]
            else:
                self.statements.append(sql)
                rows = next((rows for part, rows in (PASSED | dict(self.answers)).items() if part in sql), [])
            names = list(rows[0]) if rows else []
            return AdapterResponse("recorded"), table_from_data([dict(row) for row in rows], names)

        def list_schemas(*_: Any, **__: Any) -> list[str]:
            return []

        def create_schema(*_: Any) -> None:
            pass

        functions = (execute, list_schemas, create_schema)
        for function in functions:
            function._is_available_ = True  # type: ignore[attr-defined]  # dbt's mark of methods that macros may call
        return {function.__name__: function for function in functions}


def open_nothing(connection: Any) -> Any:
    """Mark a connection as open, without an engine."""
    connection.state, connection.handle = ConnectionState.OPEN, MagicMock()
    return connection
