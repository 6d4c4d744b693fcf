"""Changes after a release, of eight kinds: which figures moved, by how much and why; and quiet nights.

Forty changes and a hundred nights with KPI_ALL_SEEDS=1.

What the figures come to is computed here in plain Python from the deliveries.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kpi.errors import CheckFailed
from kpi.ingest import release_files
from kpi.reader.figures import open_build
from released import (
    BRANCHES,
    LOANS,
    TODAY,
    VISITS,
    commit,
    copy_library,
    deliver,
    edit,
    kpi,
    release_2025,
    run,
)
from sampled import sampled

MANUAL = "report_year,branch,figure,value\n"
# The library with a macro in a model, a seed in another, and figures that are entered by hand.
CHANGES = {
    "macros/days.sql": "{% macro lent(days) -%}\n{{ days }} + 0\n{%- endmacro %}\n",
    "models/staging/stg_loans.sql": """\
select
    loan_id,
    branch,
    year(lent_on) as report_year,
    month(lent_on) as report_month,
    {{ lent("date_diff('day', lent_on, returned_on)") }} as days_lent
from {{ source('raw', 'loans') }}
where not _is_superseded
""",
    "seeds/door_factors.csv": "branch,factor\nmain,1\nriverside,1\n",
    "models/reports/visits_figures.sql": """\
select
    'visits' as figure_id,
    visits.branch as service,
    visits.report_year,
    sum(visits.visitors * factors.factor) as numerator,
    cast(null as bigint) as denominator,
    count(*) as event_count
from {{ ref('stg_visits') }} as visits
inner join {{ ref('door_factors') }} as factors on visits.branch = factors.branch
group by visits.branch, visits.report_year
""",
    "models/staging/counts.yml": """\
sources:
  - name: raw
    tables:
      - name: counts
        config: {meta: {feed: {key: [report_year, branch, figure], expected_every: once}}}
        columns:
          - {name: report_year, data_type: bigint, config: {meta: {required: true}}}
          - {name: branch, data_type: varchar, config: {meta: {required: true}}}
          - {name: figure, data_type: varchar, config: {meta: {required: true}}}
          - {name: value, data_type: bigint, config: {meta: {required: true}}}
""",
    "models/reports/counts_figures.sql": """\
select
    figure as figure_id,
    branch as service,
    report_year,
    value as numerator,
    cast(null as bigint) as denominator,
    1 as event_count
from {{ source('raw', 'counts') }}
where not _is_superseded
""",
}
Key = tuple[str, str]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library released; tests copy it."""
    root = copy_library(tmp_path_factory.mktemp("changes") / "library", CHANGES)
    edit(root / "dbt_project.yml", "figure_families: [loans, visits]", "figure_families: [loans, visits, counts]")
    coverage = root / "models/reports/feed_coverage.sql"
    coverage.write_text(coverage.read_text().replace("var('figure_families')", "['loans', 'visits']"))
    deliver(root, "counts/by_hand.csv", f"{MANUAL}2025,main,volunteers,7\n2025,riverside,volunteers,9\n")
    commit(root)
    run(root)
    release_2025(root)
    run(root)
    return root


def figures(root: Path, factor: dict[str, int], extra_days: int = 0) -> dict[Key, Fraction]:
    """The figures of 2025 by id and branch: the last file by name counts for a key."""
    rows: dict[str, dict[tuple[str, ...], dict[str, str]]] = {"loans": {}, "visits": {}, "counts": {}}
    keys = {"loans": ("loan_id",), "visits": ("branch", "counted_on"), "counts": ("report_year", "branch", "figure")}
    for feed, found in rows.items():
        for file in sorted((root / "warehouse/raw" / feed).glob("*.csv")):
            with file.open(encoding="utf-8", newline="") as stream:
                found.update({tuple(row[name] for name in keys[feed]): row for row in csv.DictReader(stream)})
    told: dict[Key, Fraction] = {}
    for branch in BRANCHES:
        loans = [row for row in rows["loans"].values() if row["branch"] == branch and row["lent_on"][:4] == "2025"]
        days = [
            (date.fromisoformat(row["returned_on"]) - date.fromisoformat(row["lent_on"])).days + extra_days
            for row in loans
            if row["returned_on"]
        ]
        visits = [row for (of, day), row in rows["visits"].items() if of == branch and day[:4] == "2025"]
        told["loans", branch] = Fraction(len(loans))
        told["mean_loan_days", branch] = Fraction(sum(days), len(days))
        told["visits", branch] = Fraction(sum(int(row["visitors"]) for row in visits) * factor[branch])
    for (year, branch, figure), row in rows["counts"].items():
        if year == "2025":
            told[figure, branch] = Fraction(row["value"])
    return told


