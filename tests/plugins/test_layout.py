"""The folders of plugins/medallion, here called rooms: they import only rooms of lower floors.

Names of layers and tasks, and the state tables, are spelled in one room each.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medallion.settings import PROJECT

PACKAGE = PROJECT / "plugins" / "medallion"
MODULES = sorted(PACKAGE.rglob("*.py"))
CALLERS = [path for folder in ("dags", "stack") for path in sorted((PROJECT / folder).rglob("*.py"))]
READERS = [path for folder in ("stack", "bench") for path in sorted((PROJECT / folder).rglob("*.py"))]
STATE_TABLES = PROJECT / "docs" / "reference" / "state-tables.md"
# From the top to the bottom. Rooms of the same floor do not import each other.
FLOORS = (
    {"tasks"},
    {"publish", "maintenance"},
    {"run"},
    {"store"},
    {"engines", "project"},
    {"settings", "names"},
)
SCHEMA = re.compile(r"\baudit\.\w+")
KNOWS_THE_STORE = ("include/sql/control/", "include/dbt/macros/medallion/reconcile.sql")
# Layers, groups and tasks. Words that also mean something else (none, spark, test, end, compact) are left out.
NAME = re.compile(
    r"audit|publish|begin|freshness|measure|expire|choose|restore"
    r"|(bronze|silver|gold|silver_staging|silver_marts|stage|tests)(\.\w.*)?"
)
# DAGs and the prefix of silver staging, in any text.
PART = re.compile(r"\bmedallion_(hourly|reconcile|maintenance|rollback)\b|\bstg_")
WRITE = re.compile(
    r"\b(insert into|update|delete from|merge into|truncate|(alter|drop) table)\s+(\w+\.)?audit\."
)


def room_of(path: Path) -> str:
    """Return the top folder of a module within the package, or the name of a module that is in no folder."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def floor_of(room: str) -> int:
    [floor] = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and room of each import from the package, whether at the top of the module or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative"
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            if name.startswith("medallion."):
                yield node.lineno, name.split(".")[1]


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string, without docstrings and errors."""
    tree = ast.parse(path.read_text())
    ignored = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            ignored |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
            yield node.lineno, node.value


def test_every_room_is_on_a_floor() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} == set().union(*FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down(path: Path) -> None:
    room = room_of(path)
    assert [
        f"{path.name}:{line} imports {other}"
        for line, other in imported_rooms(path)
        if other != room and (other == "relative" or floor_of(other) <= floor_of(room))
    ] == []


def test_only_the_store_names_its_schema_in_sql() -> None:
    assert [
        f"{path.relative_to(PACKAGE)}:{line} {text.strip()}"
        for path in MODULES
        if room_of(path) != "store"
        for line, text in literals(path)
        if SCHEMA.search(text)
    ] == []


def test_only_control_and_reconcile_name_the_schema_of_the_store() -> None:
    files = [path for path in (PROJECT / "include").rglob("*.sql") if "target" not in path.parts]
    naming = {
        str(path.relative_to(PROJECT))
        for path in files
        # A comment may name a table.
        if SCHEMA.search(re.sub(r"\{#.*?#\}|--[^\n]*", "", path.read_text(), flags=re.DOTALL))
    }
    assert {name for name in naming if not name.startswith(KNOWS_THE_STORE)} == set()


def test_launcher_and_bench_read_documented_tables_and_write_none() -> None:
    documented = set(re.findall(r"^## (audit\.\w+)$", STATE_TABLES.read_text(), re.MULTILINE))
    texts = [text for path in READERS for _, text in literals(path)]
    tables = {table for text in texts for table in SCHEMA.findall(text)}
    assert tables and tables <= documented
    assert [text for text in texts if WRITE.search(text)] == []


def test_only_names_spells_layers_groups_tasks_and_dags() -> None:
    """The module settings is left out: it may not import names.py, and its descriptions name DAGs."""
    assert [
        f"{path.relative_to(PROJECT)}:{line} {text}"
        for path in MODULES + CALLERS
        if path.name not in ("names.py", "settings.py")
        for line, text in literals(path)
        if NAME.fullmatch(text) or PART.search(text)
    ] == []
