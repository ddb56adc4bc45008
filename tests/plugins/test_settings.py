"""Settings: their defaults, and errors that name the variable."""

from datetime import UTC, datetime, timedelta

import pytest

from medallion.settings import Settings, settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_REJECTED_SHARE", "2"),
        ("LOOKBACK", "a while"),
        ("LOOKBACK", "-PT1M"),
        ("CHUNK_ROWS", "0"),
        ("TASK_TIMEOUT", "PT0S"),
        ("HISTORY_START", "once"),
        ("SCHEDULE", "every hour"),
        ("LAKE_CATALOG", "my lake"),
        ("NOTIFIER_ARGUMENTS", '{"to": '),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MEDALLION_{name}", value)
    with pytest.raises(ValueError, match=f"MEDALLION_{name}"):
        settings()


def test_error_says_what_is_wrong_with_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_CHUNK_ROWS", "many")
    with pytest.raises(ValueError, match="MEDALLION_CHUNK_ROWS: Input should be a valid integer"):
        settings()


def test_defaults_are_those_of_the_reference() -> None:
    defaults = Settings()
    assert (defaults.schedule, defaults.lookback) == ("0 * * * *", timedelta(minutes=15))
    assert defaults.history_start is None
    assert (defaults.max_rejected_share, defaults.max_rejected_from) == (0.05, 100)


def test_history_start_is_a_moment_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = datetime(2017, 1, 1, 3, tzinfo=UTC)
    for text in ("2017-01-01T03:00:00", "2017-01-01T00:00:00-03:00"):
        monkeypatch.setenv("MEDALLION_HISTORY_START", text)
        start = Settings().history_start
        assert start == expected and start is not None and start.utcoffset() == timedelta()