class Change:
    """A change of a kind, by chance, with what is said of its cause and what it does besides to deliveries."""

    def __init__(self, root: Path, chosen: random.Random) -> None:
        self.root, self.chosen = root, chosen
        self.branch, self.month = chosen.choice(BRANCHES), chosen.randint(1, 12)
        self.factor, self.extra_days = dict.fromkeys(BRANCHES, 1), 0
        self.cause = ""
        self.old_engine: dict[Key, Fraction] = {}

    def late(self) -> None:
        """A delivery that came late, sorted before or after the others."""
        name = f"loans/{self.chosen.choice('az')}{self.month}.csv"
        rows = "".join(f"l{n},{self.branch},2025-{self.month:02}-03,\n" for n in range(self.chosen.randint(1, 4)))
        deliver(self.root, name, LOANS + rows)
        self.cause = f"late_delivery {name}"

    def corrected(self) -> None:
        """A file with another content, or one that replaces rows of another."""
        path = self.root / "warehouse/raw/visits/2025.csv"
        line = next(
            line for line in path.read_text().splitlines() if line.startswith(f"{self.branch},2025-{self.month:02}")
        )
        new = f"{line.rpartition(',')[0]},{self.chosen.randint(101, 150)}"
        if self.chosen.random() < 0.5:
            edit(path, line, new)
            self.cause = "corrected_delivery visits/2025.csv"
        else:
            deliver(self.root, "visits/2025_new.csv", f"{VISITS}{new}\n")
            self.cause = "corrected_delivery visits/2025_new.csv"

    def deleted(self) -> None:
        """The file of a feed that is gone; the checks of its year fail besides."""
        (self.root / "warehouse/raw/counts/by_hand.csv").rename(self.root / "warehouse/by_hand.csv")
        self.cause = "removed_delivery counts/by_hand.csv"

    def seed(self) -> None:
        """A definition in a seed."""
        self.factor[self.branch] = self.chosen.randint(2, 3)
        edit(self.root / "seeds/door_factors.csv", f"{self.branch},1", f"{self.branch},{self.factor[self.branch]}")
        self.cause = "definition seed door_factors"

    def macro(self) -> None:
        """A macro that a model uses, whose own text stands."""
        self.extra_days = self.chosen.randint(1, 5)
        edit(self.root / "macros/days.sql", "+ 0", f"+ {self.extra_days}")
        self.cause = "code macro lent"

    def model(self) -> None:
        """A model itself."""
        self.extra_days = self.chosen.randint(1, 5)
        edit(self.root / "models/staging/stg_loans.sql", " as days_lent", f" + {self.extra_days} as days_lent")
        self.cause = "code model stg_loans"

    def engine(self) -> None:
        """Another DuckDB, by which a figure had come out a little otherwise."""
        folder = release_files.releases_folder(self.root) / "2025-1"
        said = (folder / "release.yml").read_text()
        version = str(release_files.fields_of(folder)["duckdb_version"])
        (folder / "release.yml").write_text(said.replace(f'duckdb_version: "{version}"', 'duckdb_version: "1.0.0"'))
        value = f"{14.5 + self.chosen.randint(1, 9) / 1000}"
        line = f"mean_loan_days,{self.branch},2025,calendar_year,348.0,24.0,"
        edit(folder / "figures.csv", f"{line}14.5,", f"{line}{value},")
        release_files.write_sums(folder)
        self.old_engine = {("mean_loan_days", self.branch): Fraction(value)}
        self.cause = f"engine duckdb 1.0.0 -> {version}"

    def manual(self) -> None:
        """A figure entered by hand, entered again."""
        path, old = self.root / "warehouse/raw/counts/by_hand.csv", {"main": 7, "riverside": 9}[self.branch]
        edit(path, f"{self.branch},volunteers,{old}", f"{self.branch},volunteers,{old + self.month}")
        self.cause = "corrected_delivery counts/by_hand.csv"


KINDS: tuple[Callable[[Change], None], ...] = (
    *(Change.late, Change.corrected, Change.deleted, Change.seed),
    *(Change.macro, Change.model, Change.engine, Change.manual),
)


@pytest.mark.parametrize("seed", range(sampled(1, 5)))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_cause_and_size_of_a_change_are_right(
    released: Path, tmp_path: Path, kind: Callable[[Change], None], seed: int
) -> None:
    root = shutil.copytree(released, tmp_path / "library", symlinks=True)
    change = Change(root, random.Random(f"{kind.__name__} {seed}"))
    before = figures(root, change.factor)
    kind(change)
    after = figures(root, change.factor, change.extra_days)
    before |= change.old_engine
    with pytest.raises(CheckFailed):
        run(root)
    result = kpi(root, "revisions", "--json")
    found: dict[Key, dict[str, Any]] = {(one["figure_id"], one["service"]): one for one in json.loads(result.output)}
    moved = {key for key in before if after.get(key) != before[key]}
    assert set(found) == moved
    for key, one in found.items():
        assert [f"{cause['kind']} {cause['subject']}" for cause in one["causes"]] == [change.cause]
        expected = after.get(key)
        assert one["value"] == (None if expected is None else float(expected))
        assert one["released_value"] == float(before[key])
        size = one["causes"][0]["change"]
        if expected is None:
            assert size is None
        else:
            assert size == pytest.approx(float(expected - before[key]), abs=1e-9)


def test_quiet_nights_raise_no_alarm(released: Path, tmp_path: Path) -> None:
    """Every fourth night a new year's rows come, and each tenth a file is delivered again as it was."""
    root = shutil.copytree(released, tmp_path / "library", symlinks=True)
    with open_build(project_dir=root) as con:
        sql = "select * from raw.released_indicators order by all"
        before = con.execute(sql).fetchall()
    builds = 0
    nights = sampled(16, 100)
    for night in range(nights):
        today = TODAY + timedelta(night)
        if night % 4 == 0:
            deliver(root, f"loans/{today}.csv", f"{LOANS}n{night},main,{today},\n")
            deliver(root, f"visits/{today}.csv", f"{VISITS}main,{today},{night}\nriverside,{today},{night}\n")
        if night % 10 == 0:
            path = root / "warehouse/raw/visits/2025.csv"
            path.write_bytes(path.read_bytes())
        builds += not run(root, today).nothing_to_do
    assert builds >= nights // 4
    with open_build(project_dir=root) as con:
        assert con.execute(sql).fetchall() == before
        assert con.execute("select count(*) from releases.differences_from_print").fetchall() == [(0,)]
        assert con.execute("select count(*) from marts.revision_causes").fetchall() == [(0,)]
