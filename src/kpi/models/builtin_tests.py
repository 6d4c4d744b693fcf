"""dbt's four generic data tests as SQL that selects the rows that fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kpi.base.errors import CompileError
from kpi.base.names import identifier, literal
from kpi.base.sqltext import expression_problem
from kpi.parse.properties import TestSpec


def _not_null(table: str, column: str, test: TestSpec, parent: str) -> str:
    return f"select {column} from {table} where {column} is null"


def _unique(table: str, column: str, test: TestSpec, parent: str) -> str:
    return (
        f"select {column} as unique_field, count(*) as n_records from {table} where {column} is not null"
        f" group by 1 having count(*) > 1"
    )


def _accepted_values(table: str, column: str, test: TestSpec, parent: str) -> str:
    values = ", ".join(accepted(test))
    return (
        f"select {column} as value_field, count(*) as n_records from {table} where {column} not in ({values})"
        f" group by 1"
    )


def _relationships(table: str, column: str, test: TestSpec, parent: str) -> str:
    key = identifier(test.arguments["field"])
    return (
        f"with judged as (select {column} as from_field from {table} where {column} is not null),"
        f" parents as (select distinct {key} as to_field from {parent})"
        f" select from_field from judged left join parents on from_field = to_field where to_field is null"
    )


_Make = Callable[[str, str, TestSpec, str], str]
GENERIC: Mapping[str, tuple[_Make, tuple[str, ...], tuple[str, ...]]] = {
    "not_null": (_not_null, (), ()),
    "unique": (_unique, (), ()),
    "accepted_values": (_accepted_values, ("values",), ("quote",)),
    "relationships": (_relationships, ("to", "field"), ()),
}


def accepted(test: TestSpec) -> list[str]:
    """The values of accepted_values as SQL. Raises CompileError when they are no list of values."""
    values, quote = test.arguments["values"], test.arguments.get("quote", True)
    if not isinstance(values, list) or not values:
        raise CompileError(test.file, test.line, "accepted_values needs 'values', a list.")
    if not isinstance(quote, bool):
        raise CompileError(test.file, test.line, f"quote is true or false, not '{quote}'.")
    found = []
    for value in values:
        if isinstance(value, list | dict):
            raise CompileError(test.file, test.line, "accepted_values: a value is a text or a number.")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not quote and (problem := expression_problem(text, tables=False)):
            raise CompileError(test.file, test.line, f"accepted_values: '{text[:100]}' {problem}.")
        found.append(literal(text) if quote else text)
    return found
