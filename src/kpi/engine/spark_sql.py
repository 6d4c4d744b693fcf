"""The compiled SQL of DuckDB as Spark SQL that yields the same rows, cell by cell.

sqlglot knows how Spark spells what DuckDB says; the rules here are about what the two mean by it. Each rule rewrites
one construct, the innermost first, so that a rule sees what the rules made of the parts. The whole SELECT is cast to
the columns that DuckDB's binder knows, for the engines type their results in different ways.

The words are Spark's, and Spark Connect's with it (Sail). What cannot be said there so that it means the same is for
`refusals`, before anything runs.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpi.engine.lint import every
from kpi.errors import ConfigError
from kpi.lazy import exp

# What a session must be set to: Spark has other defaults, and with them other numbers.
SETTINGS: Mapping[str, str] = {
    # A cast, a sum or a division that fails is an error, not a null.
    "spark.sql.ansi.enabled": "true",
    # TIMESTAMP_NTZ is read in the session's zone by some functions: in UTC no hour is there twice or not at all.
    "spark.sql.session.timeZone": "UTC",
    # Parquet's TIMESTAMP without a zone, and the word TIMESTAMP, are DuckDB's TIMESTAMP.
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    # Decimals keep their digits or overflow: by default Spark cuts digits after the point to make room before it.
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.legacy.decimal.retainFractionDigitsOnTruncate": "true",
    # Spark 4.3 loses a column of a correlated subquery in a SELECT when it moves that SELECT below a UNION ALL, and
    # fails: by the one rule where it reads the UNION, by the other where it is a part of one.
    "spark.sql.optimizer.excludedRules": "org.apache.spark.sql.catalyst.optimizer.PushProjectionThroughUnion,"
    "org.apache.spark.sql.catalyst.optimizer.CombineUnions",
    # What Spark infers of columns grows with every name of a value: of a unit test's constants it plans without end.
    "spark.sql.constraintPropagation.enabled": "false",
}

_TYPES = {
    "TINYINT": "tinyint",
    "SMALLINT": "smallint",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "HUGEINT": "decimal(38,0)",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
}


def spark_type(kind: str) -> str:
    """Return Spark's name of one of DuckDB's types. Raises ConfigError when Spark has no type of that meaning."""
    if kind in _TYPES:
        return _TYPES[kind]
    if kind.endswith("[]"):
        return f"array<{spark_type(kind[:-2])}>"
    if kind.startswith("DECIMAL("):
        return kind.lower()
    raise ConfigError(f"a column of the type {kind} cannot be had on Spark. Cast it to one of: {', '.join(_TYPES)}.")


def is_type(node: Any) -> bool:
    """Whether a type in a tree of DuckDB's SQL is one that Spark has."""
    return node.this == exp.DataType.Type.INT128 or node.sql(dialect="duckdb").split("(")[0] in _TYPES


def to_spark(select: str, columns: Mapping[str, str]) -> str:
    """Return a compiled SELECT as one of Spark SQL that yields the same rows.

    `columns` are its columns and their DuckDB types, in order, as the binder knows them; without them nothing is cast.
    Raises ConfigError for a type that Spark does not have.
    """
    return _text(_tree(select), columns)


def to_spark_in_steps(select: str, columns: Mapping[str, str], prefix: str) -> tuple[list[tuple[str, str]], str]:
    """Return tables to make first, by name and SELECT and in that order, and the SELECT as `to_spark` does over them.

    Spark puts a CTE wherever it is read, with all that it reads: CTEs over CTEs grow by powers, and planning takes
    minutes. Where that would be, those read more than once are tables of their own, named with the `prefix`.
    """
    tree, made = _tree(select), list[tuple[str, str]]()
    for number, cte in enumerate(_read_again(tree)):
        above = _ctes(tree)
        above = above[: next(place for place, one in enumerate(above) if one is cte)]
        name = f"{prefix}_{number}"
        made.append((name, _text(_with_what_it_reads(cte.this, above), {})))
        cte.set("this", exp.select("*").from_(exp.to_table(name)))
    return made, _text(tree, columns)


MOST_READ = 100  # tables in a SELECT of which no CTE is left; Spark plans as many in seconds
_LARGE = 8  # of a CTE that is read again


