"""Data tests run on a candidate or on a published build; those that one scan of their table answers share it.

It is read off the compiled SQL, so a project's own tests count as well as dbt's. What is not recognised runs by itself.

A message goes to screens, logs and mails: what looks like personal data is masked, columns that a contract calls free
text or a pseudonym are left out, and of what only stewards may open nothing is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from kpi.cache import remembered
from kpi.database import columns_of, duckdb, fetch_one, kind_of
from kpi.engine.graph import AUDIT_SCHEMA, Graph, Node
from kpi.engine.runner import Adapter, DuckAdapter
from kpi.errors import BuildError, Place, StatementError
from kpi.ingest.masking import masked, of_error
from kpi.lazy import exp
from kpi.project.properties import TestSpec
from kpi.sql import identifier, relation_name, word

_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
_TABLE = rf"{_NAME}\.{_NAME}"
_NOT_NULL = re.compile(
    rf"select (?:\*|{_NAME}) from (?P<table>{_TABLE})(?: as judged)? where (?P<column>{_NAME}) is null"
)
_RELATED = re.compile(
    rf"with judged as \(select (?P<column>{_NAME}) as from_field"
    rf" from (?:(?P<table>{_TABLE})|\(select \* from (?P<part>{_TABLE}) where (?P<where>.+?)\n\) as \w+)"
    rf" where (?P=column) is not null\),"
    rf"\s+parents as \(select distinct (?P<key>{_NAME}) as to_field from (?P<parent>{_TABLE})\)"
    rf"\s+select from_field from judged left join parents on from_field = to_field where to_field is null",
    re.DOTALL,
)
_UNIQUE = re.compile(
    rf"select (?P<column>{_NAME}) as unique_field, count\(\*\) as n_records from (?P<table>{_TABLE})"
    rf" where (?P=column) is not null group by 1 having count\(\*\) > 1"
)
_VALUE = r"(?:'(?:[^']|'')*'|\d+)"
_ACCEPTED = re.compile(
    rf"select (?P<column>{_NAME}) as value_field, count\(\*\) as n_records from (?P<table>{_TABLE})"
    rf" where (?P<where>(?P=column) not in \({_VALUE}(?:, {_VALUE})*\)) group by 1"
)
# Words that none of what is recognised has: most other tests need not be parsed at all.
_STRANGE = re.compile(
    r"\b(join|with|union|intersect|except|over|limit|offset|order|qualify|sample|exists|any|all|unnest|pivot)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Count:
    """An aggregate over `table` that is zero exactly when a test's own SQL selects no row.

    `is_exact` tells that it also is the number of those rows. Where the expression says `{is_orphan}`, `parent` is the
    SELECT of keys that `column` is looked for in.
    """

    table: str
    expression: str
    is_exact: bool
    parent: str = ""
    column: str = ""


def count_of(test: Node) -> Count | None:
    """Return how a test is answered in a scan of its table; None when it has to run by itself."""
    spec = test.test
    if spec is None or (spec.config.get("fail_calc") or "count(*)") != "count(*)":
        return None
    sql = test.sql.strip()
    found = _NOT_NULL.fullmatch(sql)
    if found:
        return Count(found["table"], f"count(*) - count({found['column']})", True)
    found = _RELATED.fullmatch(sql)
    if found:
        where = f"({found['where']}\n) and " if found["where"] else ""
        column, key = found["column"], found["key"]
        expression = f"count(*) filter (where {where}{column} is not null and {{is_orphan}})"
        parent = f"select distinct {key} from {found['parent']} where {key} is not null"
        return Count(found["table"] or found["part"], expression, True, parent, column)
    if _STRANGE.search(sql):
        return None
    if count := _of_values(sql):
        return count
    (count,) = remembered(lambda: (_read(sql),), "count", sql)
    return count


def _of_values(sql: str) -> Count | None:
    """The count of a generic test of values that are there twice, or that are not among those accepted."""
    found = _UNIQUE.fullmatch(sql) or _ACCEPTED.fullmatch(sql)
    # A condition on a name that the SELECT gives means something else.
    if found is None or found["column"].strip('"').lower() in ("unique_field", "value_field", "n_records"):
        return None
    column, where = found["column"], found.groupdict().get("where")
    expression = f"count(*) filter (where ({where}))" if where else f"count({column}) - count(distinct {column})"
    return Count(found["table"], expression, False)


def scan(table: str, counts: Sequence[Count], has_subqueries: bool = True) -> str:
    """Return the one statement that answers counts of a table, in their order.

    Where an aggregate `has_subqueries`, keys are looked for in them; else the parents are joined, a row to one key.
    """
    parents = {
        parent: f"kpi_parent_{n}" for n, parent in enumerate(dict.fromkeys(c.parent for c in counts if c.parent))
    }
    tables, joins, shown = [f"{name} as ({parent})" for parent, name in parents.items()], "", []
    for n, one in enumerate(counts):
        is_orphan = f"{one.column} not in (from {parents[one.parent]})" if one.parent else ""
        if one.parent and not has_subqueries:
            is_orphan = f"kpi_key_{n} is null"
            joins += f" left join ({one.parent}) as kpi_parent_{n}(kpi_key_{n}) on {one.column} = kpi_key_{n}"
        text = one.expression.replace("{is_orphan}", is_orphan) if one.parent else one.expression
        shown.append(f"{text} as count_{n}")
    ctes = f"with {', '.join(tables)} " if tables and has_subqueries else ""
    return f"{ctes}select {', '.join(shown)} from {table}{joins}"


def by_table(counts: Mapping[str, Count]) -> dict[str, list[str]]:
    """Return the ids of tests that one scan answers, by table."""
    found: dict[str, list[str]] = {}
    for test_id in sorted(counts, key=lambda test_id: (counts[test_id].table, test_id)):
        found.setdefault(counts[test_id].table, []).append(test_id)
    return found


def _read(sql: str) -> Count | None:
    import sqlglot

    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    try:
        tokens = dialect.tokenize(sql)
        tree = dialect.parser().parse(tokens, sql)[0]
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    levels = _levels(tree)
    if not levels or not all(_is_plain(level, number == 0) for number, level in enumerate(levels)):
        return None
    names = {levels[-1].args["from_"].this.name.lower()}
    names |= {level.args["from_"].this.alias_or_name.lower() for level in levels}
    return _count(levels, _conditions(sql, tokens, names)) if _are_own(levels, names) else None


def _are_own(levels: Sequence[Any], names: set[str]) -> bool:
    """Whether conditions and keys use columns of the one table only, by that table's name or none."""
    columns = [column for level in levels for column in _columns(level)]
    # DuckDB lets a condition use a name that the SELECT gives.
    given = {item.alias.lower() for item in levels[0].expressions if item.alias}
    return not any(
        column.args.get("db") or (column.table and column.table.lower() not in names) or column.name.lower() in given
        for column in columns
    )


