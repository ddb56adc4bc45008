"""`.env.example` has every setting with its default.

`python -m tests.stack.test_env_example` prints the text that the file must have.
"""

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from pydantic_settings import BaseSettings

from medallion.settings import Settings as PipelineSettings
from stack.settings import ROOT, Settings

HEAD = """\
# Settings with their defaults. Copy this file to .env and remove the `#` before a setting that you change.
# The folders STACK_HOME and STACK_CACHE, and MEDALLION_…, are read only from the environment of `make`:
#   set -a; . ./.env; set +a
# A running stack keeps its settings: `make down` first.
"""
SECTIONS: list[tuple[str, str, type[BaseSettings]]] = [
    ("STACK", "The stack that `make` starts", Settings),
    ("MEDALLION", "The pipeline, in every Airflow", PipelineSettings),
]
OF_THE_USER = {"home", "cache"}


def render() -> str:
    """Return the text of the file."""
    lines = [HEAD]
    for prefix, title, settings in SECTIONS:
        lines.append(f"\n# --- {title} ---\n")
        for name, field in settings.model_fields.items():
            assert field.description, f"{prefix}_{name.upper()} has no description"
            default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
            value = "" if default is None or name in OF_THE_USER else text_of(settings, name, default)
            lines.append(f"\n# {field.description}\n# {prefix}_{name.upper()}={value}\n")
    return "".join(lines)


def text_of(settings: type[BaseSettings], name: str, default: object) -> str:
    """Return a default as a shell value."""
    if isinstance(default, Path):
        return str(default.relative_to(ROOT))
    value = json.loads(settings.model_construct(**{name: default}).model_dump_json(include={name}))[name]
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}'" if set(text) & set(" *{") else text


def test_the_example_names_every_setting_with_its_default() -> None:
    assert (ROOT / ".env.example").read_text() == render(), (
        "Update it: PYTHONPATH=plugins .stack/venv/bin/python -m tests.stack.test_env_example > .env.example"
    )


@pytest.mark.parametrize(("prefix", "settings"), [(prefix, settings) for prefix, _, settings in SECTIONS])
def test_the_defaults_in_the_example_change_nothing(
    prefix: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in settings.model_fields:
        monkeypatch.delenv(f"{prefix}_{name.upper()}", raising=False)
    defaults = settings()
    monkeypatch.chdir(ROOT)
    lines = [
        line[2:]
        for line in (ROOT / ".env.example").read_text().splitlines()
        if line.startswith(f"# {prefix}_")
    ]
    assert len(lines) == len(settings.model_fields)
    for name, value in dotenv_values(stream=StringIO("\n".join(lines))).items():
        if value:
            monkeypatch.setenv(name, value)
    assert settings() == defaults


if __name__ == "__main__":
    sys.stdout.write(render())