def _ctes(tree: Any) -> list[Any]:
    """The CTEs of a SELECT, then of the only one that it reads, and so on: each may read those before it."""
    found: list[Any] = []
    while isinstance(tree, exp.Select):
        found += tree.args["with_"].expressions if tree.args.get("with_") else ()
        source = tree.args["from_"].this if tree.args.get("from_") else None
        tree = source.this if isinstance(source, exp.Subquery) and not tree.args.get("joins") else None
    return found if len({one.alias for one in found}) == len(found) else []


def _read_again(tree: Any) -> list[Any]:
    """The CTEs to compute once: large, and read more than once, where all of them inlined are beyond MOST_READ."""
    ctes = _ctes(tree)
    times = Counter(table.name for table in tree.find_all(exp.Table) if not table.db)
    whole, size, found = dict[str, int](), dict[str, int](), []
    for cte in ctes:
        read = [table.name for table in cte.this.find_all(exp.Table)]
        whole[cte.alias] = sum(whole.get(name, 1) for name in read) or 1
        size[cte.alias] = sum(size.get(name, 1) for name in read) or 1
        if size[cte.alias] >= _LARGE and times[cte.alias] > 1:
            size[cte.alias] = 1
            found.append(cte)
    return found if max(whole.values(), default=0) > MOST_READ else []


def _with_what_it_reads(query: Any, above: Sequence[Any]) -> Any:
    """A query of a CTE by itself, after those of the CTEs above that it needs."""
    needed, found = {table.name for table in query.find_all(exp.Table)}, list[Any]()
    for cte in reversed(above):
        if cte.alias in needed:
            needed |= {table.name for table in cte.this.find_all(exp.Table)}
            found.insert(0, cte.copy())
    alone = query.copy()
    own = alone.args["with_"].expressions if alone.args.get("with_") else []
    if found or own:
        alone.set("with_", exp.With(expressions=[*found, *own]))
    return alone


def _tree(select: str) -> Any:
    import sqlglot

    return sqlglot.parse_one(select, dialect="duckdb")


def _text(tree: Any, columns: Mapping[str, str]) -> str:
    text = str(translated(tree).sql(dialect="spark", identify=True))
    if not columns:
        return text
    casts = ", ".join(f"cast({name} as {spark_type(kind)}) as {name}" for name, kind in _quoted(columns))
    return f"select {casts} from (\n{text}\n)"


def translated(tree: Any) -> Any:
    """Return the tree of a DuckDB SELECT as that of one of Spark's; the tree that is given is changed."""
    parts = list(every(tree))
    for node in reversed(parts):
        for rule in _RULES_OF.get(type(node).__name__, ()):
            put = rule.rewrite(node)
            if put is None:
                continue
            if node is tree:
                tree = put
            else:
                node.replace(put)
            break
    return tree


