"""Values of seeds that do not have the type of their column, or lose something to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import check_columns
from plain_project import compiled

BLANK = "which is no {}: leave the cell empty, or name another type of the column under column_types."


def mistakes(root: Path, seed: str, kind: str = "", house_rules: bool = False) -> list[str]:
    types = f", column_types: {{x: '{kind}'}}" if kind else ""
    config = f"meta: {{house_rules: {'true' if house_rules else 'false'}}}{types}"
    graph = compiled(root, {"seeds/a.csv": seed, "seeds/a.yml": f"seeds:\n  - name: a\n    config: {{{config}}}\n"})
    return [*map(str, check_columns(graph)[1]), *graph.notes]


def error_of(root: Path, seed: str, kind: str = "") -> str:
    from kpi.errors import KpiError

    with pytest.raises(KpiError) as caught:
        mistakes(root, seed, kind)
    return str(caught.value)


BLANKS = {
    "a column of blanks": ("id,x\n1, \n2,  \n", "", 2, "' '", "INTEGER"),
    "a blank among numbers": ("id,x\n1,5\n2,  \n", "", 3, "'  '", "INTEGER"),
    "a tab": ("id,x\n1,5\n2,\t\n", "", 3, r"'\t'", "INTEGER"),
    "a blank in quotes": ('id,x\n1,5.5\n2," "\n', "", 3, "' '", "DOUBLE"),
    "a no-break space": ("id,x\n1,5\n2,\u00a0\n", "", 3, r"'\xa0'", "INTEGER"),
    "a blank among days": ("id,x\n1,2025-01-01\n2, \n", "", 3, "' '", "DATE"),
    "a declared type": ("id,x\n1, \n", "timestamp", 2, "' '", "TIMESTAMP"),
    "after a cell of two lines": ('id,x,y\n1,2,"a\nb"\n2, ,c\n', "", 4, "' '", "INTEGER"),
    "after a blank line": ("id,x\n\n1, \n", "bigint", 3, "' '", "BIGINT"),
}


@pytest.mark.parametrize(("seed", "kind", "line", "value", "type_"), BLANKS.values(), ids=BLANKS)
def test_a_blank_where_a_value_should_be(
    tmp_path: Path, seed: str, kind: str, line: int, value: str, type_: str
) -> None:
    expected = f"seeds/a.csv:{line}: column 'x' of the seed 'a' holds blanks, {value}, {BLANK.format(type_)}"
    assert error_of(tmp_path, seed, kind) == expected


def test_a_value_that_is_none_of_its_type(tmp_path: Path) -> None:
    message = error_of(tmp_path, "id,x\n1,2025-01-01\n2,2025-02-30\n")
    assert message == "seeds/a.csv:3: column 'x' of the seed 'a': '2025-02-30' is no DATE."


LOST = {
    "a fraction of a whole number": ("1.5", "integer", "'1.5' of column 'x' is no integer: it would be rounded"),
    "cents": ("1.25", "decimal(4, 1)", "'1.25' of column 'x' is no decimal(4, 1): it would be rounded"),
    "an exponent": ("15e-1", "bigint", "'15e-1' of column 'x' is no bigint: it would be rounded"),
}


@pytest.mark.parametrize(("value", "kind", "message"), LOST.values(), ids=LOST)
def test_what_a_declared_type_would_round_is_told(tmp_path: Path, value: str, kind: str, message: str) -> None:
    """dbt rounds it without a word: so it is a note, and a mistake in a project with house rules."""
    seed = f"id,x\n1{value},2\n2,{value}\n"  # the same signs in another cell are not it
    assert mistakes(tmp_path, seed, kind) == [f"seeds/a.csv:3: {message}."]
    with pytest.raises(Exception, match="it would be rounded"):
        mistakes(tmp_path, seed, kind, house_rules=True)


@pytest.mark.parametrize(("value", "kind"), [("1.0", "integer"), ("1.50", "decimal(4, 1)"), ("1.5", "double")])
def test_what_loses_nothing_is_not_told(tmp_path: Path, value: str, kind: str) -> None:
    assert mistakes(tmp_path, f"id,x\n1,{value}\n", kind, house_rules=True) == []
