from pathlib import Path

import pytest
from pydantic import ValidationError

from stack.settings import ROOT, Settings


def test_no_two_services_share_a_port() -> None:
    ports = list(Settings().ports.values())
    assert len(ports) == 6
    assert len(set(ports)) == 6


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
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_an_unset_make_variable_leaves_the_shop_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_SHOP", "")
    assert Settings().shop == "on"


def test_what_the_stack_makes_is_ignored_by_git() -> None:
    assert Settings().home == Path(ROOT / ".stack")
    assert "/.stack/" in (ROOT / ".gitignore").read_text().splitlines()
