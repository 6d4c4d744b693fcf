"""The portable subset of SQL: what a model may use so that it means the same on DuckDB and, one day, on Spark.

An allow-list: what is not named here is refused, and the reason says what to write instead. It is about meaning, not
spelling: a function that another engine only calls by another name is allowed, one that rounds, orders or skips nulls
in another way is not, unless a macro of the project says which way is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


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

# Parts of the tree and those of their arguments that may be there. Functions are judged by name instead.
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
    from sqlglot import exp

    kind = type(node).__name__
    allowed = SYNTAX.get(kind)
    if allowed is None and isinstance(node, exp.Func):
        yield from _function(node, function_name(node, sql))
        return
    for name in (
        key for key, value in node.args.items() if value not in (None, False, []) and key not in (allowed or ())
    ):
        told = kind if allowed is None else f"{kind} {name}"
        yield _refused(_WORDS.get(told) or _in_words(told))
        if allowed is None:
            break
    if allowed is None and not node.args:
        yield _refused(_WORDS.get(kind) or _in_words(kind))
    if isinstance(node, exp.DataType) and node.this.name not in TYPES:
        name = node.this.name.lower()
        yield name, f"the type {name} is outside the portable subset. {_listed('types', TYPES)}"


def only_in_macros(node: Any, sql: str) -> str:
    """Return the name of a part that only a macro may have, or nothing."""
    from sqlglot import exp

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
    told = f"'{name}' is outside the portable subset. {_INSTEAD.get(name, 'Write it in another way.')}"
    return name.replace(" ", "_"), told


def _listed(what: str, names: frozenset[str]) -> str:
    return f"Its {what} are: {', '.join(sorted(name.lower() for name in names))}."


def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ").strip()


def _is_decimal(value: Any) -> bool:
    from sqlglot import exp

    value = value.unnest()
    return isinstance(value, exp.Cast) and value.to.this == exp.DataType.Type.DECIMAL


def _is_calendar(node: Any) -> bool:
    from sqlglot import exp

    select = node.parent.parent if isinstance(node.parent, exp.Alias) else None
    return (
        isinstance(node.this, exp.GenerateSeries)
        and isinstance(select, exp.Select)
        and len(select.expressions) == 1
        and not select.args.get("from_")
    )
