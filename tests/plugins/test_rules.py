"""Windows, settings, types and errors by themselves."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import RetryAction
from hypothesis import given
from hypothesis import strategies as st

from medallion.defaults import FailFast
from medallion.engines import ANY_TAG, UNFINISHED
from medallion.gold import postgres_type
from medallion.settings import Settings, as_utc, settings
from medallion.window import RunKind, Window, WindowError, asked_window, iso, resolve_window

NOW = datetime(2018, 5, 1, 12, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(
    st.sampled_from(RunKind),
    moments,
    st.timedeltas(timedelta(seconds=1), timedelta(days=900)),
    moments,
    moments,
)
def test_no_window_is_empty_or_ends_after_the_clock_of_the_source(
    kind: RunKind, start: datetime, length: timedelta, covered: datetime, now: datetime
) -> None:
    given_window = Window(start, start + length)
    window = resolve_window(kind, given_window, given_window, covered, now)
    if window:
        assert kind in (RunKind.RANGED, RunKind.BACKFILL, RunKind.SCHEDULED, RunKind.MANUAL)
        assert window.start < window.end <= now


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL])
def test_history_is_extracted_again_as_asked(kind: RunKind) -> None:
    asked = Window(NOW - 9 * HOUR, NOW - 8 * HOUR)
    assert resolve_window(kind, asked, asked, NOW - HOUR, NOW) == asked


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL])
def test_future_has_no_window(kind: RunKind) -> None:
    future = Window(NOW, NOW + HOUR)
    assert resolve_window(kind, future, future, NOW - HOUR, NOW) is None


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL, RunKind.SCHEDULED])
def test_run_without_what_its_window_is_made_of_is_refused(kind: RunKind) -> None:
    with pytest.raises(WindowError, match=f"a {kind.value} run needs a data interval, and has none"):
        resolve_window(kind, None, None, NOW - HOUR, NOW)


def test_reversed_range_is_told_in_utc() -> None:
    with pytest.raises(
        WindowError, match=r"2018-01-01 03:00:00 is not before window_end 2018-01-01 02:00:00 \(UTC\)"
    ):
        asked_window("2018-01-01T00:00:00-03:00", "2018-01-01T02:00:00Z")


def test_ends_that_are_the_same_moment_in_two_zones_are_refused() -> None:
    with pytest.raises(WindowError, match="is not before"):
        asked_window("2018-01-01T00:00:00-03:00", "2018-01-01T03:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-03:00"])
def test_time_outside_of_the_calendar_is_refused_by_name(text: str) -> None:
    with pytest.raises(WindowError, match="window_start"):
        asked_window(text, "2018-01-01")


def test_early_year_is_written_with_four_digits() -> None:
    assert iso(datetime(900, 1, 2, tzinfo=UTC)) == "0900-01-02 00:00:00.000000"


@given(moments, st.integers(-14 * 4, 14 * 4))
def test_offset_changes_the_way_a_moment_is_written_and_not_the_moment(
    moment: datetime, quarters: int
) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=15 * quarters)))
    assert as_utc(there) == moment and as_utc(there).utcoffset() == timedelta()
    asked = asked_window(there.isoformat(), (there + HOUR).isoformat())
    assert asked == Window(moment, moment + HOUR)


def test_defaults_are_those_of_the_design() -> None:
    found = Settings()
    assert (found.schedule, found.lookback, found.history_start) == ("0 * * * *", timedelta(minutes=15), None)
    assert (found.max_rejected_share, found.max_rejected_from) == (0.05, 100)


def test_history_start_is_a_moment_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = datetime(2017, 1, 1, 3, tzinfo=UTC)
    for text in ("2017-01-01T03:00:00", "2017-01-01T00:00:00-03:00"):
        monkeypatch.setenv("MEDALLION_HISTORY_START", text)
        found = Settings().history_start
        assert found == expected and found is not None and found.utcoffset() == timedelta()


def test_wrong_setting_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_CHUNK_ROWS", "many")
    with pytest.raises(ValueError, match="MEDALLION_CHUNK_ROWS: Input should be a valid integer"):
        settings()


@pytest.mark.parametrize(
    ("trino", "postgres"),
    [
        ("varchar", "text"),
        ("bigint", "bigint"),
        ("date", "date"),
        ("timestamp(6)", "timestamp without time zone"),
        ("decimal(18, 4)", "numeric(18,4)"),
    ],
)
def test_types_of_contracts(trino: str, postgres: str) -> None:
    assert postgres_type(trino) == postgres


@pytest.mark.parametrize("name", ["timestamp(6) with time zone", "integer", "array(varchar)"])
def test_type_that_no_contract_uses_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        postgres_type(name)


def action(message: str) -> Any:
    return FailFast().evaluate(RuntimeError(message), 1, 4).action


@pytest.mark.parametrize(
    "message",
    [
        "Got 1 result, configured to fail if != 0",
        "Got 3 results, configured to fail if != 0",
        "TrinoUserError(type=USER_ERROR, name=SYNTAX_ERROR, message=\"line 1:1: mismatched input 'selec'\")",
        "TrinoUserError(type=USER_ERROR, name=TYPE_MISMATCH, message='= is not applicable')",
        "TrinoUserError(type=USER_ERROR, name=FUNCTION_NOT_FOUND, message='sums')",
        "[PARSE_SYNTAX_ERROR] Syntax error at or near 'selec'. SQLSTATE: 42601",
        "This model has an enforced contract that failed. invalid contract",
    ],
)
def test_failed_test_and_bad_sql_end_the_task(message: str) -> None:
    assert action(f"dbt invocation completed with errors: {message}") is RetryAction.FAIL


@pytest.mark.parametrize(
    "message",
    [
        "Got 3 results, configured to warn if != 0",
        "HTTPConnectionPool(host='trino', port=8080): Max retries exceeded (Connection refused)",
        "TrinoQueryError(type=INSUFFICIENT_RESOURCES, name=EXCEEDED_GLOBAL_MEMORY_LIMIT)",
        "TrinoExternalError(type=EXTERNAL, name=ICEBERG_COMMIT_ERROR, message='Failed to commit')",
        "server closed the connection unexpectedly",
        "",
    ],
)
def test_passing_trouble_is_tried_again(message: str) -> None:
    assert action(message) is RetryAction.DEFAULT


def statement_pattern(tag: str) -> str:
    """The pattern that Trino matches statements with, out of the statement that asks it."""
    [pattern] = re.findall(r"regexp_like\(query, '(.*)'\)", UNFINISHED.format(tag=tag))
    return str(pattern)


@pytest.mark.parametrize(
    ("statement", "ours"),
    [
        ("/* medallion medallion_hourly.gold.sales_by_day */\nselect 1", True),
        ("\n  /* medallion medallion_hourly.audit */ create table x as select 1", True),
        ("/* medallion by hand */ select 1", False),
        ("select 1 /* medallion medallion_hourly.audit */", False),
        ("/* finance monthly.report */ select 1", False),
    ],
)
def test_statements_of_our_tasks_are_known_by_their_beginning(statement: str, ours: bool) -> None:
    assert bool(re.search(statement_pattern(ANY_TAG), statement)) is ours


def test_statements_of_one_task_are_not_those_of_another() -> None:
    pattern = statement_pattern("medallion medallion_hourly.gold.sales")
    assert re.search(pattern, "/* medallion medallion_hourly.gold.sales */ select 1")
    assert not re.search(pattern, "/* medallion medallion_hourly.gold.sales_by_day */ select 1")
