"""What is refused when models and tests run on Spark: SQL that DuckDB and Spark would count in different ways.

Spark SQL takes most of it without a word and yields other numbers, so it is refused before anything runs, with the name
of the rule and what to write instead. What is translated so that it means the same is no part of this
(`spark_sql`). Three sources tell: the tree of the SELECT, the portable subset of the house rules, and the plan of
DuckDB's binder, which alone knows the types (`avg` of a DECIMAL, a cast of a DOUBLE).

A model is let off a rule as it is off a house rule, by `meta: {allow: {<rule>: "<reason>"}}`. Data tests are let off
`double_sum`: they compare, and theirs are sums of what models let through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from kpi.cache import remembered
from kpi.engine.binder import Binder
from kpi.engine.graph import Node
from kpi.engine.lint import SPARK_RULES, WRITTEN, Finding, every, function_name, not_portable, place_of
from kpi.engine.spark_sql import TRUNCATED, has_one_column, intervals, is_difference, is_type, membership
from kpi.errors import CompileError
from kpi.lazy import exp
from kpi.project.project import together

if TYPE_CHECKING:
    from kpi.engine.graph import Graph
    from kpi.sql import Columns


def check_for_spark(graph: Graph, columns: Mapping[str, Columns]) -> None:
    """Raise one CompileError with all that models and tests of the project may not have on Spark, each with its place.

    `columns` are those of every node by id. Nothing of Spark is needed.
    """
    mistakes: list[CompileError] = []
    with closing(Binder(graph.nodes, ())) as binder:
        binder.known.update(columns)
        for node in graph.nodes.values():
            if node.sql and node.kind in ("model", "snapshot", "test"):
                mistakes += _errors(node, _findings(binder, node))
    if mistakes:
        raise together(mistakes, graph.project.root)


def _findings(binder: Binder, node: Node) -> tuple[Finding, ...]:
    return remembered(lambda: refusals(node.sql, binder.plan(node)), "spark", node.sql, binder.inputs(node))


def _errors(node: Node, findings: tuple[Finding, ...]) -> Iterator[CompileError]:
    meta = node.config.get("meta")
    allow = meta.get("allow") if isinstance(meta, Mapping) else None
    allowed = {*allow} if isinstance(allow, Mapping) else set()
    for name in sorted(allowed & SPARK_RULES.keys() - {finding.rule for finding in findings}):
        yield CompileError(node.file, node.line, f"the exception '{name}' is not needed: nothing here breaks it.")
    if node.kind == "test":
        allowed.add("double_sum")
    for finding in findings:
        if finding.rule in allowed:
            continue
        message = f"{finding.message} [{finding.rule}]"
        line, column = node.lines.place(finding.offset)
        if node.test is not None and node.test.kind != "singular":
            line, column = node.line, 0
        yield CompileError(node.file, line, message, column, f"spark.{finding.rule}")


def refusals(select: str, plan: str = "") -> tuple[Finding, ...]:
    """Return what of a compiled SELECT Spark would count in another way, in order of place.

    `plan` is the JSON of DuckDB's plan of it, as not optimized; without one, nothing is said that needs types.
    """
    import sqlglot

    tree: Any = sqlglot.parse_one(select, dialect="duckdb")
    found = {(finding.rule, finding.offset): finding for finding in _of_tree(tree, select)}
    for rule, offset in _of_plan(plan, tree, select) if plan else ():
        found.setdefault((rule, offset), Finding(rule, offset, SPARK_RULES[rule].message))
    return tuple(sorted(found.values(), key=lambda finding: (finding.offset, finding.rule)))


# What the subset of the house rules leaves out and Spark has in the same meaning, or by a rule of translation.
_KNOWN = {"trunc", "typeof", "mod", "if", "ifnull", "md5", "round", "unnest", "bool_and", "bool_or"}


def _of_tree(tree: Any, sql: str) -> Iterator[Finding]:
    refused: set[int] = set()
    for node in every(tree):
        if id(node.parent) in refused:
            refused.add(id(node))
            continue
        if rule := _of_node(node, sql):
            refused.add(id(node))
            yield Finding(rule, place_of(node), SPARK_RULES[rule].message)
            continue
        for name, message in not_portable(node, sql):
            is_type_known = isinstance(node, exp.DataType) and is_type(node)
            if name not in _KNOWN and not is_type_known:
                refused.add(id(node))
                yield Finding(name, place_of(node), message)


def _of_node(node: Any, sql: str) -> str:
    check = _CHECKS.get(type(node).__name__)
    return check(node) if check else ("transcendental" if _is_transcendental(node, sql) else "")


def _is_transcendental(node: Any, sql: str) -> bool:
    return isinstance(node, exp.Func) and function_name(node, sql) in ("exp", "ln", "log", "log2", "log10", "power")


def _is_count(value: Any, least: int) -> bool:
    """Whether a number is a constant from `least`, or greatest() of one such and something else."""
    value = value.unnest()
    if isinstance(value, exp.Literal) and value.is_int:
        return int(value.name) >= least
    return isinstance(value, exp.Greatest) and any(_is_count(one, least) for one in (value.this, *value.expressions))


def _substring(node: Any) -> str:
    length = node.args.get("length")
    is_right = _is_count(node.args["start"], 1) and (length is None or _is_count(length, 0))
    return "" if is_right else "substring"


def _left_right(node: Any) -> str:
    return "" if _is_count(node.expression, 0) else "left_right"


def _like(node: Any) -> str:
    return "" if node.expression.unnest().is_string else "like_pattern"


_SIMPLE = re.compile(r"\^?(\w|[ ,;:/@#%&=<>!\"'~`_-]|\[\^?(\w|[ ,;:/@#%=.()-])+\]|[*+?](?![*+?]))*", re.ASCII)


def _regular_expression(node: Any) -> str:
    pattern, put = node.expression.unnest(), node.args.get("replacement")
    is_right = pattern.is_string and _SIMPLE.fullmatch(pattern.name) is not None
    is_right = is_right and put is not None and put.is_string and not set(put.name) & set("\\$")
    return "" if is_right else "regular_expression"


def _interval(node: Any) -> str:
    """Allowed where the rule of translation takes it: in cast(day ± … as date)."""
    above = node.parent
    while isinstance(above, exp.Mul | exp.Paren):
        above = above.parent
    if isinstance(above, exp.Add | exp.Sub) and intervals(above.expression) is not None:
        while isinstance(above.parent, exp.Paren):
            above = above.parent
        if isinstance(above.parent, exp.Cast) and above.parent.to.this == exp.DataType.Type.DATE:
            return ""
    return "" if isinstance(above, exp.GenerateSeries) else "interval"


def _series(node: Any) -> str:
    step = node.args.get("step")
    step = step.this if isinstance(step, exp.Neg) else step
    return "" if step is None or (isinstance(step, exp.Literal) and step.is_int) else "series"


def _truncation(node: Any) -> str:
    return "" if node.args["unit"].name.upper() in TRUNCATED else "truncation"


def _difference(node: Any) -> str:
    return "" if is_difference(node) else "difference"


def _having(select: Any) -> str:
    group = select.args.get("group")
    is_set = bool(select.args.get("having")) and group and group.find(exp.GroupingSets, exp.Cube, exp.Rollup)
    return "having_order" if is_set and (select.args.get("order") or select.args.get("limit")) else ""


def _in_select(node: Any) -> str:
    if node.args.get("query") is None:
        return ""
    stands = membership(node)
    is_right = stands.is_condition and (stands.is_alone or not stands.is_negative or has_one_column(node))
    return "" if is_right else "in_select"


_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "Upper": lambda node: "letter_case",
    "Lower": lambda node: "letter_case",
    "Pow": lambda node: "transcendental",
    "AtTimeZone": lambda node: "time_zone",
    "TimeToStr": lambda node: "strftime",
    "Substring": _substring,
    "Left": _left_right,
    "Right": _left_right,
    "Like": _like,
    "RegexpReplace": _regular_expression,
    "Interval": _interval,
    "In": _in_select,
    "GenerateSeries": _series,
    "TimestampTrunc": _truncation,
    "DateTrunc": _truncation,
    "DateDiff": _difference,
    "Select": _having,
    "Grouping": lambda node: "grouping" if len(node.expressions) > 1 else "",
}

_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_FRACTIONS = ("DECIMAL", "DOUBLE")
_FOREIGN = re.compile(
    r"FLOAT|TIME$|TIME |TIMESTAMP.+|UUID|BLOB|BIT$|ENUM|MAP|UNION|U(TINY|SMALL|BIG|HUGE)?INT|UINTEGER"
)
# What these yield is whole, however it is cast.
_CUT = ("trunc", "floor", "ceil")
# From so many decimals on DuckDB's product of binary digits and Spark's printed digits are the same when rounded to
# six decimals, of values that have fifteen digits or less.
_EXACT_SCALE = 9
_AGGREGATES = {
    ("avg", "DECIMAL"): "decimal_average",
    ("avg", "DOUBLE"): "double_average",
    ("sum", "DOUBLE"): "double_sum",
    ("median", "DECIMAL"): "median",
    ("median", "DOUBLE"): "median",
}


def _of_plan(plan: str, tree: Any, sql: str) -> Iterator[tuple[str, int]]:
    """The rules that a plan's typed functions break, and where in the SQL."""
    encoded = sql.encode()

    def offset(part: Mapping[str, Any]) -> int:
        start = int(part.get("query_location", 0))
        return len(encoded[:start].decode(errors="ignore")) if start <= len(encoded) else 0

    for part in _parts(json.loads(plan)):
        kinds = [one["id"] for one in part.get("arguments") or ()]
        name = _function_of(part)
        if _FOREIGN.match((part.get("return_type") or {}).get("id") or ""):
            yield "type", offset(part)
        elif part["expression_class"] in ("BOUND_AGGREGATE", "BOUND_WINDOW") and kinds:
            if rule := _AGGREGATES.get((name, kinds[0])):
                yield rule, _place_of_aggregate(tree, name, part)
        elif name == "__cast":
            start, length = int(part["query_location"]), int(part["query_location_length"])
            text = encoded[start : start + length].decode(errors="ignore") if start <= len(encoded) else ""
            if rule := _of_cast(part, text):
                yield rule, offset(part)
        elif rule := _of_function(name, kinds):
            yield rule, offset(part)


