"""What a plan says of columns is what DuckDB says when it is asked for them alone."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from kpi.database import columns_of, confined
from kpi.engine.binder import _AROUND, _PLANS, columns_in

TABLE = (
    "a integer, b decimal(10, 2), c varchar, d timestamptz, e json, f enum('x', 'y'), g integer[], h struct(a int),"
    ' i "NULL", j double, k date, l boolean, "Ä b" hugeint, a_1 time, "expressions"":[" bigint'
)


@pytest.fixture(scope="module", name="con")
def opened() -> Iterator[duckdb.DuckDBPyConnection]:
    with confined({"errors_as_json": "true", "threads": "1"}) as con:
        con.execute(f"create table t ({TABLE})")
        yield con


@pytest.mark.parametrize(
    ("select", "is_said"),
    [
        *((f"select {name} from t", True) for name in ("a", "b", "c", "j", "k", "l", '"Ä b"', '"expressions"":["')),
        *((f"select {name} from t", False) for name in ("d", "e", "f", "g", "h", "i", "null as x", "[] as y")),
        ("select a, c as x, count(*), sum(b) as total from t group by all order by x desc limit 3 -- more", True),
        ("select 1 as x, 2.50 as y, 1e5 as z, 10000000000 as v, 'a' as w, true and null as q, null + 1 as r", True),
        ("with q as (from t select a, j) select q.a as x, t.j / 2 from q join t using (a) union select 1, 2.5", True),
        ("select a as a_1, a as x from t", True),
        *((one, False) for one in ("select a, a from t", "select 1 as x, 2 as X", "select a as a_1, a, a from t")),
        *(
            (one, False)
            for one in ("select a, a_1 from t", "select nothing from t", "select 1; select 2", "drop table t")
        ),
    ],
)
def test_a_plan_says_what_describe_says_or_nothing(con: duckdb.DuckDBPyConnection, select: str, is_said: bool) -> None:
    row = con.execute(_PLANS, [[f"{_AROUND}{select}\n)"]]).fetchone()
    assert row
    columns = columns_in(row[0])
    assert (columns is not None) == is_said
    assert columns is None or columns == columns_of(con, select)