def _count(levels: Sequence[Any], conditions: Iterable[str]) -> Count | None:
    outer, table = levels[0], levels[-1].args["from_"].this
    place = relation_name(table.db, table.name)
    condition = " and ".join(f"({text})" for text in conditions)
    rows = f"count(*){_only(condition)}"
    if not outer.args.get("group"):
        return Count(place, rows, True)
    keys = _keys(outer)
    if keys is None or not outer.args.get("having"):
        return Count(place, rows, False) if keys else None
    if len(keys) == 1 and condition in (f"({key} is not null)" for key in (keys[0], keys[0][1:-1])):
        return Count(place, f"count({keys[0]}) - count(distinct {keys[0]})", False)
    # Nulls are equal in a key, as they are when grouping. Two keys of one hash only cost the test's own query.
    return Count(place, f"{rows} - count(distinct hash({', '.join(keys)})){_only(condition)}", False)


def _only(condition: str) -> str:
    return f" filter (where {condition})" if condition else ""


def _levels(tree: Any) -> list[Any]:
    """The SELECTs from the outermost to that of the table itself; empty when they are not one in another."""
    levels = []
    while isinstance(tree, exp.Select) and tree.args.get("from_"):
        levels.append(tree)
        source = tree.args["from_"].this
        given = {name for name, value in source.args.items() if value}
        if isinstance(source, exp.Table):
            plain = isinstance(source.this, exp.Identifier) and source.db and given <= {"this", "db", "alias"}
            return levels if plain and _is_bare(source) else []
        if not isinstance(source, exp.Subquery) or not given <= {"this", "alias"} or not _is_bare(source):
            return []
        tree = source.this
    return []


