"""The example files in the guide docs/how-to/add-a-table.md: dbt parses them, and their declaration is valid."""

import json
import re
from pathlib import Path

from medallion.project.declarations import declarations
from stack.settings import ROOT
from support.dbt_project import FIXTURE_MODELS, copy_project, parse

from ..conftest import Models

GUIDE = ROOT / "docs" / "how-to" / "add-a-table.md"
TABLE_FILES = (
    "bronze/invoices.sql", "bronze/invoices.yml", "silver/staging/stg_invoices.sql", "silver/staging/stg_invoices.yml"
)  # fmt: skip


def guide_files() -> dict[str, str]:
    """Return the files of the guide: path to text."""
    blocks = re.findall(
        r'^```\w+ title="include/dbt/([^"]+)"\n(.*?)^```', GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return dict(blocks)


def test_added_table_is_drawn_from_source_to_silver(tmp_path: Path, declare: Models) -> None:
    """Add the guide's table to the fixture project."""
    project = tmp_path / "project"
    copy_project(project, FIXTURE_MODELS)
    files = guide_files()
    assert set(files) == {f"models/{name}" for name in TABLE_FILES}
    for path, text in files.items():
        (project / path).write_text(text)
    parse(project, "spark")
    manifest = json.loads((project / "target" / "spark" / "manifest.json").read_text())
    parents = manifest["parent_map"]
    assert parents["model.medallion.stg_invoices"] == ["model.medallion.invoices"]
    [source] = parents["model.medallion.invoices"]
    assert re.fullmatch(r"source\.medallion\.\w+\.invoices", source)
    declare(manifest, "spark")
    assert {*declarations()} == {"devices", "invoices", "readings"}
