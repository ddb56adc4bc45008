"""A run stops if the share of its rejected rows is above the limit."""

from contextlib import nullcontext

import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion.publish.audit import check_rejected_share
from medallion.settings import settings


def account(latest: int, rejected: int, entity: str = "readings", unparsable: int = 0) -> dict[str, object]:
    counts = {"rejected_latest": rejected, "unparsable_latest": unparsable}
    return {"entity": entity, "latest": latest, **counts}


@pytest.mark.parametrize(("latest", "rejected"), [(100, 5), (99, 99), (0, 0), (1000, 50)])
def test_share_within_the_limit_or_of_few_rows_passes(latest: int, rejected: int) -> None:
    check_rejected_share([account(latest, rejected)], {}, {}, allowed=False)


def test_share_above_the_limit_stops_the_run_by_its_figures() -> None:
    with pytest.raises(AirflowFailException, match="readings: 6 of 100 rows broke a rule, more than 5%"):
        check_rejected_share([account(10, 0), account(100, 6)], {}, {}, allowed=False)


def test_values_that_are_lost_stop_the_run_too_and_few_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    check_rejected_share([account(100, 0, unparsable=5)], {}, {}, allowed=False)
    assert "readings: 5 of 100 rows lost a value" in caplog.text
    with pytest.raises(
        AirflowFailException, match=r"100 of 100 rows lost a value .*silver\.stg_readings has null"
    ):
        check_rejected_share([account(100, 0, unparsable=100)], {}, {}, allowed=False)


def test_removed_table_stops_no_run() -> None:
    check_rejected_share([account(100, 100, entity="invoices")], {}, {}, allowed=False)


def test_share_above_the_limit_may_be_accepted(caplog: pytest.LogCaptureFixture) -> None:
    check_rejected_share([account(100, 6)], {}, {}, allowed=True)
    assert "Accepted because of allow_rejected" in caplog.text


def test_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_MAX_REJECTED_SHARE", "0.5")
    settings.cache_clear()
    check_rejected_share([account(100, 50)], {}, {}, allowed=False)
    with pytest.raises(AirflowFailException):
        check_rejected_share([account(100, 51)], {}, {}, allowed=False)


def few_an_hour(
    hours: int, *, rejected: int = 0, accepted: bool = False
) -> dict[str, list[dict[str, object]]]:
    """Return accounts of published hours, newest first: hours of ten rows each, and before them one of 100,000 rows."""
    hour = account(10, rejected) | {"accepted": accepted}
    return {"readings": [hour] * hours + [account(100_000, 1000) | {"accepted": False}]}


@pytest.mark.parametrize(
    ("hours", "rejected", "stops"), [(20, 5, False), (20, 6, True), (0, 5, True), (0, 3, False)]
)
def test_ten_rows_an_hour_are_judged_with_the_hours_before(hours: int, rejected: int, stops: bool) -> None:
    """The last 100 rows count. With 0 hours 90 of them belong to the large account, of which 1% is rejected."""
    with (
        pytest.raises(AirflowFailException, match=rf"{rejected} of 10 .* of the last 100, more than 5%")
        if (stops)
        else nullcontext()
    ):
        check_rejected_share([account(10, rejected)], few_an_hour(hours), {}, allowed=False)


def test_rejected_rows_that_trickle_in_stop_the_run() -> None:
    with pytest.raises(AirflowFailException, match=r"1 of 10 rows broke a rule, 10 of the last 100"):
        check_rejected_share([account(10, 1)], few_an_hour(20, rejected=1), {}, allowed=False)


def test_accepted_rows_and_those_before_a_good_hour_stop_no_run() -> None:
    accepted = few_an_hour(20, rejected=10, accepted=True)
    check_rejected_share([account(10, 1)], accepted, {}, allowed=False)
    check_rejected_share([account(10, 0)], few_an_hour(20, rejected=10), {}, allowed=False)