def _is_bare(source: Any) -> bool:
    """Whether its alias, when it has one, renames no columns."""
    alias = source.args.get("alias")
    return alias is None or not alias.args.get("columns")


def _is_plain(level: Any, is_outer: bool) -> bool:
    """Whether a SELECT yields a row for each row that its condition holds for, or groups plain columns."""
    allowed = {"expressions", "from_", "where"} | ({"group", "having"} if is_outer else set())
    if any(value and name not in allowed for name, value in level.args.items()):
        return False
    strange = [exp.Window, exp.Query, exp.UDTF, exp.Explode]
    if not level.args.get("group"):
        strange += [exp.AggFunc, exp.Anonymous]
    for item in level.expressions:
        if isinstance(item, exp.Star):
            if any(value for value in item.args.values()):
                return False
        elif _has(item, *strange) or not (is_outer or isinstance(item, exp.Column)):
            return False
    where = level.args.get("where")
    if level.args.get("having") and not level.args.get("group"):
        return False
    return where is None or not _has(where, exp.Query, exp.AggFunc, exp.Window, exp.Placeholder)


def _has(tree: Any, *kinds: Any) -> bool:
    return next(tree.find_all(*kinds), None) is not None


def _columns(level: Any) -> Iterable[Any]:
    where, group = level.args.get("where"), level.args.get("group")
    for part in (where, group):
        if part is not None:
            yield from part.find_all(exp.Column)


def _keys(outer: Any) -> list[str] | None:
    """The columns a SELECT groups by, when it keeps all groups or those of more than one row; else None."""
    group, having = outer.args["group"], outer.args.get("having")
    if any(value for name, value in group.args.items() if name != "expressions") or not group.expressions:
        return None
    if having is not None and having.this.sql() != "COUNT(*) > 1":
        return None
    keys = []
    for item in group.expressions:
        by_place = isinstance(item, exp.Literal) and item.is_int
        key = outer.expressions[int(item.name) - 1].unalias() if by_place else item
        if not isinstance(key, exp.Column):
            return None
        keys.append(identifier(key.name))
    return keys


def _conditions(sql: str, tokens: Sequence[Any], names: set[str]) -> Iterable[str]:
    """The texts of all WHEREs, without the tables' names before columns: in one scan they may have another name."""
    import sqlglot

    kinds = sqlglot.TokenType
    depth, depths = 0, []
    for token in tokens:
        depth -= token.token_type == kinds.R_PAREN
        depths.append(depth)
        depth += token.token_type == kinds.L_PAREN
    for start, token in enumerate(tokens):
        if token.token_type != kinds.WHERE:
            continue
        part = []
        for other, level in zip(tokens[start + 1 :], depths[start + 1 :], strict=True):
            if level < depths[start] or (level == depths[start] and other.token_type == kinds.GROUP_BY):
                break
            part.append(other)
        pieces, end = [], part[0].start
        for first, second in pairwise(part):
            if second.token_type == kinds.DOT and first.text.lower() in names and first.start >= end:
                pieces.append(sql[end : first.start])
                end = second.end + 1
        yield "".join(pieces) + sql[end : part[-1].end + 1]


