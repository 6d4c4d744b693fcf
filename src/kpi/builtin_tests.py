"""dbt's four generic data tests as SQL that selects the rows that fail, and as counts for one scan of their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kpi.errors import CompileError
from kpi.model import Node
from kpi.names import identifier, literal
from kpi.properties import TestSpec


def _not_null(table: str, column: str, test: TestSpec, parent: str) -> str:
    return f"select * from {table} as judged where {column} is null"


def _unique(table: str, column: str, test: TestSpec, parent: str) -> str:
    return (
        f"select {column}, count(*) as n_records from {table} as judged where {column} is not null"
        f" group by {column} having count(*) > 1"
    )


def _accepted_values(table: str, column: str, test: TestSpec, parent: str) -> str:
    values = ", ".join(accepted(test))
    return (
        f"select {column}, count(*) as n_records from {table} as judged where {column} not in ({values})"
        f" group by {column}"
    )


def _relationships(table: str, column: str, test: TestSpec, parent: str) -> str:
    key = identifier(test.arguments["field"])
    return (
        f"select judged.{column} from {table} as judged left join (select distinct {key} as parent_key from {parent})"
        f" as parents on parents.parent_key = judged.{column}"
        f" where judged.{column} is not null and parents.parent_key is null"
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
        if value is None or isinstance(value, list | dict):
            told = "a null always passes, leave it out" if value is None else "a value is a text or a number"
            raise CompileError(test.file, test.line, f"accepted_values: {told}.")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found.append(literal(text) if quote else text)
    return found


def counted(test: Node) -> str:
    """SQL that counts a test's failing rows in one scan with others of its table; empty when it needs a query alone.

    It is zero exactly when the test's own SQL selects no row, and may be another number else.
    """
    spec = test.test
    if spec is None or spec.where or not spec.column:
        return ""
    column = identifier(spec.column)
    match spec.kind:
        case "not_null":
            return f"count(*) - count({column})"
        case "unique":
            return f"count({column}) - count(distinct {column})"
        case "accepted_values":
            return f"count(*) filter (where {column} not in ({', '.join(accepted(spec))}))"
        case _:
            return ""
