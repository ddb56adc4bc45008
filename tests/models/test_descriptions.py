"""Each macro, generic test and materialization has a description, and each macro describes exactly its arguments."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DBT = Path(__file__).parents[2] / "include" / "dbt"
DEFINITION = re.compile(r"\{%-? (macro|test|materialization) (\w+)(?:\((.*?)\))?(.*?)-?%\}")


def definitions(folder: str) -> dict[str, list[str]]:
    """Return the macros, generic tests and materializations of a folder: dbt's name -> a macro's arguments."""
    arguments_of: dict[str, list[str]] = {}
    for kind in (f"macros/{folder}", f"tests/generic/{folder}"):
        for path in (DBT / kind).rglob("*.sql"):
            for word, name, arguments, rest in DEFINITION.findall(path.read_text()):
                if word == "materialization":
                    adapter = re.search(r"adapter='(\w+)'", rest)
                    name = f"materialization_{name}_{adapter[1] if adapter else 'default'}"
                if word == "test":
                    name = f"test_{name}"
                names = [
                    argument.partition("=")[0].strip()
                    for argument in arguments.split(",")
                    if argument.strip()
                ]
                arguments_of[name] = names if word == "macro" else []
    return arguments_of


@pytest.mark.parametrize("folder", sorted(path.name for path in (DBT / "macros").iterdir()))
def test_macros_are_described_as_they_are_defined(folder: str) -> None:
    described: list[dict[str, Any]] = yaml.safe_load((DBT / "macros" / folder / "_macros.yml").read_text())[
        "macros"
    ]
    arguments = {
        macro["name"]: [argument["name"] for argument in macro.get("arguments", [])] for macro in described
    }
    assert arguments == definitions(folder)
    for macro in described:
        assert macro["description"].strip()
        assert all(argument["description"] and argument["type"] for argument in macro.get("arguments", [])), (
            macro["name"]
        )
