"""Revisions: what a released figure has come to differ by, why, and who accounted for it.

The model of `kpi_tables: revisions` tells which figures differ. What differs between a release and a build besides
them, by the hashes that both noted, tells why: a delivery that came since, was corrected or is gone, a definition,
code, or the engine. It is a cause of a figure when the figure is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.build_record import BuildRecord, NodeRecord, ancestors
from kpi.errors import ConfigError, Problem, nearest
from kpi.files import checksum
from kpi.ingest import release_files
from kpi.lazy import duckdb
from kpi.presentation import one_line, significant
from kpi.provenance.figure_values import FigureKey
from kpi.provenance.recomputation import Cause as RecomputedCause

if TYPE_CHECKING:
    from kpi.provenance.attribution import Attribution
    from kpi.settings import ReportTables

CauseKind = RecomputedCause | Literal["unknown"]
DELIVERED = ("late_delivery", "corrected_delivery", "removed_delivery")
CAUSES_TABLE = "marts.revision_causes"
Years = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a released figure differs. `subject` is a delivery, a seed, a model, a macro or a version.

    `change` is what it alone does, in the unit of the figure; None where that is not known.
    """

    kind: CauseKind
    subject: str
    change: float | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".strip()


@dataclass(frozen=True, slots=True)
class Revision:
    """A released figure that differs. Values are in its unit; a value is None where it is not told any more.

    `status` is open, or acknowledged with reason, note, by whom and when. `is_planned` is the reason's; None while it
    is open.
    """

    revision_id: str
    release: str
    figure_id: str
    service: str
    report_year: int
    basis: str
    unit: str | None
    released_value: float | None
    value: float | None
    released_printed_value: float | None
    printed_value: float | None
    change: float | None
    status: str
    causes: tuple[Cause, ...] = ()
    reason: str | None = None
    is_planned: bool | None = None
    note: str | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody accounted for it yet."""
        return self.status == "open"

    @property
    def moved(self) -> str:
        """What was told and what is told now: as printed, or unrounded where that is printed alike."""
        pair = (self.released_printed_value, self.printed_value)
        if pair[0] == pair[1]:
            pair = (self.released_value, self.value)
        return " -> ".join("none" if value is None else significant(value, 12) for value in pair)

    def problem(self) -> Problem:
        """Return what keeps a build from readers while the revision is open."""
        causes = "; ".join(map(str, self.causes)) or "cause unknown"
        return Problem(
            "revision.open",
            f"differs from release {self.release}, and nobody accounted for it",
            restricted=f"{self.moved}, released as {self.release}: {causes}. Revision {self.revision_id}",
            subject=f"{self.report_year} {self.figure_id} {self.service}",
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between a release and a build. `node` is where it enters; `years` of a delivery's rows, if known."""

    kind: CauseKind
    subject: str
    node: str = ""
    years: tuple[int, int] | None = None


# The columns of the table of revisions; causes come from elsewhere.
_READ = tuple(one.name for one in fields(Revision) if one.name != "causes")


