import stat
from pathlib import Path

import pytest

from stack.credentials import FERNET_KEY, PASSWORDS, credentials, write_private


def test_secrets_are_drawn_once_and_readable_only_by_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    drawn = credentials(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(drawn) == {*PASSWORDS, FERNET_KEY}
    assert len(set(drawn.values())) == len(drawn)
    assert credentials(path) == drawn


def test_two_stacks_share_no_secret(tmp_path: Path) -> None:
    one, other = (set(credentials(tmp_path / name).values()) for name in ("one", "other"))
    assert not one & other


def test_a_secret_that_is_missing_is_added_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text("SHOP_PASSWORD=mine\n")
    secrets = credentials(path)
    assert secrets["SHOP_PASSWORD"] == "mine"  # noqa: S105
    assert all(secrets[name] for name in PASSWORDS)


def test_a_private_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_private(path, "new")
    assert path.read_text() == "old"
