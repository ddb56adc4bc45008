"""Render the four files of a table, read which models a project has, and write all files or none."""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from medallion.names import staging_table
from stack.errors import StackError
from stack.scaffold.checks import quote
from stack.scaffold.declaration import Declaration, Rule, SilverColumn
from stack.scaffold.names import plain_name

WIDTH = 100
# YAML does not read these words as text.
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
SOURCE_CALL = re.compile(r"source\(\s*['\"](.+?)['\"]\s*,\s*['\"](.+?)['\"]\s*\)")


def scalar(text: str) -> str:
    """Return a text as YAML in flow style, in quotes if it needs them."""
    is_plain = re.fullmatch(r"[A-Za-z_][\w .`/()<>=-]*", text) and not text.endswith(" ")
    return text if is_plain and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def flow(values: Iterable[str]) -> str:
    """Return a list of texts as YAML in one line."""
    return f"[{', '.join(scalar(value) for value in values)}]"


def mapping(**values: str) -> str:
    """Return a mapping as YAML in one line; the values are YAML already, and empty ones are left out."""
    return f"{{{', '.join(f'{name}: {value}' for name, value in values.items() if value)}}}"


def render_rule(rule: Rule) -> str:
    """Return a check constraint in one line."""
    return mapping(type="check", name=scalar(rule.name), expression=scalar(rule.expression))


def render_column(column: SilverColumn) -> list[str]:
    """Return a column as a line of YAML; if it has advice, a comment line comes before it."""
    constraints = ["{type: not_null}"] if column.not_null else []
    constraints += [render_rule(rule) for rule in column.rules]
    line = mapping(
        name=scalar(column.name),
        data_type=scalar(column.data_type),
        description=scalar(column.description),
        constraints=f"[{', '.join(constraints)}]" if constraints else "",
    )
    advice = [f"      # {' '.join(column.advice.split())}"] if column.advice else []
    return [*advice, f"      - {line}"]


def wrap(names: Iterable[str]) -> str:
    """Return a list of columns in SQL, in indented lines."""
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) + 2 > WIDTH:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else '    '}{name},"
    return "\n".join(lines).removesuffix(",")


def render(declaration: Declaration, name: str) -> dict[str, str]:
    """Return the files of a table, by path within the folder of models; `name` is the bronze model's."""
    relation = declaration.relation
    source = plain_name(relation.namespace) or "source"
    description = scalar(declaration.description)
    table = mapping(
        name=name, identifier="" if relation.name == name else scalar(relation.name), description=description
    )
    cursor = [f"    loaded_at_field: {scalar(declaration.cursor.name)}"] if declaration.cursor else []
    meta = mapping(natural_key=flow(declaration.key), capture=declaration.capture or "")
    bronze = [
        "sources:",
        f"  - name: {source}",
        f"    schema: {scalar(relation.namespace)}",
        *cursor,
        "    tables:",
        f"      - {table}",
        "models:",
        f"  - name: {name}",
        f"    description: {scalar(f'Every row version of `{relation.full_name}` ever captured.')}",
        f"    config: {{meta: {meta}}}",
    ]
    key = mapping(type="primary_key", columns=flow(declaration.key))
    rules = [f"      - {render_rule(rule)}" for rule in declaration.rules]
    staging = staging_table(name)
    silver = [
        "models:",
        f"  - name: {staging}",
        f"    description: {description}",
        *([f"    constraints: [{key}]"] if not rules else ["    constraints:", f"      - {key}", *rules]),
        "    columns:",
        *(line for column in declaration.columns for line in render_column(column)),
    ]
    columns = wrap(quote(column.name) for column in declaration.columns)
    return {
        f"bronze/{name}.yml": "\n".join(bronze) + "\n",
        f"silver/staging/{staging}.yml": "\n".join(silver) + "\n",
        f"silver/staging/{staging}.sql": f"select\n{columns}\nfrom {{{{ ref('{name}') }}}}\n",
        f"bronze/{name}.sql": f"select * from {{{{ source('{source}', '{name}') }}}}\n",
    }


def read_models(models: Path) -> dict[str, tuple[str, str] | None]:
    """Return the project's models, each with the schema and table that it captures, if it captures one."""
    tables: dict[tuple[str, str], tuple[str, str]] = {}
    for path in models.rglob("*.yml"):
        for source in read_yaml(path).get("sources") or []:
            for table in source.get("tables") or []:
                schema = source.get("schema", source["name"])
                tables[source["name"], table["name"]] = (schema, table.get("identifier", table["name"]))
    captures: dict[str, tuple[str, str] | None] = {}
    for path in models.rglob("*.sql"):
        call = SOURCE_CALL.search(path.read_text())
        captures[path.stem] = tables.get((call[1], call[2])) if call else None
    return captures


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's content. Raises StackError if it does not parse."""
    try:
        return yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise StackError(f"{path} does not parse: {error}") from None


def write_files(folder: Path, files: Mapping[str, str], overwrite: bool) -> None:
    """Write all files or none. Raises StackError if one exists and may not be overwritten, or can't be written."""
    existing = [name for name in files if (folder / name).exists()]
    if existing and not overwrite:
        raise StackError(f"{', '.join(existing)} in {folder}: there already; FORCE=1 overwrites")
    written: list[Path] = []
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            complete = {folder / name: Path(partial) / str(number) for number, name in enumerate(files)}
            for path, text in zip(complete.values(), files.values(), strict=True):
                path.write_text(text, encoding="utf-8")
            for path, source in complete.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                if overwrite:
                    source.replace(path)
                else:
                    os.link(source, path)  # fails if another process has just written it
                    written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StackError(f"{folder} can't be written: {error}. Nothing was left there.") from None