def has_table(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Tell whether a build has a table or a view of that name."""
    sql = "select 1 from information_schema.tables where table_schema || '.' || table_name = ?"
    return con.execute(sql, [table]).fetchone() is not None


def read_revisions(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> tuple[Revision, ...]:
    """Return the revisions of a build with their causes, by year, figure and service. None where it has no table."""
    if not has_table(con, tables.revisions):
        return ()
    rows = con.execute(
        f"select {', '.join(_READ)} from {tables.revisions} order by report_year, figure_id, service, basis"
    ).fetchall()
    causes: dict[str, list[Cause]] = {}
    if has_table(con, CAUSES_TABLE):
        sql = f"select revision_id, cause, subject, change from {CAUSES_TABLE} order by all"
        for revision, kind, subject, change in con.execute(sql).fetchall():
            causes.setdefault(revision, []).append(Cause(kind, subject, change))
    values: list[dict[str, Any]] = [dict(zip(_READ, row, strict=True)) for row in rows]
    return tuple(Revision(**one, causes=tuple(causes.get(one["revision_id"], ()))) for one in values)


def find_revisions(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, root: Path, record: BuildRecord, years_of: Callable[[], Years]
) -> tuple[Revision, ...]:
    """Return the revisions of a build that is being made, with their causes, which become a table in it.

    `years_of` gives the first and last report year of each delivery, by its path; it is asked only when a figure
    differs.
    """
    if not has_table(con, tables.revisions):
        return ()
    con.execute("create schema if not exists marts")
    con.execute(
        f"create or replace table {CAUSES_TABLE} (revision_id varchar, cause varchar, subject varchar, change double)"
    )
    revisions = read_revisions(con, tables)
    if not revisions:
        return ()
    ancestors, years = Ancestors(con, record, tables), years_of()
    by_release = {
        name: differences(release_files.releases_folder(root) / name, record, years)
        for name in sorted({one.release for one in revisions})
    }
    revisions = tuple(replace(one, causes=ancestors.causes_of(one, by_release[one.release])) for one in revisions)
    rows = [[one.revision_id, cause.kind, cause.subject, cause.change] for one in revisions for cause in one.causes]
    con.executemany(f"insert into {CAUSES_TABLE} values (?, ?, ?, ?)", rows)
    return revisions


def _checksum(node_id: str, node: NodeRecord) -> str:
    """Return a hash of what a node is in itself, as it was noted of a build; of a feed without its deliveries."""
    shape = "" if node_id.startswith("source.") else node.shape
    text = json.dumps([shape, dict(node.settings)], sort_keys=True, ensure_ascii=False)
    return checksum(text)


def node_rows(record: BuildRecord) -> list[tuple[str, str, str]]:
    """Return id, checksum and hash of the file of all that a build was made from: nodes, macros and variables."""
    nodes = record.nodes or {}
    rows = [(name, _checksum(name, node), node.text) for name, node in nodes.items() if not name.startswith("test.")]
    parts = {"macro": record.ingredients.macros, "variable": record.ingredients.variables}
    rows += [(f"{kind}.{name}", text, "") for kind, texts in parts.items() for name, text in texts.items()]
    return sorted(rows)


def differences(folder: Path, record: BuildRecord, years: Years) -> tuple[Difference, ...]:
    """Return what differs between a release and a build, by their hashes: deliveries, then nodes, then the engine."""
    release = release_files.fields_of(folder)
    return (
        *_of_deliveries(release_files.rows_of(folder, "deliveries.csv"), record, years),
        *_of_nodes(
            release_files.rows_of(folder, "nodes.csv"), record, is_same_kpi=release.get("kpi_code") == _code(record)
        ),
        *_of_engine(release, record),
    )


def _code(record: BuildRecord) -> str:
    return record.inputs.code if record.inputs else ""


def _of_deliveries(then: Iterable[Mapping[str, str]], record: BuildRecord, years: Years) -> Iterable[Difference]:
    """What differs between the deliveries of a release and those of a build.

    A new file that supersedes rows of one that was there corrects it. One that was pruned is kept as figures.
    """
    files = {file.path: file for file in record.files or ()}
    released = {f"{row['feed']}/{row['file']}": row for row in then}
    correcting = {
        f"{file.feed}/{name}" for path, file in files.items() if path in released for name in file.superseded_by or ()
    }
    sources = {name.rpartition(".")[2]: name for name in record.nodes or {} if name.startswith("source.")}
    for path in sorted({*files, *released}):
        before, now = released.get(path), files.get(path)
        of_then = _span(before)
        span = years.get(path) or of_then
        if before is None:
            kind: CauseKind = "corrected_delivery" if path in correcting else "late_delivery"
        elif now is None:
            kind = "removed_delivery"
        elif before["content_hash"] != now.content_hash:
            kind = "corrected_delivery"
            span = (min(span[0], of_then[0]), max(span[1], of_then[1])) if span and of_then else span
        else:
            continue
        yield Difference(kind, path, sources.get(path.partition("/")[0], ""), span)


def _span(row: Mapping[str, str] | None) -> tuple[int, int] | None:
    return (int(row["first_year"]), int(row["last_year"])) if row and row["first_year"] and row["last_year"] else None


def _of_nodes(then: Iterable[Mapping[str, str]], record: BuildRecord, is_same_kpi: bool) -> Iterable[Difference]:
    """What differs between seeds, models, contracts, macros and variables.

    A model whose text stands and whose SQL differs has another macro or variable in it, or another kpi reads it.
    """
    released = {row["node"]: (row["checksum"], row["text"]) for row in then}
    now = {name: (total, text) for name, total, text in node_rows(record)}
    parts = [name for name in sorted({*now, *released}) if name.startswith(("macro.", "variable."))]
    moved = ", ".join(name.replace(".", " ", 1) for name in parts if now.get(name) != released.get(name))
    for name, (total, text) in now.items():
        before = released.get(name)
        if name in parts or (before and before[0] == total):
            continue
        short = name.split(".", 2)[-1]
        if name.startswith("seed."):
            yield Difference("definition", f"seed {short}", name)
        elif name.startswith("source."):
            yield Difference("code", f"contract {name.rpartition('.')[2]}", name)
        elif before is None or before[1] != text:
            yield Difference("code", f"model {short}", name)
        elif is_same_kpi or moved:
            yield Difference("code", moved or f"model {short}", name)


def _of_engine(release: Mapping[str, object], record: BuildRecord) -> Iterable[Difference]:
    duckdb_now = record.engine.rpartition(" ")[2]
    if release.get("duckdb_version") != duckdb_now:
        yield Difference("engine", f"duckdb {release.get('duckdb_version')} -> {duckdb_now}")
    if release.get("kpi_code") != _code(record):
        from importlib.metadata import version

        yield Difference("engine", f"kpi {release.get('kpi_version')} -> {version('kpi')}")


class Ancestors:
    """What each figure of a build is made of: the nodes above the tables that its figures are united from."""

    def __init__(self, con: duckdb.DuckDBPyConnection, record: BuildRecord, tables: ReportTables) -> None:
        nodes = record.nodes or {}
        self._nodes, places = nodes, {node.relation: name for name, node in nodes.items()}
        united, catalogue = places.get(tables.indicators, ""), places.get(tables.figures, "")
        self._all = self._above({united} & set(nodes))
        # What only decides how a figure is printed.
        self._printing = self._above([places.get(tables.revisions, "")]) - self._all | {catalogue}
        self._common: frozenset[str] = frozenset({united})
        self._by_figure: dict[str, frozenset[str]] = {}
        for parent in sorted(nodes[united].parents if united else ()):
            figures = self._figures_of(con, parent)
            above = self._above([parent])
            if figures is None:
                self._common |= above
            for figure in figures or ():
                self._by_figure[figure] = self._by_figure.get(figure, frozenset()) | above

    def causes_of(self, revision: Revision, differences_of_release: Sequence[Difference]) -> tuple[Cause, ...]:
        """Return which of the differences a revision comes from; the engine only where nothing else is."""
        if revision.value == revision.released_value:  # it is only printed in another way
            meant = [one for one in differences_of_release if one.node and one.node in self._printing]
        else:
            made_of = self._common | self._by_figure.get(revision.figure_id, self._all)
            meant = _of_year([one for one in differences_of_release if one.node in made_of], revision.report_year)
        meant = meant or [one for one in differences_of_release if one.kind == "engine"]
        causes = tuple(dict.fromkeys(Cause(one.kind, one.subject) for one in meant)) or (Cause("unknown", ""),)
        return (replace(causes[0], change=revision.change),) if len(causes) == 1 else causes

    def _figures_of(self, con: duckdb.DuckDBPyConnection, node: str) -> set[str] | None:
        """The figures of a table that indicators are united from; None of one that holds none by their ids."""
        place = self._nodes[node].relation if node in self._nodes else ""
        if not place or node.startswith(("seed.", "source.")):
            return None
        if not con.execute(f"select 1 from (describe {place}) where column_name = 'figure_id'").fetchall():
            return None
        return {row[0] for row in con.execute(f"select distinct figure_id from {place}").fetchall()}

    def _above(self, start: Collection[str]) -> frozenset[str]:
        return frozenset(ancestors(self._nodes, start))


def _of_year(all_differences: Sequence[Difference], year: int) -> list[Difference]:
    """Those that can move a year: of deliveries those with rows of it, else of the year before, else all."""
    others = [one for one in all_differences if one.kind not in DELIVERED]
    delivered = [one for one in all_differences if one.kind in DELIVERED]
    for wanted in (year, year - 1):
        within = [one for one in delivered if one.years is None or one.years[0] <= wanted <= one.years[1]]
        if within:
            return [*within, *others]
    return others or delivered


def with_sizes(revision: Revision, attribution: Attribution) -> Revision:
    """Return a revision of several causes with what each alone does, by taking its change from the release's build
    apart. Raises KpiError where the figure cannot be built again."""
    key = FigureKey(revision.figure_id, revision.service, revision.report_year, revision.basis)
    kinds = {one.subject.rpartition(" ")[2]: one for one in revision.causes}  # a subject may be named with its kind
    causes = []
    for part in attribution.causes(key).parts:
        subject, amount = ", ".join(part.subjects), None if part.amount is None else float(part.amount)
        cause = kinds.get(subject)
        causes.append(replace(cause, change=amount) if cause else Cause(part.cause, subject, amount))
    return replace(revision, causes=tuple(causes) or revision.causes)


def acknowledge(
    root: Path,
    revisions: Sequence[Revision],
    reasons: Collection[str],
    account: tuple[str, str, str],
    at: datetime,
) -> dict[Path, int]:
    """Write that somebody accounted for revisions, with `account` reason, note and by whom.

    Returns how many by the file they are written into. What was accounted for before stays as it stands there. Raises
    ConfigError for a reason that the project does not have, an empty note, or when nothing is left to account for.
    """
    reason, note, by = account
    if reason not in reasons:
        raise ConfigError(
            f"there is no reason '{reason}'.{nearest(reason, reasons)} They are in seeds/revision_reasons.csv."
        )
    if not note.strip():
        raise ConfigError("--note must say in words what happened: it is read a year from now.")
    by_file: dict[Path, list[Sequence[object]]] = {}
    for one in revisions:
        file = release_files.releases_folder(root) / one.release / release_files.ACKNOWLEDGED
        values = [one.released_value, one.value, one.released_printed_value, one.printed_value]
        key = [one.revision_id, one.figure_id, one.service, one.report_year, one.basis]
        causes = "; ".join(map(str, one.causes))
        words = [causes, reason, " ".join(one_line(note).split()), one_line(by), f"{at:%Y-%m-%d %H:%M:%S}"]
        by_file.setdefault(file, []).append([*key, *values, *words])
    counts = {
        file: release_files.append_new_rows(file, release_files.REVISIONS, rows) for file, rows in by_file.items()
    }
    if not any(counts.values()):
        names = ", ".join(str(file.relative_to(root)) for file in by_file)
        message = "To say something else of them, edit it. To have it in the warehouse: kpi refresh"
        raise ConfigError(f"all of that is accounted for in {names} already. {message}")
    return {file: count for file, count in counts.items() if count}
