"""Find out which rules rejected a run's rows, and which values of coded columns they had."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medallion.names import QUARANTINE, SILVER, lake_table
from medallion.project.declarations import declarations
from medallion.store.findings import Finding, FindingKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pyiceberg.catalog import Catalog

    from medallion.run.state import RunState

MOST_VALUES = 5  # values of a column that are named
MOST_ROWS = 100_000  # rows of a rule whose values are counted
LONGEST_VALUE = 60


@dataclass(frozen=True)
class BrokenRule:
    """The rows that a rule has rejected since the last publication.

    column: the coded column whose allowed values the rule lists; None for other rules. values: the other values that
    the column had, with their number of rows, the most frequent first. It is empty for other rules, because values of
    other columns may be personal data.
    """

    entity: str
    rule: str
    rows: int
    column: str | None
    values: list[tuple[str, int]]

    def __str__(self) -> str:
        listed = ", ".join(f"{value!r} {rows}" for value, rows in self.values[:MOST_VALUES])
        more = ", …" if len(self.values) > MOST_VALUES else ""
        return f"{self.rule} {self.rows}" + (f" ({self.column}: {listed}{more})" if listed else "")


def read_quarantine(
    catalog: Catalog, names: Collection[str], fields: tuple[str, ...], above: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield these fields of the rejected versions of entities that no later version has superseded.

    `above`: versions of this batch and earlier ones are left out. Without the table there are no versions.
    """
    if names and catalog.table_exists(QUARANTINE):
        listed = ", ".join(f"'{name}'" for name in sorted(names))
        condition = f"entity in ({listed}) and superseded = false and _batch > {above}"
        scan = catalog.load_table(QUARANTINE).scan(row_filter=condition, selected_fields=fields)
        # A first load may reject millions of rows, so they are read batch by batch.
        for batch in scan.to_arrow_batch_reader():
            yield from batch.to_pylist()


def broken_rules(catalog: Catalog, run: RunState, names: Collection[str]) -> dict[str, list[BrokenRule]]:
    """Return the rules that rows of entities have broken since the last publication, by entity.

    The rule with most rows comes first. Versions that a later version has superseded do not count.
    """
    coded = {name: declarations()[name].coded_columns() for name in names}
    rows: Counter[tuple[str, str]] = Counter()
    values: dict[tuple[str, str], Counter[str]] = {}
    for version in read_quarantine(catalog, names, ("entity", "rules", "row"), run.published_batch):
        for rule in version["rules"]:
            key = (version["entity"], rule)
            rows[key] += 1
            if rule in coded[version["entity"]] and rows[key] <= MOST_ROWS:
                _, source = coded[version["entity"]][rule]
                value = json.loads(version["row"] or "{}").get(source)
                if value is not None:
                    values.setdefault(key, Counter())[str(value)[:LONGEST_VALUE]] += 1
    broken: dict[str, list[BrokenRule]] = {}
    for (entity, rule), count in rows.most_common():
        column = coded[entity][rule][0] if rule in coded[entity] else None
        named = values.get((entity, rule), Counter()).most_common()
        broken.setdefault(entity, []).append(BrokenRule(entity, rule, count, column, named))
    return broken


def rejected_shares(
    catalog: Catalog, names: Collection[str], total_records: dict[str, int], limit: float, rows_from: int
) -> list[Finding]:
    """Return a finding for each entity in `names` whose share of rejected rows is above `limit` now.

    `total_records`: table of the lake -> its number of rows. `rows_from`: entities with fewer rows are left out.
    """
    counts = Counter(version["entity"] for version in read_quarantine(catalog, names, ("entity",)))
    findings = []
    for name, count in sorted(counts.items()):
        rows = max(count, total_records.get(lake_table(SILVER, declarations()[name].staging_name), 0))
        if rows >= rows_from and count > limit * rows:
            findings.append(
                Finding(
                    FindingKind.REJECTED_SHARE,
                    name,
                    f"{count} of {rows} rows of {name} are in {QUARANTINE} and not in gold, more than {limit:.0%}"
                    " (MEDALLION_MAX_REJECTED_SHARE).",
                )
            )
    return findings


def new_values(broken: dict[str, list[BrokenRule]]) -> list[Finding]:
    """Return a finding for each of the most frequent values of coded columns that their checks do not list."""
    return [
        Finding(
            FindingKind.NEW_VALUE,
            f"{rule.entity}.{rule.column}: {value}",
            f"{rule.entity}.{rule.column} has the value {value!r}, which the check {rule.rule} does not list: {rows}"
            f" rows are in {QUARANTINE} and not in gold. Add the value to the check of"
            f" {declarations()[rule.entity].staging_name}, or fix the source.",
        )
        for rules in broken.values()
        for rule in rules
        for value, rows in rule.values[:MOST_VALUES]
    ]