_ANY = "!= 0"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one data test found.

    `failures` is what its fail_calc gives, by default the number of rows it selects, at most its limit; `where` is the
    file and line that ask for it, `stored` the table that keeps the failing rows, `examples` some of them as text.
    """

    name: str
    severity: str
    failures: int
    where: str
    sql: str
    status: Literal["pass", "warn", "fail"] = "pass"
    stored: str = ""
    examples: tuple[str, ...] = ()

    @property
    def first_rows(self) -> str:
        """The examples as the end of a message; empty when there are none."""
        return examples_text(self.examples, self.failures)

    @property
    def is_error(self) -> bool:
        """Whether this result must stop the build from being published."""
        return self.status == "fail"


def examples_text(examples: Sequence[str], failures: int) -> str:
    """Return examples of failing rows as the end of a message; empty when there are none."""
    more = "; …" if failures > len(examples) else ""
    return f": {'; '.join(examples)}{more}" if examples else ""


@dataclass(frozen=True, slots=True)
class Store:
    """Where failing rows are kept: a database that is attached, and whether of all tests or of those that ask for it.

    They are rows of the warehouse, personal data and all: keep them where the build is, and as long.
    """

    database: str
    everything: bool = False
    only_tables: bool = False

    def place(self, test: Node) -> str:
        """The table or view of a test."""
        return f"{identifier(self.database)}.{relation_name(AUDIT_SCHEMA, word(test.name))}"

    def wants(self, spec: TestSpec) -> bool:
        """Whether the failing rows of a test are kept. As in dbt, what a test says itself wins."""
        said, kind = spec.config.get("store_failures"), spec.config.get("store_failures_as")
        return kind != "ephemeral" and bool(spec.store_failures or (self.everything and said is not False))


def run_tests(
    con: duckdb.DuckDBPyConnection, tests: Iterable[Node], store: Store | None = None, adapter: Adapter | None = None
) -> tuple[CheckResult, ...]:
    """Run data tests and return a result for each, in name order. Raises BuildError naming a test whose SQL fails.

    Failing rows are counted by the `adapter`, or here.
    """
    adapter, nodes = adapter or DuckAdapter(con), {test.id: test for test in tests}
    counts = {test_id: count for test_id, test in nodes.items() if (count := count_of(test))}
    found: dict[str, CheckResult] = {}
    if store:
        _forget(con, store, nodes.values())
    for table, members in by_table(counts).items():
        try:
            read = dict.fromkeys(parent for test_id in members for parent in nodes[test_id].depends_on)
            together = [counts[test_id] for test_id in members]
            sql = scan(table, together, adapter.has_subqueries_in_aggregates)
            row = adapter.first_row(replace(nodes[members[0]], depends_on=tuple(read)), sql)
        except (duckdb.Error, StatementError):
            continue  # one of them fails; alone, it says which
        for test_id, value in zip(members, row, strict=True):
            spec, failures = _spec(nodes[test_id]), int(str(value))
            if failures == 0 or (counts[test_id].is_exact and not (store and store.wants(spec))):
                limited = failures if spec.limit is None else min(failures, spec.limit)
                found[test_id] = _counted(con, nodes[test_id], limited)
    for test_id, test in nodes.items():
        try:
            if test_id not in found:
                found[test_id] = _alone(con, test, store, adapter)
        except (duckdb.Error, StatementError) as error:
            kind = error.kind if isinstance(error, StatementError) else kind_of(error)
            place = Place(str(test.file), test.line)
            raise BuildError(test.name, kind, test.sql, place=place, restricted=of_error(error)) from None
    return tuple(sorted(found.values(), key=lambda result: result.name))


def test_statements(tests: Sequence[Node]) -> list[str]:
    """The statements that `run_tests` runs when nothing fails; for benchmarks against bare DuckDB."""
    counts = {test.id: count for test in tests if (count := count_of(test))}
    alone = [f"select count(*) from ({test.sql}\n) as failing" for test in tests if test.id not in counts]
    return alone + [scan(table, [counts[name] for name in members]) for table, members in by_table(counts).items()]


def _spec(test: Node) -> TestSpec:
    return test.test or TestSpec("singular", "", {}, "error", "", test.file, test.line)


def _alone(con: duckdb.DuckDBPyConnection, test: Node, store: Store | None, adapter: Adapter) -> CheckResult:
    """Run a test's own SQL. Its failing rows are kept when they are wanted and there are any."""
    spec = _spec(test)
    # A line of its own for the bracket: the test may end in a comment.
    rows = f"({test.sql}\n) as failing"
    if spec.limit is not None:
        rows = f"(select * from {rows} limit {spec.limit}) as failing"
    place = store.place(test) if store and store.wants(spec) else ""
    if place and store:
        as_view = spec.config.get("store_failures_as") == "view" and not store.only_tables
        con.execute(f"create schema if not exists {identifier(store.database)}.{AUDIT_SCHEMA}")
        failing = f"select * from {rows}"
        if not as_view:  # a file beside a build is written by a connection that reaches no other file
            failing = (adapter.rows_here if store.only_tables else adapter.select)(test, failing)
        con.execute(f"create {'view' if as_view else 'table'} {place} as {failing}")
        rows, adapter = place, DuckAdapter(con)
    calculated = spec.config.get("fail_calc") or "count(*)"
    sql = (
        f"select {calculated} as failures, {calculated} {spec.warn_if} as should_warn,"
        f" {calculated} {spec.error_if} as should_fail from {rows}"
    )
    failures, should_warn, should_fail = adapter.first_row(test, sql)
    if failures is None:
        message = f"fail_calc {calculated} gives null; write coalesce({calculated}, 0)."
        raise BuildError(test.name, message, sql, place=Place(str(test.file), test.line))
    result = _result(test, int(str(failures)), bool(should_warn), bool(should_fail))
    if place and store and result.status == "pass":
        _forget(con, store, [test])
        place = ""
    return replace(result, stored=place)


