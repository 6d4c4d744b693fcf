"""What `kpi compile` says of models that `kpi explain` could not follow: each table of figures is followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.cache import caching
from kpi.provenance import outline
from kpi.provenance.path import Catalogue

TOP = "marts.indicators"
COLUMNS = ("figure_id", "service", "report_year", "numerator", "denominator", "value")
# Years that are kept stand instead of those that are derived: an outer join that finds nothing says so.
INDICATORS = """
with figures as (
    select * from marts.loans where not is_comparison
    union all
    select * from marts.visits where not is_comparison
)
select figures.* from figures
left join marts.kept as kept on figures.figure_id = kept.figure_id and figures.report_year = kept.report_year
where kept.figure_id is null
"""


def figures(name: str, end: str = "") -> str:
    return (
        f"select '{name}' as figure_id, 'all' as service, year(at) as report_year, false as is_comparison,"
        f" count(*) as numerator, null as denominator, count(*) as value from raw.{name} group by all{end}"
    )


def wrong(loans: str, visits: str) -> list[str]:
    """The models that are in the way of an explanation."""
    models = {TOP: INDICATORS, "marts.loans": loans, "marts.visits": visits}
    columns = {TOP: COLUMNS, **dict.fromkeys(("marts.loans", "marts.visits"), (*COLUMNS, "is_comparison"))}
    columns |= dict.fromkeys(("raw.loans", "raw.visits"), ("at",)) | {"marts.kept": ("figure_id", "report_year")}
    catalogue = Catalogue(models, {"raw.loans": "loans", "raw.visits": "visits"}, columns)
    return [name for name, _ in outline._wrong(catalogue, TOP, ["marts.loans", "marts.visits"])]


def test_each_table_of_figures_is_followed() -> None:
    assert wrong(figures("loans"), figures("visits")) == []
    assert wrong(figures("loans"), figures("visits", " limit 5")) == ["marts.visits"]
    assert wrong(figures("loans", " limit 5"), figures("visits", " limit 5")) == ["marts.loans", "marts.visits"]


def test_only_what_changed_is_followed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[set[str]] = []
    in_the_way = outline._in_the_way

    def noted(catalogue: Catalogue, top: str) -> list[tuple[str, str, str]]:
        found = list(in_the_way(catalogue, top))
        followed.append(catalogue.models_read - {top})
        return found

    monkeypatch.setattr(outline, "_in_the_way", noted)
    with caching(tmp_path / "cache"):
        assert wrong(figures("loans"), figures("visits")) == []
    assert followed == [{"marts.loans"}, {"marts.visits"}]
    with caching(tmp_path / "cache"):
        assert wrong(figures("loans"), figures("visits", " limit 5")) == ["marts.visits"]
    assert followed[2:] == [{"marts.visits"}]