def _of_function(name: str, kinds: list[str]) -> str:
    is_fraction = any(kind in _FRACTIONS for kind in kinds)
    if name == "-" and len(kinds) == 2 and {*kinds} <= {"DATE", "TIMESTAMP"}:
        return "date_minus_date"
    if name == "//" and is_fraction:
        return "integer_division"
    return "double_rounding" if name == "round" and kinds[0] == "DOUBLE" else ""


def _of_cast(cast: Mapping[str, Any], text: str) -> str:
    given, wanted = cast["arguments"][0], cast["return_type"]
    child = cast["children"][0]
    if given["id"] in _FRACTIONS and _WHOLE.fullmatch(wanted["id"]):
        is_whole = given["id"] == "DECIMAL" and not given["type_info"]["scale"]
        is_cut = _function_of(child) in (*_CUT, "round")
        return "" if is_whole or is_cut else "integer_cast"
    if given["id"] == "DOUBLE" and wanted["id"] == "DECIMAL":
        is_whole = _function_of(child) in _CUT
        return "" if is_whole or wanted["type_info"]["scale"] >= _EXACT_SCALE else "double_to_decimal"
    if given["id"] == wanted["id"] == "DECIMAL":
        is_cut = given["type_info"]["scale"] > wanted["type_info"]["scale"]
        return "mixed_decimals" if is_cut and not WRITTEN.match(text) else ""
    is_read = given["id"] == "VARCHAR" and wanted["id"] not in ("VARCHAR", "NULL", "ANY")
    return "text_cast" if is_read and child["expression_class"] != "BOUND_CONSTANT" else ""


def _function_of(part: Mapping[str, Any]) -> str:
    return str(((part.get("qname") or {}).get("path") or [""])[-1])


def _parts(plan: Any) -> Iterator[Mapping[str, Any]]:
    """Every expression of a plan."""
    stack = [plan]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if "expression_class" in part:
                yield part
            stack += part.values()
        elif isinstance(part, list):
            stack += part


def _place_of_aggregate(tree: Any, name: str, part: Mapping[str, Any]) -> int:
    """Where an aggregate stands: the plan tells no place of it, but the column that it is of."""
    kinds = {"avg": exp.Avg, "sum": exp.Sum, "median": exp.Median}
    found = [node for node in every(tree) if isinstance(node, kinds[name])]
    alias = next((child.get("alias") for child in part["children"]), "")
    same = [node for node in found if isinstance(node.this, exp.Column) and node.this.name == alias]
    return min((place_of(node) for node in same or found), default=0)