def _forget(con: duckdb.DuckDBPyConnection, store: Store, tests: Iterable[Node]) -> None:
    """Drop what an earlier run kept of these tests."""
    stored = "select table_name, table_type from information_schema.tables where table_catalog = ? and table_schema = ?"
    kinds = dict(con.execute(stored, [store.database, AUDIT_SCHEMA]).fetchall())
    for test in tests if kinds else ():
        kind = kinds.get(word(test.name))
        if kind:
            con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {store.place(test)}")


def _counted(con: duckdb.DuckDBPyConnection, test: Node, failures: int) -> CheckResult:
    """The result of a test whose number of failing rows is known."""
    spec = _spec(test)
    if spec.warn_if == spec.error_if == _ANY:
        return _result(test, failures, failures != 0, failures != 0)
    should_warn, should_fail = fetch_one(con, f"select {failures} {spec.warn_if}, {failures} {spec.error_if}")
    return _result(test, failures, bool(should_warn), bool(should_fail))


def _result(test: Node, failures: int, should_warn: bool, should_fail: bool) -> CheckResult:
    spec = _spec(test)
    status: Literal["pass", "warn", "fail"] = "warn" if should_warn else "pass"
    if spec.severity == "error" and should_fail:
        status = "fail"
    where = f"{test.file}:{test.line}"
    return CheckResult(test.name, spec.severity, 0 if status == "pass" else failures, where, test.sql, status)


SHOWN = 3
COLUMNS = 4
_LONGEST = 40  # of a value, in characters


def with_examples(
    con: duckdb.DuckDBPyConnection, graph: Graph | None, results: Iterable[CheckResult]
) -> tuple[CheckResult, ...]:
    """Return the results, those that did not pass with examples of their failing rows; without a graph as they are."""
    if graph is None:
        return tuple(results)
    tests = {test.name: test for test in graph.tests()}
    hidden = {column.name for feed in graph.feeds for column in feed.columns if column.free_text or column.pseudonym}
    return tuple(
        replace(result, examples=_examples(con, graph, tests[result.name], result.sql, hidden))
        if result.status != "pass" and result.name in tests
        else result
        for result in results
    )


def is_restricted(graph: Graph, test: Node) -> bool:
    """Tell whether a test looks at a table that only stewards may open, itself or through an ephemeral model."""
    schemas = set(graph.project.warehouse_settings.stewards_schemas)
    waiting = list(test.depends_on)
    while waiting and schemas:
        node = graph.nodes.get(waiting.pop())
        if node and node.materialized == "ephemeral":
            waiting += node.depends_on
        elif node and node.relation.schema.lower() in schemas:
            return True
    return False


def _examples(con: duckdb.DuckDBPyConnection, graph: Graph, test: Node, sql: str, hidden: set[str]) -> tuple[str, ...]:
    column = test.test.column if test.test else ""
    if is_restricted(graph, test) or column in hidden:
        return ()
    rows = f"({sql}\n) as failing"
    try:
        names = [name for name, _ in columns_of(con, f"select * from {rows}") if name not in hidden]
        names = sorted(names, key=lambda name: name != column)[:COLUMNS]
        shown = ", ".join(map(_text, names))
        found = con.execute(f"select {shown} from {rows} order by all limit {SHOWN}").fetchall() if names else []
    except duckdb.Error:
        return ()  # the test's own result stands
    return tuple(", ".join(_pairs(names, row)) for row in found)


def _text(name: str) -> str:
    """SQL of a value as text: masked, without what would steer a terminal, and cut."""
    text = f"regexp_replace(cast({identifier(name)} as varchar), '[[:cntrl:]]', ' ', 'g')"
    return f"left({masked(text)}, {_LONGEST + 1})"


def _pairs(names: Iterable[str], row: Iterable[str | None]) -> Iterator[str]:
    for name, value in zip(names, row, strict=True):
        if value is None:
            yield f"{name} is null"
        else:
            yield f"{name}={value if len(value) <= _LONGEST else f'{value[:_LONGEST]}…'}"
