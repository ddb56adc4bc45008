"""Building the files that the stack needs."""

from pathlib import Path

import pytest

from stack import build
from stack.errors import StackError


def test_manifest_whose_models_are_refused_is_not_taken_for_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(command: list[str | Path], *_: object) -> None:
        Path(command[-1]).mkdir(parents=True, exist_ok=True)

    def check_models(module: str, _: object) -> None:
        if module == build.CHECKS["spark"]:
            raise StackError("stg_invoices.yml: stg_invoices does not declare issued_at")

    monkeypatch.setattr(build, "DBT", tmp_path)
    monkeypatch.setattr(build, "run", parse)
    monkeypatch.setattr(build, "check_models", check_models)
    for _ in range(2):
        with pytest.raises(StackError, match="does not declare issued_at"):
            build.make_manifests({}, tmp_path)
        stamps = [stamp.parent.name for stamp in tmp_path.rglob(build.STAMP)]
        assert stamps == ["trino"]
