"""The house rules of SQL, and the portable subset that means the same on DuckDB and, one day, on Spark.

An allow-list: what is not named here is refused, and the reason says what to write instead. It is about meaning, not
spelling: a function that another engine only calls by another name is allowed, one that rounds, orders or skips nulls
in another way is not, unless a macro of the project says which way is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from kpi.lazy import exp
from kpi.project.relation import Lines


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Functions that yield the same on both engines.
FUNCTIONS = _set(
    """
    count sum min max avg median grouping
    coalesce nullif greatest least abs round sqrt exp ln power
    lower upper trim ltrim rtrim length replace substring substr left right starts_with ends_with regexp_replace
    year quarter month day hour minute make_date last_day
    row_number rank dense_rank ntile lag lead first_value last_value
    unnest generate_series
    """
)
# Functions and syntax that the engines count in different ways: only a macro of the project, which says how, has them.
IN_MACROS = _set("isodow date_diff date_trunc strftime interval at_time_zone")
TYPES = _set("BIGINT INT SMALLINT DOUBLE DECIMAL VARCHAR TEXT BOOLEAN DATE TIMESTAMP TIMESTAMPTZ")

# Parts of the tree and those of their arguments that may be there. Functions are checked by name instead.
_SYNTAX = {
    "Select": "with_ expressions distinct from_ joins where group having windows order limit",
    "Union": "with_ this expression distinct order limit",
    "Intersect": "with_ this expression distinct order limit",
    "Except": "with_ this expression distinct order limit",
    "With": "expressions",
    "CTE": "this alias",
    "Subquery": "this alias",
    "From": "this",
    "Join": "this on using kind side",
    "Table": "this db alias",
    "TableAlias": "this",
    "Where": "this",
    "Having": "this",
    "Group": "expressions grouping_sets rollup cube",
    "GroupingSets": "expressions",
    "Rollup": "expressions",
    "Cube": "expressions",
    "Order": "expressions",
    "Ordered": "this desc nulls_first",
    "Limit": "expression",
    "Distinct": "expressions",
    "Filter": "this expression",
    "IgnoreNulls": "this",
    "Window": "this partition_by order spec alias over",
    "WindowSpec": "kind start start_side end end_side",
    "Alias": "this alias",
    "Column": "this table",
    "Identifier": "this quoted",
    "Star": "",
    "Literal": "this is_string",
    "Boolean": "this",
    "Null": "",
    "Paren": "this",
    "Tuple": "expressions",
    "Case": "this ifs default",
    "If": "this true false",
    "Cast": "this to",
    "DataType": "this expressions nested",
    "DataTypeParam": "this",
    "Interval": "this unit",
    "AtTimeZone": "this zone",
    "Var": "this",
    "Exists": "this expression",
    "In": "this expressions query",
    "Between": "this low high symmetric",
    "Is": "this expression",
    "Like": "this expression",
    "Escape": "this expression",
    "DPipe": "this expression safe",
    "Neg": "this",
    "Not": "this",
}
_OPERATORS = "And Or EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Add Sub Mul Div IntDiv Mod"
SYNTAX = {name: frozenset(arguments.split()) for name, arguments in _SYNTAX.items()}
SYNTAX |= {name: frozenset(("this", "expression", "typed", "safe")) for name in _OPERATORS.split()}
_MACRO_SYNTAX = {"Interval": "interval", "AtTimeZone": "at_time_zone"}
# What sqlglot's names for parts of a tree are called in SQL; for others the name itself, in words.
_WORDS = {
    "Select qualify": "qualify",
    "Select laterals": "lateral",
    "Select sample": "using sample",
    "Select offset": "offset",
    "Union by_name": "union by name",
    "With recursive": "with recursive",
    "Distinct on": "distinct on",
    "Group all": "group by all",
    "Join method": "asof, natural or positional join",
    "Limit percent": "limit %",
    "Star except_": "* exclude",
    "Star replace": "* replace",
    "Star rename": "* rename",
    "Table pivots": "pivot",
    "Columns": "columns()",
    "SimilarTo": "similar to",
    "TryCast": "try_cast",
    "JSONExtract": "->",
    "JSONExtractScalar": "->>",
}
_INSTEAD = {
    "mode": "Count, and take row_number() with a stated tie-break.",
    "list": "Keep rows; a list has no order that two engines agree on.",
    "array_agg": "Keep rows; a list has no order that two engines agree on.",
    "string_agg": "Keep rows; a joined text has no order that two engines agree on.",
    "any_value": "Say which one: row_number() with a stated order.",
    "first": "Say which one: row_number() with a stated order.",
    "last": "Say which one: row_number() with a stated order.",
    "arg_max": "Take row_number() with a stated order.",
    "arg_min": "Take row_number() with a stated order.",
    "concat": "Write ||: concat() skips nulls on one engine and not on the other.",
    "now": "Give the day of the run as a variable.",
    "today": "Give the day of the run as a variable.",
    "current_date": "Give the day of the run as a variable.",
    "current_timestamp": "Give the day of the run as a variable.",
    "random": "A model must yield the same every time.",
    "qualify": "Number the rows in a CTE and filter in the next.",
    "union by name": "Name the columns, in one order, and write union all.",
    "distinct on": "Number the rows in a CTE and filter in the next.",
    "group by all": "Name the columns.",
    "asof, natural or positional join": "Join on a stated condition.",
    "limit %": "Number the rows in a CTE and filter in the next.",
    "* exclude": "Name the columns.",
    "* replace": "Name the columns.",
    "* rename": "Name the columns.",
    "columns()": "Name the columns.",
    "pivot": "Write count or sum of case … end for each column.",
    "similar to": "Write like.",
    "using sample": "A model must yield the same every time.",
    "with recursive": "Join a calendar or a seed.",
    "try_cast": "Cast what the feed's contract checked.",
}


def not_portable(node: Any, sql: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the refusal of whatever one part of a tree has that is outside the subset."""
    kind = type(node).__name__
    allowed = SYNTAX.get(kind)
    if allowed is None and isinstance(node, exp.Func):
        yield from _function(node, function_name(node, sql))
        return
    for name in (
        key for key, value in node.args.items() if value not in (None, False, []) and key not in (allowed or ())
    ):
        message = kind if allowed is None else f"{kind} {name}"
        yield _refused(_WORDS.get(message) or _in_words(message))
        if allowed is None:
            break
    if allowed is None and not node.args:
        yield _refused(_WORDS.get(kind) or _in_words(kind))
    if isinstance(node, exp.DataType) and node.this.name not in TYPES:
        name = node.this.name.lower()
        yield name, f"the type {name} is outside the portable subset. {_listed('types', TYPES)}"


