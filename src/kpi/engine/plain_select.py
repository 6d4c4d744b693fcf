"""SELECTs in which there is nothing to refuse, as DuckDB's own parser sees them: a fifth of what sqlglot takes.

A SELECT is plain when it is made of words, signs and parts that are named here, reads what it got from ref() and
source(), and breaks no house rule. Of any other one sqlglot says what it is and what is wrong with it, in which words
and where: what is not sure here is left to it.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from kpi.database import duckdb, parser
from kpi.engine.lint import FUNCTIONS, IN_MACROS, LONGEST, MOST_JOINS, Finding, too_many_joins, unlisted
from kpi.project.relation import Lines
from kpi.sql import literal


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Blanks and comments; words (two that sqlglot reads as one are one); texts, names in quotes, numbers and signs.
TOKENS = re.compile(
    r"""[ \t\n]+|--[^\n]*|/\*(?!\+)(?:[^*/]|\*(?!/)|/(?!\*))*\*/"""
    r"""|(?:(?i:group|order|partition)[ \t\n]+(?i:by)|(?i:grouping)[ \t\n]+(?i:sets)|(?a:[A-Za-z_]\w*))(?![\w'"$])"""
    r"""|'(?:[^'\\]|'')*'(?!['"\w])|"(?:[^"\\]|"")+"(?!['"\w])|[0-9]+(?:\.[0-9]+)?(?:[eE][0-9]+)?(?![\w.'"$])"""
    r"""|(?:<>|!=|<=|>=|\|\||[-+*/%<=>])(?![-+*/%<=>|!@~^&#?`])|::(?!:)|\.(?![\d.])|[(),]"""
)
# Words of SQL that may be in a plain SELECT; of all others that DuckDB or sqlglot knows, none.
WORDS = _set(
    """
    all and as asc between by case cast coalesce cross cube desc distinct else end except exists false filter from full
    having in inner intersect is join left like limit not null nullif on or outer over qualify right rollup row rows
    select then true union unnest using when where with grouping bigint int integer smallint double decimal varchar text
    boolean date timestamp timestamptz interval
    """
)
OTHER_WORDS = _set(
    """
    alter analyse analyze anti any apply array asof asymmetric at attach authorization auto_increment autoincrement
    begin bigdecimal bignum bignumeric binary bit bitstring blob bool both bpchar byte bytea cache call char character
    check clob cluster collate collation column columns comment commit concurrently connect connect_by_root constraint
    copy create current_catalog current_date current_datetime current_role current_schema current_time
    current_timestamp current_user database datemultirange daterange datetime dec decfloat decimal128 decimal256
    decimal32 decimal64 default deferrable delete describe detach disconnect distribute div do drop enum escape execute
    explain extract fetch first fixed float float4 float8 for force foreign format freeze function generated geography
    geometry glob grant group grouping_id hugeint if ilike index inet initially inout insert install int1 int128 int16
    int2 int256 int32 int4 int4multirange int4range int64 int8 int8multirange int8range into isnull json jsonb keep
    kill lambda lateral leading load localtime localtimestamp lock logical long longblob longtext longvarchar macro map
    materialized mediumblob mediumint mediumtext merge namespace national natural nchar next none notnull nullable
    numeric nummultirange numrange nvarchar nvarchar2 object offset only operator optimize order ordinality out
    overlaps overlay overwrite partition partitioned partitioned_by percent pivot pivot_longer pivot_wider placing
    position positional pragma precision prepare primary procedure range real recursive ref references regexp
    rename reset returning revoke rlike rollback schema security semi sequence session session_user set setof sets
    settings short show signed similar some sql str straight_join struct substring summarize symmetric table
    tablesample temp temporary time time_ns timestamp_ltz timestamp_ms timestamp_ns timestamp_ntz timestamp_s
    timestamp_us timestampltz timestampntz timetz tinyblob tinyint tinytext to trailing treat trigger trim truncate
    try_cast tsmultirange tsrange tstzmultirange tstzrange tuple ubigint uhugeint uint uint128 uint256 uinteger uncache
    unique unpack unpivot update use usmallint utinyint uuid vacuum values varbinary varchar2 variadic variant varying
    vector verbose view volatile xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi
    xmlroot xmlserialize xmltable xor
    """
)
# Functions, with the fewest and the most arguments that sqlglot lets each have here.
CALLS = {
    **dict.fromkeys(("avg", "exp", "length", "ln", "lower", "max", "median", "min", "sqrt", "sum", "upper"), (1, 1)),
    **dict.fromkeys(("abs", "day", "hour", "isodow", "last_day", "minute", "month", "quarter", "year"), (1, 1)),
    **dict.fromkeys(("count", "first_value", "last_value", "ntile", "typeof", "md5", "trunc", "getvariable"), (1, 1)),
    **dict.fromkeys(("left", "nullif", "power", "right", "starts_with", "date_trunc"), (2, 2)),
    **dict.fromkeys(("round", "lag", "lead"), (1, 2)),
    **dict.fromkeys(("date_diff", "make_date", "replace"), (3, 3)),
    **dict.fromkeys(("dense_rank", "rank", "row_number"), (0, 0)),
    **dict.fromkeys(("coalesce", "greatest", "grouping", "least"), (1, 99)),
}
# Words of SQL that a bracket may follow without a call.
_BEFORE_BRACKETS = _set(
    """
    all and as between by case cast cube distinct else except exists filter from having in intersect join like limit
    not on or over qualify rollup select then union using when where with decimal is unnest generate_series
    """
) | {"group by", "order by", "partition by", "grouping sets"}
_ALWAYS = frozenset(("class", "type", "query_location", "query_location_length", "alias"))
_ORDER = frozenset(("null_order", "expression"))
_BINARY = frozenset(("left", "right"))
_CHILDREN = frozenset(("children",))
_WINDOW = _set("function_name partitions orders start end start_expr end_expr arguments qualified_name")
# Parts of DuckDB's tree by their type, and what each may have besides its type, place and alias.
_PARTS: dict[str | None, frozenset[str]] = {
    None: frozenset(("expression", "when_expr", "then_expr", "orders", "kind", "text", "node")),
    "COLUMN_REF": frozenset(("column_names",)),
    "VALUE_CONSTANT": frozenset(("literal",)),
    "FUNCTION": frozenset(
        ("function_name", "order_bys", "arguments", "qualified_name", "is_operator", "filter", "distinct")
    ),
    "OPERATOR_CAST": frozenset(("child", "type_expr")),
    "TYPE": frozenset(("type_name", "qualified_name", "children")),
    "CASE_EXPR": frozenset(("case_checks", "else_expr")),
    "STAR": frozenset(),
    "SUBQUERY": frozenset(("subquery_type", "subquery", "comparison_type", "child")),
    "COMPARE_BETWEEN": frozenset(("input", "lower", "upper")),
    **dict.fromkeys(("ORDER_DEFAULT", "ASCENDING", "DESCENDING"), _ORDER),
    **dict.fromkeys(("COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_LESSTHAN", "COMPARE_GREATERTHAN"), _BINARY),
    **dict.fromkeys(("COMPARE_LESSTHANOREQUALTO", "COMPARE_GREATERTHANOREQUALTO"), _BINARY),
    **dict.fromkeys(("COMPARE_NOT_DISTINCT_FROM", "COMPARE_DISTINCT_FROM"), _BINARY),
    **dict.fromkeys(("CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_NOT", "OPERATOR_COALESCE"), _CHILDREN),
    **dict.fromkeys(("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "GROUPING_FUNCTION"), _CHILDREN),
    **dict.fromkeys(("WINDOW_AGGREGATE", "WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE"), _WINDOW),
    **dict.fromkeys(("WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTILE"), _WINDOW),
    **dict.fromkeys(("WINDOW_LAG", "WINDOW_LEAD"), _WINDOW | {"offset_expr", "default_expr"}),
    "SELECT_NODE": _set("cte_map select_list from_table aggregate_handling where_clause modifiers group_expressions")
    | {"group_sets", "having", "qualify"},
    "SET_OPERATION_NODE": frozenset(("cte_map", "setop_type", "children", "setop_all", "modifiers")),
    "ORDER_MODIFIER": frozenset(("orders",)),
    "DISTINCT_MODIFIER": frozenset(),
    "LIMIT_MODIFIER": frozenset(("limit",)),
    "BASE_TABLE": frozenset(("schema_name", "table_name", "qualified_name")),
    "JOIN": frozenset(("left", "right", "condition", "join_type", "ref_type", "using_columns", "is_implicit")),
    "EMPTY": frozenset(),
}
_JOINS = {("INNER", "REGULAR"), ("LEFT", "REGULAR"), ("RIGHT", "REGULAR"), ("FULL", "REGULAR"), ("INNER", "CROSS")}
_TYPES = _set("bigint int integer smallint double varchar text string boolean date timestamp timestamptz")
_TREE = "select json_serialize_sql($1, skip_null := true, skip_empty := true, skip_default := true)"


class _NotPlainError(Exception):
    """There is something in a SELECT that sqlglot has to look at."""


# Functions that DuckDB's parser writes for other words, such as `interval 1 day`.
_UNWRITTEN = frozenset(("count_star", "to_days", "to_months", "to_years"))
_OF_MACROS = re.compile(rf"\b({'|'.join(sorted(IN_MACROS & CALLS.keys()))})\b", re.IGNORECASE)
_INTERVAL = re.compile(r"\binterval\b", re.IGNORECASE)
_MOVED_DATE = re.compile(r"cast\((?:[a-z_]\w*\.)?([a-z_]\w*)\b", re.IGNORECASE)


class Plain(NamedTuple):
    """The hash of the words of a plain SELECT, where the first of them begins, and the house rules it breaks."""

    shape: str
    start: int
    findings: tuple[Finding, ...]


def plain_select(sql: str, tables: Collection[tuple[str, ...]], lines: Lines, is_judged: bool) -> Plain | None:
    """Return what a plain SELECT is; None when it is not plain.

    `tables` are those it may read, by schema and name or by name. With `is_judged` it breaks no house rule but those
    that are of its calls and joins.
    """
    pieces = TOKENS.findall(sql)
    words = [piece for piece in pieces if piece[0] not in " \t\n" and not piece.startswith(("--", "/*"))]
    small = [" ".join(word.lower().split()) if word[0] in "gGoOpP" else word.lower() for word in words]
    if not words or sum(map(len, pieces)) < len(sql) or not OTHER_WORDS.isdisjoint(small) or not _are_calls(small):
        return None
    if is_judged and not (_is_short(sql, lines) and _are_spaced(pieces) and _is_of_macros(sql, lines)):
        return None
    try:
        tree = json.loads(_parser().execute(f"execute kpi_tree({literal(sql)})").fetchall()[0][0])
        select = _Walk(tables, is_judged)
        for statement in tree["statements"]:
            select.query(statement["node"], {})
        # Of these words each stands for a cast, a CTE, a window, or a name.
        others = sum(pair in (("cast", "("), ("as", "(")) for pair in pairwise(small))
        if is_judged and select.names != small.count("as") - others:
            return None
        findings = sorted(_findings(sql, pieces, select.joins), key=lambda one: one.offset) if is_judged else []
    except (_NotPlainError, duckdb.Error, RecursionError, LookupError):
        return None
    return Plain(
        shape=hashlib.blake2b("".join(f"\n{word}" for word in words).encode(), digest_size=16).hexdigest(),
        start=sum(map(len, pieces[: pieces.index(words[0])])),
        findings=tuple(replace(one, place=lines.place(one.offset)) for one in findings),
    )


def _findings(sql: str, pieces: list[str], joins: list[int]) -> Iterator[Finding]:
    """The calls that are outside the portable subset, and too many joins, which are at these bytes.

    What is inside such a call is not reported as well. Raises _NotPlainError where there would be something.
    """
    depth, refused = 0, -1
    for (name, offset), (after, _) in pairwise(_places(pieces)):
        depth += (name == "(") - (name == ")")
        refused = refused if depth > refused or name != ")" else -1
        if after == "(" and name in CALLS and name not in FUNCTIONS and name not in IN_MACROS:
            if refused >= 0:
                raise _NotPlainError
            refused = depth
            yield Finding(name, offset, unlisted(name))
    if len(joins) > MOST_JOINS:
        if -1 in joins:  # of what is joined there sqlglot has the place
            raise _NotPlainError
        place = len(sql.encode()[: sorted(joins)[MOST_JOINS]].decode())
        yield Finding("joins", place, too_many_joins(len(joins)))


def _places(pieces: list[str]) -> Iterator[tuple[str, int]]:
    """The words and signs, in small letters, with where each begins."""
    offset = 0
    for piece in pieces:
        if piece[0] not in " \t\n" and not piece.startswith(("--", "/*")):
            yield piece.lower(), offset
        offset += len(piece)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """The connection that reads SQL, its question prepared: to plan that takes as long as to read a small model."""
    con = parser()
    con.execute(f"prepare kpi_tree as {_TREE}")
    return con


def _are_calls(words: list[str]) -> bool:
    """Whether nothing is called but functions that are named here, and no text is written in two parts."""
    for one, after in pairwise(words):
        if after == "(" and (one[0].isalpha() or one[0] in '_"') and one not in CALLS and one not in _BEFORE_BRACKETS:
            return False
        if one[0] == after[0] == "'":
            return False
    return True


def _is_short(sql: str, lines: Lines) -> bool:
    return lines.at(len(sql) - 1) <= LONGEST


def _are_spaced(pieces: list[str]) -> bool:
    """Whether each `as` has blanks around it, and a name after them."""
    return all(
        pieces[place] in ("as", "AS", "As")
        and pieces[place - 1].isspace()
        and pieces[place + 1].isspace()
        and not pieces[place + 2].startswith(("--", "/*"))
        for place, piece in enumerate(pieces[:-2])
        if len(piece) == 2 and piece.lower() == "as"
    )


def _is_of_macros(sql: str, lines: Lines) -> bool:
    """Whether what only macros may have is theirs."""
    if any(lines.is_own(found.start()) for found in _OF_MACROS.finditer(sql)):
        return False
    for found in _INTERVAL.finditer(sql):
        if lines.is_own(found.start()):
            return False
        start = lines.starts[bisect_right(lines.starts, found.start()) - 1]
        moved = _MOVED_DATE.match(_bracket_around(sql[start : found.start()]))
        if moved is None or moved[1].lower() in WORDS:
            return False
    return True


def _bracket_around(before: str) -> str:
    """What stands before a word in the bracket it is in, with `cast` before it: sqlglot knows where its names are."""
    depth = 0
    for place in range(len(before) - 1, 3, -1):
        depth += (before[place] == ")") - (before[place] == "(")
        if depth < 0 or before[place] == "'":
            return before[place - 4 :]
    return ""


@dataclass(slots=True)
class _Cte:
    is_read: bool = False


class _Walk:
    """Goes through DuckDB's tree of a SELECT, collects where its joins are and counts the names that `as` gives in it.

    Raises _NotPlainError for what is not plain.
    """

    def __init__(self, tables: Collection[tuple[str, ...]], is_judged: bool) -> None:
        self._tables, self._is_judged = tables, is_judged
        self.names, self.joins = 0, list[int]()

    def query(self, node: Any, around: Mapping[str, _Cte], is_cte: bool = False) -> list[str]:
        """Look at a SELECT, or several united, that sees the CTEs around it; returns the names of its columns."""
        self._check(node)
        known, own = dict(around), []
        for entry in node["cte_map"].get("map", ()):
            name, value = entry["key"].lower(), entry["value"]
            if (
                name in known
                or name in WORDS
                or value.keys() - {"materialized", "query_node"}
                or "query_node" not in value
            ):
                raise _NotPlainError
            if value.get("materialized", "CTE_MATERIALIZE_DEFAULT") != "CTE_MATERIALIZE_DEFAULT":
                raise _NotPlainError
            self.query(value["query_node"], known, is_cte=True)
            known[name] = _Cte()
            own.append(known[name])
        if node["type"] == "SELECT_NODE":
            names = self._select(node, known, is_cte)
        elif node["type"] == "SET_OPERATION_NODE":
            names = self._united(node, known)
        else:
            raise _NotPlainError
        for modifier in node.get("modifiers", ()):
            self._part(modifier, known)
        if self._is_judged and not all(cte.is_read for cte in own):
            raise _NotPlainError
        return names

    def _select(self, node: Any, known: Mapping[str, _Cte], is_cte: bool) -> list[str]:
        selected, table = node["select_list"], node["from_table"]
        if node.get("aggregate_handling") != "STANDARD_HANDLING" or (self._is_judged and "qualify" in node):
            raise _NotPlainError
        if self._is_judged and any(one["type"] == "STAR" for one in selected):
            others = node.keys() - {"type", "cte_map", "select_list", "from_table", "aggregate_handling"}
            if not is_cte or others or node["cte_map"] or len(selected) > 1 or table["type"] != "BASE_TABLE":
                raise _NotPlainError
        if len(selected) == 1 and table["type"] == "EMPTY" and selected[0].get("function_name") == "unnest":
            self._calendar(selected[0], known)
        else:
            for one in selected:
                self._part(one, known)
        self._table(table, known)
        for name in ("where_clause", "having", "qualify", "group_expressions"):
            self._part(node.get(name), known)
        return [_name_of(one) for one in selected]

    def _calendar(self, unnest: Any, known: Mapping[str, _Cte]) -> None:
        """The one way in which unnest() is plain: on its own, of a generate_series()."""
        series = unnest["arguments"][0]["expression"]
        if len(unnest["arguments"]) > 1 or series.get("function_name") != "generate_series":
            raise _NotPlainError
        self.names += "alias" in unnest
        for one in series["arguments"]:
            self._part(one, known)

    def _united(self, node: Any, known: Mapping[str, _Cte]) -> list[str]:
        sides = [self.query(one, known) for one in node["children"]]
        if node["setop_type"] not in ("UNION", "EXCEPT", "INTERSECT"):
            raise _NotPlainError
        if self._is_judged and any(side != sides[0] and not _are_others(side, sides[0]) for side in sides[1:]):
            raise _NotPlainError
        return sides[0]

    def _table(self, table: Any, known: Mapping[str, _Cte]) -> None:
        self._check(table)
        kind = table["type"]
        self.names += "alias" in table
        if kind == "BASE_TABLE":
            parts = tuple(table["qualified_name"]["path"])
            cte = known.get(parts[0].lower()) if len(parts) == 1 else None
            if cte is not None:
                cte.is_read = True
            elif parts not in self._tables or len(parts) > 2 or parts[-1].lower() in WORDS:
                raise _NotPlainError
        elif kind == "JOIN":
            self.joins.append(table["right"]["query_location"] if table["right"]["type"] == "BASE_TABLE" else -1)
            if (table["join_type"], table["ref_type"]) not in _JOINS:
                raise _NotPlainError
            self._table(table["left"], known)
            self._table(table["right"], known)
            self._part(table.get("condition"), known)
        elif kind == "SUBQUERY":
            self.query(table["subquery"]["node"], known)
        elif kind != "EMPTY":
            raise _NotPlainError

    def _part(self, part: Any, known: Mapping[str, _Cte]) -> None:
        """Look at a part of an expression, and at what is in it."""
        if type(part) is list:
            for one in part:
                self._part(one, known)
        elif type(part) is dict:
            self._check(part)
            kind = part.get("type")
            self.names += "alias" in part
            if kind == "SUBQUERY":
                self.query(part["subquery"]["node"], known)
                self._part(part.get("child"), known)
                return
            if kind in _QUESTIONS:
                _QUESTIONS[kind](part, self._is_judged)
            for name, value in part.items():
                if name not in _LEAVES:
                    self._part(value, known)

    def _check(self, part: Any) -> None:
        """Whether a part is named here, and all that it has."""
        allowed = _PARTS.get(part.get("type"))
        if allowed is _CHILDREN and "children" not in part:
            raise _NotPlainError
        if allowed is None or not part.keys() <= allowed | _ALWAYS or part.get("alias", "").lower() in WORDS:
            raise _NotPlainError


def _column(column: Any, is_judged: bool) -> None:
    names = column["column_names"]
    if len(names) > 2 or any(name.lower() in WORDS for name in names):
        raise _NotPlainError


def _star(star: Any, is_judged: bool) -> None:
    if "query_location" not in star or "alias" in star:
        raise _NotPlainError


def _limit(limit: Any, is_judged: bool) -> None:
    if limit["limit"].get("literal", {}).get("kind") != "INTEGER":
        raise _NotPlainError


def _type(kind: Any, is_judged: bool) -> None:
    name = kind["type_name"].lower()
    if name not in _TYPES and not (name == "decimal" and len(kind.get("children", ())) == 2):
        raise _NotPlainError


def _function(call: Any, is_judged: bool) -> None:
    name, given = call["function_name"].lower(), [one["expression"] for one in call.get("arguments", ())]
    if call.get("is_operator"):
        if len(given) != 2 and not (name == "-" and given):
            raise _NotPlainError
        if is_judged and name in ("/", "%") and not _is_never_zero(given[1]):
            raise _NotPlainError
    elif name not in _UNWRITTEN:
        fewest, most = CALLS[name]
        if not fewest <= len(given) <= most or call.get("order_bys", {}).get("orders"):
            raise _NotPlainError
        if name == "round" and is_judged and not _is_decimal(given[0]):
            raise _NotPlainError


def _is_never_zero(value: Any) -> bool:
    match value["type"]:
        case "VALUE_CONSTANT":
            literal = value["literal"]
            return literal["kind"] in ("INTEGER", "NUMERIC") and float(literal["text"]) != 0
        case "OPERATOR_CAST":
            return _is_never_zero(value["child"])
        case "FUNCTION" if value["function_name"].lower() == "nullif":
            zero = value["arguments"][1]["expression"].get("literal", {})
            return zero.get("kind") in ("INTEGER", "NUMERIC") and float(zero["text"]) == 0
        case _:
            return False


def _is_decimal(value: Any) -> bool:
    return value["type"] == "OPERATOR_CAST" and str(value["type_expr"]["type_name"]).lower() == "decimal"


def _name_of(selected: Any) -> str:
    """The name of a column that is selected, in small letters; empty when it has none by itself."""
    return str(selected.get("alias") or (selected.get("column_names") or [""])[-1]).lower()


def _are_others(first: list[str], second: list[str]) -> bool:
    """Whether neither side of a union is the other in another order, as far as all have names."""
    return "" not in first and "" not in second and sorted(first) != sorted(second)


_QUESTIONS: dict[str | None, Callable[[Any, bool], None]] = {
    "COLUMN_REF": _column,
    "STAR": _star,
    "TYPE": _type,
    "LIMIT_MODIFIER": _limit,
    **{kind: _function for kind in _PARTS if kind and (kind == "FUNCTION" or kind.startswith("WINDOW_"))},
}
_LEAVES = _ALWAYS | {"function_name", "qualified_name", "column_names", "literal", "start", "end", "type_name"}
