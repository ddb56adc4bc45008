import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from medallion.settings import Settings as PipelineSettings
from stack.errors import StackError
from stack.settings import ROOT, Settings, read_settings


def test_no_two_services_share_a_port() -> None:
    ports = list(Settings().ports.values())
    assert len(ports) == 5
    assert len(set(ports)) == 5


def test_a_variable_overrides_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_TRINO_PORT", "28081")
    assert Settings().trino_port == 28081


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRINO_PORT", "x"),
        ("TRINO_PORT", "70000"),
        ("TRINO_MEMORY", "lots"),
        ("SHOP", "maybe"),
        ("SPARK_CORES", "0"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"STACK_{name}", value)
    with pytest.raises(StackError, match=f"^STACK_{name}: .*") as failure:
        read_settings()
    assert "pydantic" not in str(failure.value) and f": {value}" not in str(failure.value)


def test_an_unset_make_variable_leaves_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_SHOP", "")
    assert Settings().shop == "on"
    (tmp_path / ".env").write_text("STACK_SHOP=off\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    assert Settings().shop == "off"


def test_what_the_stack_makes_is_ignored_by_git() -> None:
    assert Settings().home == Path(ROOT / ".stack")
    assert "/.stack/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(("prefix", "settings"), [("MEDALLION", PipelineSettings), ("STACK", Settings)])
def test_reference_lists_every_setting_with_its_default(
    prefix: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = (ROOT / "docs" / "reference" / "settings.md").read_text()
    [table] = re.findall(rf"`{prefix}_<NAME>`[^|]*((?:\|.*\n)+)", reference)
    listed = {
        name.lower(): default
        for names, defaults in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE)
        for name, default in zip(
            names.replace("`", "").split(", "), defaults.replace("`", "").split(", "), strict=True
        )
    }
    assert listed.keys() == settings.model_fields.keys()
    # Leave out settings without a default, which the page describes in words, and folders, which depend on the user.
    spoken = {name for name, field in settings.model_fields.items() if field.default is None} | {
        "home",
        "cache",
    }
    default_settings = settings()
    for name in listed.keys() - spoken:
        monkeypatch.setenv(f"{prefix}_{name}", listed[name])
    assert settings() == default_settings