def only_in_macros(node: Any, sql: str) -> str:
    """Return the name of a part that only a macro may have, or nothing."""
    name = _MACRO_SYNTAX.get(type(node).__name__, "")
    if not name and isinstance(node, exp.Func) and type(node).__name__ not in SYNTAX:
        name = function_name(node, sql)
    return name if name in IN_MACROS else ""


def function_name(node: Any, sql: str) -> str:
    """The name of a function as it is written in the SQL."""
    start, end = node.meta.get("start"), node.meta.get("end")
    if start is not None:
        return sql[start : end + 1].lower()
    return str(node.name if type(node).__name__ == "Anonymous" else node.sql_name()).lower()


def _function(node: Any, name: str) -> Iterator[tuple[str, str]]:
    if name in IN_MACROS:
        return
    if name not in FUNCTIONS:
        yield name, f"{name}() is outside the portable subset. {_INSTEAD.get(name, _CALL)}"
    elif name == "regexp_replace" and getattr(node.args.get("modifiers"), "name", "") != "g":
        yield name, "regexp_replace() without 'g' replaces all matches on another engine. Add 'g'."
    elif name == "round" and not _is_decimal(node.this):
        yield name, "round() of what may be a DOUBLE breaks ties by its binary digits. Round a cast to decimal."
    elif name == "unnest" and not _is_calendar(node):
        yield name, "unnest() stands alone: `select unnest(generate_series(…)) as …` in a CTE of its own."


_CALL = "Write it with the functions that are in it, or let the model off with a reason (meta.allow)."


def _refused(name: str) -> tuple[str, str]:
    message = f"'{name}' is outside the portable subset. {_INSTEAD.get(name, 'Write it in another way.')}"
    return name.replace(" ", "_"), message


def _listed(what: str, names: frozenset[str]) -> str:
    return f"Its {what} are: {', '.join(sorted(name.lower() for name in names))}."


def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ").strip()


def _is_decimal(value: Any) -> bool:
    value = value.unnest()
    return isinstance(value, exp.Cast) and value.to.this == exp.DataType.Type.DECIMAL