def _quoted(columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, kind in columns.items():
        yield "`" + name.replace("`", "``") + "`", kind


def _spark(text: str, **parts: Any) -> Any:
    """A piece of Spark SQL with parts of a tree put in for its :names."""
    return exp.replace_placeholders(_parsed(text).copy(), **{name: part.copy() for name, part in parts.items()})


@functools.cache
def _parsed(text: str) -> Any:
    import sqlglot

    return sqlglot.parse_one(text, dialect="spark")


@dataclass(frozen=True, slots=True)
class Rule:
    """One construct that is rewritten: the nodes of sqlglot it looks at, and why, for the reference page.

    `rewrite` returns what to put in the place of a node, or None to leave it (perhaps changed in itself).
    """

    name: str
    nodes: str
    duckdb: str
    spark: str
    rewrite: Callable[[Any], Any]


def _without_catalog(table: Any) -> None:
    table.set("catalog", None)


def _weekday(node: Any) -> Any:
    # Not by WEEKDAY, which makes Sunday -1 in Sail 0.7.
    return _spark("((dayofweek(:day) + 5) % 7 + 1)", day=node.this)


# Where each unit of a difference begins, of x: in DuckDB it counts how often one begins between two times. Only what
# knows no zone: TIMESTAMP_NTZ is read in the session's zone by DATEDIFF, TIMESTAMPDIFF and DATE_TRUNC.
_DAYS = "cast(datediff(cast(:b as date), cast(:a as date)) as bigint)"
_CLOCK = "cast({part}(cast(:{x} as timestamp_ntz)) as bigint)"
_HOURS = f"({_DAYS} * 24 + {_CLOCK.format(part='hour', x='b')} - {_CLOCK.format(part='hour', x='a')})"
_MINUTES = f"({_HOURS} * 60 + {_CLOCK.format(part='minute', x='b')} - {_CLOCK.format(part='minute', x='a')})"
_SECONDS = f"({_MINUTES} * 60 + {_CLOCK.format(part='second', x='b')} - {_CLOCK.format(part='second', x='a')})"
_YEARS = "(cast(year(:b) as bigint) - year(:a))"
_DIFFERENCES = {
    "YEAR": _YEARS,
    "QUARTER": f"({_YEARS} * 4 + quarter(:b) - quarter(:a))",
    "MONTH": f"({_YEARS} * 12 + month(:b) - month(:a))",
    "DAY": _DAYS,
    "HOUR": _HOURS,
    "MINUTE": _MINUTES,
    "SECOND": _SECONDS,
}


def is_difference(node: Any) -> bool:
    """Whether a date_diff is in units that have a translation."""
    return _unit(node) in _DIFFERENCES


def _difference(node: Any) -> Any:
    text = _DIFFERENCES.get(_unit(node))
    return None if text is None else _spark(text, a=node.expression, b=node.this)


def _unit(node: Any) -> str:
    unit = node.args.get("unit")
    return "" if unit is None else unit.name.upper().removesuffix("S")


def _division(node: Any) -> Any:
    return _spark("cast(:a as double) / cast(:b as double)", a=node.this, b=node.expression)


def _hugeint(node: Any) -> Any:
    if node.this != exp.DataType.Type.INT128:
        return None
    return exp.DataType.build("decimal(38,0)", dialect="spark")


_ADDED = {
    "DAY": "date_add(cast(:day as date), cast(:count as int))",
    "WEEK": "date_add(cast(:day as date), cast(7 * :count as int))",
    "MONTH": "add_months(cast(:day as date), cast(:count as int))",
    "QUARTER": "add_months(cast(:day as date), cast(3 * :count as int))",
    "YEAR": "add_months(cast(:day as date), cast(12 * :count as int))",
}


def _date_plus_intervals(node: Any) -> Any:
    """cast(day ± n * interval 1 month as date), in any order of its factors."""
    moved = node.this.unnest()
    if node.to.this != exp.DataType.Type.DATE or not isinstance(moved, exp.Add | exp.Sub):
        return None
    found = intervals(moved.expression)
    if found is None or found[1] not in _ADDED:
        return None
    count = found[0] if isinstance(moved, exp.Add) else exp.Neg(this=exp.paren(found[0]))
    return _spark(_ADDED[found[1]], day=moved.this, count=exp.paren(count))


def intervals(node: Any) -> tuple[Any, str] | None:
    """Return how many of which unit `n * interval 2 day` is; None when it is something else."""
    node = node.unnest()
    if isinstance(node, exp.Interval) and node.this is not None and node.args.get("unit") is not None:
        text = node.this.name
        return (exp.Literal.number(text), _unit(node)) if text.lstrip("-").isdigit() else None
    if isinstance(node, exp.Mul):
        for one, other in ((node.this, node.expression), (node.expression, node.this)):
            found = intervals(other)
            if found is not None:
                return exp.Mul(this=exp.paren(one.copy()), expression=found[0]), found[1]
    return None


def _series(node: Any) -> Any:
    """generate_series of whole numbers: empty when it would go the other way, where Spark counts backwards or fails."""
    if node.args.get("is_end_exclusive"):
        # range() is a table of numbers in a unit test, for rows without a column.
        return exp.Anonymous(this="range", expressions=[node.args["start"].copy(), node.args["end"].copy()])
    step = node.args.get("step") or exp.Literal.number(1)
    is_down = isinstance(step, exp.Neg)
    way = ">=" if is_down else "<="
    text = f"case when :first {way} :last then sequence(:first, :last, :step) else array() end"
    return _spark(text, first=node.args["start"], last=node.args["end"], step=step)


def _having(select: Any) -> Any:
    """A condition over grouping sets as a column, and a SELECT around it: Spark has no GROUPING() in HAVING.

    So too where HAVING names a column as the SELECT names something else.
    """
    having, group = select.args.get("having"), select.args.get("group")
    if not having or not group:
        return None
    if group.find(exp.GroupingSets, exp.Cube, exp.Rollup) is None and not _has_shadowed_column(select, having):
        return None
    select.set("having", None)
    names = [exp.column(column.alias_or_name, quoted=True) for column in select.expressions]
    ctes = select.args.pop("with_", None)
    inner = select.copy()
    inner.append("expressions", exp.alias_(having.this.copy(), "kpi_having"))
    outer = exp.select(*names).from_(inner.subquery("kpi_grouped")).where(exp.column("kpi_having"))
    if ctes is not None:
        outer.set("with_", ctes)
    return outer


def _has_shadowed_column(select: Any, having: Any) -> bool:
    """Whether HAVING aggregates a column by a name that the SELECT gives to something else: Sail takes that."""
    names = {column.alias.lower() for column in select.expressions if column.alias}
    return any(column.name.lower() in names for column in having.find_all(exp.Column))


def _exists(node: Any) -> None:
    if isinstance(node.this, exp.Select):
        node.this.set("expressions", [exp.Literal.number(1)])


@dataclass(frozen=True, slots=True)
class Membership:
    """How `x in (select …)` stands: as a condition, or as a value; turned round by NOT, or not; and by itself.

    A condition is what decides over a row: null counts as false there. It stands by itself when nothing but AND is
    between it and WHERE.
    """

    is_condition: bool
    is_negative: bool
    is_alone: bool


def membership(node: Any) -> Membership:
    """Return how an IN of a SELECT stands in its tree."""
    is_negative, is_alone, one = False, True, node
    while isinstance(one.parent, exp.And | exp.Or | exp.Not | exp.Paren):
        is_not = isinstance(one.parent, exp.Not)
        is_negative ^= is_not
        is_alone = is_alone and not isinstance(one.parent, exp.Or) and (not is_not or one.unnest() is node)
        one = one.parent
    above = one.parent
    is_where = isinstance(above, exp.Where) and isinstance(above.parent, exp.Select)
    is_when = isinstance(above, exp.If) and above.this is one and not getattr(above.parent, "this", None)
    return Membership(is_where or is_when or isinstance(above, exp.Having), is_negative, is_alone and is_where)


def has_one_column(node: Any) -> bool:
    """Whether an IN of a SELECT asks for a value and not for a row of several."""
    return not isinstance(node.this.unnest(), exp.Tuple)


def _in_select(node: Any) -> Any:
    """NOT IN beside OR or in CASE as NOT EXISTS, which is neither null: Sail 0.7 takes its null for true there.

    What is unknown counts as found, so that NOT of it is false where null would have been.
    """
    query = node.args.get("query")
    if query is None or not has_one_column(node):
        return None
    stands = membership(node)
    if stands.is_alone or not (stands.is_condition and stands.is_negative):
        return None
    text = "exists (select 1 from (select 1) as kpi_in(kpi_value) where {})"
    found = _spark(text.format("kpi_value = :x or kpi_value is null or :x is null"), x=exp.paren(node.this))
    found.find(exp.Subquery).set("this", query.unnest().copy())
    return found


TRUNCATED = {"DAY": "", "WEEK": "WEEK", "MONTH": "MONTH", "QUARTER": "QUARTER", "YEAR": "YEAR"}


def _truncation(node: Any) -> Any:
    """date_trunc: of days, for DATE_TRUNC yields an instant in the session's zone."""
    unit = node.args["unit"].name.upper()
    if unit not in TRUNCATED:
        return None
    day = "cast(:day as date)" if unit == "DAY" else f"trunc(cast(:day as date), '{TRUNCATED[unit]}')"
    return _spark(f"cast({day} as timestamp_ntz)", day=node.this)


# What has no letters of its own and takes room: DuckDB's trim takes all of them away, Spark's the first.
_BLANKS = " \u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"


def _trim(node: Any) -> None:
    if node.args.get("expression") is None:
        node.set("expression", exp.Literal.string(_BLANKS))
        node.set("position", node.args.get("position") or "BOTH")


def _like(node: Any) -> Any:
    """A pattern without an escape: in Spark, and not in DuckDB, a backslash is one unless another is named."""
    pattern = node.expression.unnest()
    if isinstance(node.parent, exp.Escape) or not pattern.is_string or "\\" not in pattern.name:
        return None
    unused = next(character for character in "!#$&*+,./:;<=>?@^`|~" if character not in pattern.name)
    return exp.Escape(this=node.copy(), expression=exp.Literal.string(unused))


def _text_of_double(node: Any) -> Any:
    """The text of a DOUBLE: 1.23456789E8 in Spark is 123456789.0. Where DuckDB has an exponent, it fails."""
    if node.to.this not in (exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR) or isinstance(
        node.this.unnest(), exp.Literal | exp.Null
    ):
        return None
    return _spark(
        """case when typeof(:value) = 'double' then case
            when cast(:value as string) in ('0.0', '-0.0') then cast(:value as string)
            when cast(:value as string) = 'NaN' then 'nan'
            when abs(try_cast(cast(:value as string) as double)) >= cast('0.0001' as double)
                and abs(try_cast(cast(:value as string) as double)) < cast('1e16' as double)
            then regexp_replace(
                cast(cast(cast(:value as string) as decimal(38, 20)) as string), '([.][0-9]+?)0+$', '$1'
            )
            when :value is not null
            then raise_error('a DOUBLE below 0.0001 or from 1e16 has no text that DuckDB and Spark agree on') end
            else cast(:value as string) end""",
        value=node.this,
    )


def _hash(node: Any) -> Any:
    """A hash of several columns: another number, for scans of tests, which count how many there are."""
    return exp.Anonymous(this="xxhash64", expressions=node.expressions) if node.name.lower() == "hash" else None


def _typeof(node: Any) -> Any:
    """DuckDB's name of a type, as far as the types go that columns may have on Spark."""
    names = " ".join(f"when '{spark}' then '{duckdb}'" for duckdb, spark in _TYPES.items() if duckdb != "HUGEINT")
    return _spark(f"case typeof(:value) {names} else upper(typeof(:value)) end", value=node.this)


RULES = (
    Rule("catalog", "Table", "database.schema.table", "no such database", _without_catalog),
    Rule("iso_weekday", "DayOfWeekIso", "1 is Monday", "sqlglot's words make Sunday 2", _weekday),
    Rule(
        "difference",
        "DateDiff",
        "date_diff counts the units that begin between two times",
        "full units, and times are read in the session's zone",
        _difference,
    ),
    Rule("division", "Div", "/ is division of doubles", "/ of decimals is a decimal", _division),
    Rule("hugeint", "DataType", "a sum of BIGINT is a HUGEINT", "no such type", _hugeint),
    Rule(
        "date_plus_intervals",
        "Cast",
        "date + n * interval 1 month is a TIMESTAMP, on the month's last day when there is no such day",
        "intervals cannot be multiplied everywhere",
        _date_plus_intervals,
    ),
    Rule("series", "GenerateSeries", "a series that ends before it begins is empty", "counts backwards", _series),
    Rule("grouping_sets", "Select", "GROUPING() in HAVING", "refused", _having),
    Rule("exists", "Exists", "what EXISTS selects is not looked at", "a column it selects is lost or fails", _exists),
    Rule(
        "not_in_select", "In", "not in (select …) of a null is null", "true in Sail, beside OR or in CASE", _in_select
    ),
    Rule("date_trunc", "TimestampTrunc", "a TIMESTAMP", "an instant in the session's zone", _truncation),
    Rule("date_trunc", "DateTrunc", "a TIMESTAMP", "an instant in the session's zone", _truncation),
    Rule("trim", "Trim", "takes all blanks of Unicode away", "takes ' ' away", _trim),
    Rule("like", "Like", "a backslash is a backslash", "a backslash is an escape", _like),
    Rule("text_of_double", "Cast", "123456789.0", "1.23456789E8", _text_of_double),
    Rule("hash", "Anonymous", "hash(a, b), in scans of several tests", "xxhash64(a, b), another number", _hash),
    Rule("typeof", "Typeof", "types in capitals", "types by other names", _typeof),
)
_RULES_OF: dict[str, list[Rule]] = {}
for _rule in RULES:
    _RULES_OF.setdefault(_rule.nodes, []).append(_rule)
