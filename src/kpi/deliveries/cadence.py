"""When the deliveries of a feed are late: by the cadence of its contract, or dbt's own freshness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kpi.base.errors import ContractError
from kpi.parse.properties import Source

# Days after one month, or one year, after the newest day of a feed: late, and very late.
GRACE: Mapping[str, tuple[int, int]] = {"month": (15, 45), "year": (60, 120)}
SETTINGS = ("late_after_days", "very_late_after_days")
_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}


@dataclass(frozen=True, slots=True)
class Cadence:
    """When the rows of a feed are late. `every` is month, year, once or dbt.

    Counted from the newest day in its rows, whole days: one `every` and `late_after_days`; of dbt's freshness only the
    days, as its `warn_after` and `error_after` say. None is never.
    """

    feed: str
    every: str
    late_after_days: int | None
    very_late_after_days: int | None


def read_cadence(source: Source, every: str) -> Cadence:
    """Read when a feed is late: dbt's own freshness if the source has it, else the contract. Raises ContractError."""
    meta, dbt = source.meta.section("feed"), source.freshness
    if dbt:
        return Cadence(source.name, "dbt", _days(source, dbt.get("warn_after")), _days(source, dbt.get("error_after")))
    days: list[int | None] = []
    for setting, usual in zip(SETTINGS, GRACE.get(every, (None, None)), strict=True):
        given = meta.get(setting, usual)
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 0):
            raise ContractError(f"{meta.where(setting)}: '{setting}' is a whole number of days, not '{given}'.")
        if every == "once" and setting in meta:
            raise ContractError(f"{meta.where(setting)}: a feed that is expected once is never late.")
        days.append(given)
    late, very_late = days
    if late is not None and very_late is not None and very_late < late:
        if "very_late_after_days" in meta:
            told = f"'very_late_after_days' is {very_late}, less than the {late} after which it is late."
            raise ContractError(f"{meta.where('very_late_after_days')}: {told}")
        very_late = late + GRACE[every][1] - GRACE[every][0]
    return Cadence(source.name, every, late, very_late)


def _days(source: Source, given: object) -> int | None:
    """Return dbt's `{count: 36, period: hour}` in whole days, rounded up."""
    if given is None:
        return None
    count, period = (given.get(part) for part in ("count", "period")) if isinstance(given, Mapping) else (None, None)
    if not isinstance(count, int) or str(period) not in _HOURS:
        where = f"{source.properties.file}:{source.properties.line}"
        raise ContractError(f"{where}: freshness takes warn_after and error_after as {{count: 40, period: day}}.")
    return math.ceil(count * _HOURS[str(period)] / 24)