def _is_calendar(node: Any) -> bool:
    select = node.parent.parent if isinstance(node.parent, exp.Alias) else None
    return (
        isinstance(node.this, exp.GenerateSeries)
        and isinstance(select, exp.Select)
        and len(select.expressions) == 1
        and not select.args.get("from_")
    )


LONGEST, MOST_JOINS = 100, 4
# How a cast that is written begins: cast(…), ::type, or a literal such as date '2025-01-01'.
WRITTEN = re.compile(r"(try_)?cast\b|::|[a-z]+ *'", re.IGNORECASE)
RULES = (
    "select_star",
    "division",
    "unused_cte",
    "union_order",
    "bare_alias",
    "implicit_cast",
    "integer_cast",
    "length",
    "joins",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule of the house refuses, at an offset in characters of the compiled SQL.

    `place` is its line and column in the file, when that is known already.
    """

    rule: str
    offset: int
    message: str
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class SparkRule:
    """Why a construct is refused: what the engines make of it, and what to write instead."""

    construct: str
    difference: str
    instead: str

    @property
    def message(self) -> str:
        """What a person reads of it."""
        return f"{self.construct} is another on Spark: {self.difference}. {self.instead}"


# What Spark computes in another way, refused when models run there (`spark_refusals`).
SPARK_RULES: Mapping[str, SparkRule] = {
    "decimal_average": SparkRule(
        "avg of a DECIMAL",
        "DuckDB yields a DOUBLE, Spark a DECIMAL cut after four more digits",
        "Write cast(sum(…) as double) / nullif(count(…), 0).",
    ),
    "double_average": SparkRule(
        "avg of a DOUBLE",
        "the engines add in different orders, so the last digits differ",
        "Average whole numbers, or divide a sum of decimals by a count.",
    ),
    "double_sum": SparkRule(
        "sum of a DOUBLE",
        "the engines add in different orders, so the last digits differ: 0.1 + 0.2 + 0.3 is 0.6 or 0.6000000000000001",
        "Sum a cast to decimal or bigint; or say why they are whole numbers (meta.allow).",
    ),
    "median": SparkRule(
        "median of a DECIMAL or DOUBLE",
        "between 1.25 and 1.30 it is 1.27 in DuckDB and 1.275 in Spark, between 0.1 and 0.7 not 0.4 in DuckDB",
        "Take the median of whole numbers; or say why they are (meta.allow).",
    ),
    "integer_cast": SparkRule(
        "a cast of a DECIMAL or DOUBLE to whole numbers",
        "2.7 is 3 in DuckDB and 2 in Spark",
        "Write cast(round(cast(… as decimal(38, 9)), 0) as bigint), or cast(trunc(…) as bigint).",
    ),
    "double_to_decimal": SparkRule(
        "a cast of a DOUBLE to a DECIMAL of less than nine decimals",
        "1.005 is 1.00 in DuckDB and 1.01 in Spark",
        "Write round(cast(… as decimal(38, 9)), 2).",
    ),
    "double_rounding": SparkRule(
        "round of a DOUBLE",
        "2.675 is 2.67 in DuckDB and 2.68 in Spark",
        "Write round(cast(… as decimal(38, 9)), 2).",
    ),
    "integer_division": SparkRule(
        "// of a DECIMAL or DOUBLE",
        "7.5 // 2 is 3.75 in DuckDB and 3 in Spark",
        "Cast both sides to bigint.",
    ),
    "mixed_decimals": SparkRule(
        "a DECIMAL beside one of another scale, when their common type has no room for all digits",
        "1.005 beside a decimal(38, 2) is 1.01 in DuckDB and 1.005 in Spark",
        "Cast both to the type that is meant.",
    ),
    "text_cast": SparkRule(
        "a cast of text",
        "'2024' is a day and '1d' a number in Spark, '1.5' a whole number in DuckDB",
        "Let the feed's contract or a seed's column type read the text.",
    ),
    "date_minus_date": SparkRule(
        "a day or time minus another",
        "DuckDB yields days, Spark an interval",
        "Write date_diff('day', from, to).",
    ),
    "type": SparkRule(
        "a value of this type",
        "Spark has no such type, or means something else by it",
        "Cast it to bigint, double, decimal, varchar, boolean, date or timestamp (in UTC).",
    ),
    "letter_case": SparkRule(
        "upper or lower",
        "'ß' is 'ẞ' in DuckDB and 'SS' in Spark, 'İ' one letter or two, 'Σ' goes by its place",
        "Compare the text as delivered, or map codes in a seed.",
    ),
    "transcendental": SparkRule(
        "exp, ln, log or power",
        "the last digits differ, and ln(0) is -inf in DuckDB and null in Spark",
        "Write multiplications, or read the values from a seed.",
    ),
    "substring": SparkRule(
        "substring from what may be before 1, or of a length that may be negative",
        "substring('abc', 0, 2) is 'a' in DuckDB and 'ab' in Spark",
        "Begin at a number from 1, and write greatest(…, 0) for the length.",
    ),
    "left_right": SparkRule(
        "left or right of a number that may be negative",
        "left('abc', -1) is 'ab' in DuckDB and '' in Spark",
        "Give a number from 0, or greatest(…, 0).",
    ),
    "like_pattern": SparkRule(
        "like with a pattern that is no constant",
        "a backslash is itself in DuckDB and an escape in Spark",
        "Write starts_with or ends_with, or a constant pattern.",
    ),
    "regular_expression": SparkRule(
        "a regular expression of more than letters, digits, [classes], ^, *, + and ?",
        "DuckDB reads RE2, Spark Java's, and what is put in by \\1 is $1 there",
        "Write replace, or a pattern of those.",
    ),
    "interval": SparkRule(
        "an interval that is not added to a day inside a cast to date",
        "a day and an interval are a TIMESTAMP in DuckDB and a DATE in Spark",
        "Write cast(day + n * interval 1 day as date).",
    ),
    "time_zone": SparkRule(
        "at time zone",
        "DuckDB makes an instant of a local time, Spark a local time of an instant",
        "Let the feed's contract read the zone: raw times are UTC.",
    ),
    "strftime": SparkRule(
        "strftime",
        "DuckDB knows the formats of C, Spark those of Java",
        "Put the text together from year(), month() and day().",
    ),
    "truncation": SparkRule(
        "date_trunc to less than a day",
        "Spark reads the time in the session's zone",
        "Use hour() and minute(), or date_trunc to a day or more.",
    ),
    "difference": SparkRule(
        "date_diff in weeks, in more than years or in less than seconds",
        "Spark counts full units, and does not know all of them",
        "Count days or seconds.",
    ),
    "series": SparkRule(
        "generate_series of days, or of a step that is no number",
        "it may count backwards in Spark, where DuckDB yields no row",
        "Add the numbers of a series to a day.",
    ),
    "grouping": SparkRule(
        "grouping of several columns",
        "DuckDB yields one number of them all, Spark refuses it",
        "Call grouping once a column.",
    ),
    "in_select": SparkRule(
        "in (select …) as a value, or of several columns with NOT beside OR",
        "where a value is missing it is null in DuckDB and false in Spark",
        "Write it as a condition (where, or case when), of one column; or exists (…).",
    ),
    "having_order": SparkRule(
        "order by or limit beside having of grouping sets",
        "Spark has no such condition, and what stands for it comes after the limit",
        "Group in a CTE, and order in the next.",
    ),
}


def broken_rules(tree: Any, sql: str, lines: Lines) -> tuple[Finding, ...]:
    """Return every place where the SELECT breaks a house rule, in order of place."""
    found = sorted(_found(tree, sql, lines), key=lambda finding: finding.offset)
    return tuple(replace(finding, place=lines.place(finding.offset)) for finding in found)


def _found(tree: Any, sql: str, lines: Lines) -> Iterator[Finding]:
    refused: set[int] = set()
    joins = []
    for node in every(tree):
        # What is inside something refused is not reported as well.
        if id(node.parent) in refused:
            refused.add(id(node))
        elif not _is_plainly_allowed(node):
            for name, message in not_portable(node, sql):
                refused.add(id(node))
                yield Finding(name, _place_of_words(name, node, sql), message)
        kind: Any = type(node)
        name = only_in_macros(node, sql) if _may_be_of_macros(kind) else ""
        if name and lines.is_own(place_of(node)):
            message = "means different things on different engines. Call it through a macro that says which is meant."
            yield Finding(name, place_of(node), f"{name.replace('_', ' ')} {message}")
        if kind is exp.Join:
            joins.append(place_of(node))
        if _has_a_rule(kind):
            yield from _of_one(node, sql)
    if len(joins) > MOST_JOINS:
        message = (
            f"a model has at most {MOST_JOINS} joins, this one {len(joins)}. Give some of them a model of their own."
        )
        yield Finding("joins", sorted(joins)[MOST_JOINS], message)
    last = lines.at(len(sql) - 1)
    if last > LONGEST:
        message = f"a model has at most {LONGEST} lines, this one {last}. Cut it in two."
        yield Finding("length", len(sql), message)


def _is_plainly_allowed(node: Any) -> bool:
    """Whether a part is among those that are listed, and has nothing that is not; asked of every part there is."""
    allowed = SYNTAX.get(type(node).__name__)
    if allowed is None or "nested" in allowed:  # a type is looked at by its name
        return False
    for key, value in node.args.items():
        if key not in allowed and value is not None and value is not False and value != []:
            return False
    return True


@cache
def _may_be_of_macros(kind: type) -> bool:
    return kind.__name__ in _MACRO_SYNTAX or (issubclass(kind, exp.Func) and kind.__name__ not in SYNTAX)


@cache
def _has_a_rule(kind: type) -> bool:
    return issubclass(kind, (exp.Div, exp.IntDiv, exp.Mod, exp.Select, exp.With, exp.Union, exp.Alias))


def _of_one(node: Any, sql: str) -> Iterator[Finding]:
    match node:
        case exp.Div() | exp.IntDiv() | exp.Mod():
            if not _is_never_zero(node.expression):
                message = "a denominator may be zero. Write nullif(…, 0)."
                yield Finding("division", place_of(node.expression), message)
        case exp.Select():
            yield from _stars(node, sql)
        case exp.With():
            yield from _unused(node)
        case exp.Union():
            yield from _permuted(node)
        case exp.Alias():
            yield from _bare_alias(node, sql)
        case _:
            pass


def uneven_union(sql: str) -> tuple[int | None, str]:
    """Return the place of a union whose sides have different numbers of columns, and what is wrong with it.

    DuckDB does not tell the place; where a side has `select *`, it stays unknown.
    """
    import sqlglot

    for node in every(sqlglot.parse_one(sql, dialect="duckdb")):
        if isinstance(node, exp.SetOperation):
            first, second = _names(node.left), _names(node.right)
            if len(first) != len(second) and "*" not in (*first, *second):
                message = f"this side has {len(second)} columns and the one before it {len(first)}"
                return place_of(node.right), f"{message}. Both sides of a union have the same columns."
    return None, "both sides of a union have the same number of columns."


def second_column(sql: str, name: str) -> int | None:
    """Return the place of the second column of a name in a SELECT, or None when it comes from `select *`."""
    places = _columns_named(sql, name)
    return places[1] if len(places) > 1 else None


def last_column(sql: str, name: str) -> int | None:
    """Return the place of the column of a name in the last SELECT, or None when it comes from `select *`."""
    places = _columns_named(sql, name)
    return places[-1] if places else None


def _columns_named(sql: str, name: str) -> list[int | None]:
    import sqlglot

    tree: Any = sqlglot.parse_one(sql, dialect="duckdb")
    return [place_of(column) for column in tree.selects if column.output_name.lower() == name]


def every(tree: Any) -> Iterator[Any]:
    """Every part of a tree, each before what is in it; much cheaper than sqlglot's own walk."""
    part = exp.Expr
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for value in node.args.values():
            kind = type(value)
            if kind is list:
                stack += [one for one in value if isinstance(one, part)]
            elif kind is not str and kind is not bool and isinstance(value, part):
                stack.append(value)


def place_of(part: Any) -> int:
    """The offset in the SQL of the first word of a part that the tree has a place of, or else of what is around it."""
    while part is not None:
        own = part.meta.get("start")
        starts = [own] if own is not None else [node.meta["start"] for node in every(part) if "start" in node.meta]
        if starts:
            return int(min(starts))
        part = part.parent
    return 0


def _place_of_words(name: str, node: Any, sql: str) -> int:
    """The place of a piece of syntax by its own words, such as `group by all`, when the tree has no place of them."""
    if "start" in node.meta:
        return place_of(node)
    words, place = r"[\s_]+".join(re.escape(word) for word in name.split("_")), place_of(node)
    found = [match.start() for match in re.finditer(words, sql, re.IGNORECASE)]
    return min(found, key=lambda start: abs(start - place), default=place)


def _is_never_zero(value: Any) -> bool:
    value = value.unnest()
    match value:
        case exp.Literal():
            return not value.is_string and float(value.this) != 0
        case exp.Neg() | exp.Cast():
            return _is_never_zero(value.this)
        case exp.Nullif():
            return bool(value.expression.is_number) and float(value.expression.name) == 0
        case _:
            return False


def _stars(select: Any, sql: str) -> Iterator[Finding]:
    if not any(column.is_star for column in select.expressions if isinstance(column, exp.Star | exp.Column)):
        return
    others = [key for key, value in select.args.items() if value and key not in ("expressions", "from_", "kind")]
    source = select.args["from_"].this if select.args.get("from_") else None
    is_import = isinstance(select.parent, exp.CTE) and isinstance(source, exp.Table) and not others
    if not is_import:
        place = sql.rfind("*", 0, place_of(source)) if source is not None else place_of(select)
        message = "`select *` is for import CTEs (`select * from {{ ref(…) }}`) alone. Name the columns."
        yield Finding("select_star", max(place, 0), message)


def _bare_alias(alias: Any, sql: str) -> Iterator[Finding]:
    """A name after a blank alone: mostly the next column, and a comma is missing."""
    place = alias.args["alias"].meta.get("start") if alias.args.get("alias") is not None else None
    if place is not None and not _follows_as(sql, place):
        message = f"'{alias.alias}' gives another name without `as`. Is a comma missing before it?"
        yield Finding("bare_alias", place, message)


def _follows_as(sql: str, place: int) -> bool:
    """Whether the last word before a place is `as`."""
    end = place
    while end and sql[end - 1].isspace():
        end -= 1
    return sql[max(end - 2, 0) : end] in ("as", "AS", "As") and (end < 3 or sql[end - 3].isspace())


def _unused(ctes: Any) -> Iterator[Finding]:

    named = [(cte, table.name.lower()) for cte in [None, *ctes.expressions] for table in _tables(ctes, cte)]
    for cte in ctes.expressions:
        if not any(name == cte.alias.lower() and user is not cte for user, name in named):
            yield Finding(
                "unused_cte", place_of(cte.args["alias"]), f"nothing reads the CTE '{cte.alias}'. Leave it out."
            )


def _tables(ctes: Any, cte: Any) -> Iterator[Any]:
    """The tables named without a schema in one of the CTEs, or, for None, in the query below them."""
    if cte is not None:
        parts: Iterable[Any] = every(cte)
    else:
        parts = (
            node
            for key, value in ctes.parent.args.items()
            if key != "with_"
            for one in (value if isinstance(value, list) else [value])
            if isinstance(one, exp.Expr)
            for node in every(one)
        )
    return (node for node in parts if isinstance(node, exp.Table) and not node.args.get("db"))


def _permuted(union: Any) -> Iterator[Finding]:
    """A union of the same names in another order: it goes by place, so it mixes the columns up."""
    first, second = _names(union.left), _names(union.right)
    if first != second and sorted(first) == sorted(second) and "*" not in first:
        place = next(index for index, name in enumerate(second) if name != first[index])
        right = union.right.unnest()
        message = f"a union goes by place, and here '{second[place]}' would be put in '{first[place]}'. Keep one order."
        yield Finding("union_order", place_of(right.selects[place] if right.selects else right), message)


def _names(query: Any) -> list[str]:
    return [name.lower() for name in query.unnest().named_selects]


# What yields something else each time or each day: functions, and words that need no parentheses.
_MOVING_CALLS = (
    *("now", "today", "random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "transaction_timestamp"),
    *("get_current_time", "get_current_timestamp", "current_localtime", "current_localtimestamp", "getvariable"),
)
_MOVING_WORDS = ("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp")
_MAY_MOVE = re.compile(rf"\b({'|'.join((*_MOVING_CALLS, *_MOVING_WORDS, 'sample', 'tablesample'))})\b", re.IGNORECASE)


def moving_word(sql: str) -> tuple[str, int]:
    """Return the first word of SQL that yields something else each time, and where it stands; none where none does."""
    if not _MAY_MOVE.search(sql):
        return "", 0
    import sqlglot

    kinds = sqlglot.TokenType
    tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    no_words = (kinds.STRING, kinds.IDENTIFIER)
    for place, token in enumerate(tokens):
        before, after = (tokens[at].token_type if 0 <= at < len(tokens) else None for at in (place - 1, place + 1))
        word = token.text.lower()
        if token.token_type in no_words or kinds.DOT in (before, after) or before == kinds.ALIAS:
            continue
        is_call = word in _MOVING_CALLS and after == kinds.L_PAREN
        is_sample = token.token_type == kinds.TABLE_SAMPLE or (before == kinds.USING and word == "sample")
        if is_call or is_sample or word in _MOVING_WORDS:
            return word, token.start
    return "", 0
