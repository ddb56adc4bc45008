"""The share of rejected rows above which a run stops."""

import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion.publish.audit import check_rejected_share
from medallion.settings import settings


def account(latest: int, rejected: int, entity: str = "readings") -> dict[str, object]:
    return {"entity": entity, "latest": latest, "rejected_latest": rejected}


@pytest.mark.parametrize(("latest", "rejected"), [(100, 5), (99, 99), (0, 0), (1000, 50)])
def test_share_within_the_limit_or_of_few_rows_passes(latest: int, rejected: int) -> None:
    check_rejected_share([account(latest, rejected)], allowed=False)


def test_share_above_the_limit_stops_the_run_by_its_figures() -> None:
    with pytest.raises(AirflowFailException, match="readings: 6 of 100 rows broke a rule, more than 5%"):
        check_rejected_share([account(10, 0), account(100, 6)], allowed=False)


def test_removed_table_stops_no_run() -> None:
    check_rejected_share([account(100, 100, entity="invoices")], allowed=False)


def test_share_above_the_limit_may_be_accepted(caplog: pytest.LogCaptureFixture) -> None:
    check_rejected_share([account(100, 6)], allowed=True)
    assert "Accepted because of allow_rejected" in caplog.text


def test_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_MAX_REJECTED_SHARE", "0.5")
    settings.cache_clear()
    check_rejected_share([account(100, 50)], allowed=False)
    with pytest.raises(AirflowFailException):
        check_rejected_share([account(100, 51)], allowed=False)
