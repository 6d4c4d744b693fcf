"""What is plain of a SELECT is right by sqlglot too, and has the same shape; what sqlglot refuses is not plain."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest

from kpi.engine.graph import Graph, Node, has_house_rules
from kpi.engine.parser import Select, parse_select
from kpi.engine.plain_select import OTHER_WORDS, TOKENS, WORDS, Plain, plain_select
from kpi.errors import KpiError
from kpi.project.relation import Lines, Relation, Rendered

TABLES = {name: Relation(name, "", name) for name in ("a", "b", "t")}
ODD = """as , ( ) * = < - / % || :: . 1 0 'x' any all distinct columns(*) qualify lateral natural asof semi
cross join left full using on union intersect name order-by group-by limit offset nulls desc over partition-by rows
unbounded filter where having case when then else end is not null in exists between like cast try_cast interval day
date at time zone extract substring coalesce ifnull nullif round count sum grouping rollup grouping-sets unnest values
with recursive select from a b x "q" isnull true row list integer decimal varchar isodow(x) md5(x) now() mode(x) [1]
== -> ~ & -- /*x*/ window replace number"""


def selects(graph: Graph) -> list[tuple[Node, Rendered, bool]]:
    """The models and tests of a graph as they are rendered, and whether the house rules count."""
    found = []
    for node in graph.nodes.values():
        if node.kind in ("model", "test") and node.sql:
            depends_on = {parent: graph.nodes[parent].relation for parent in node.depends_on}
            rendered = Rendered(None, sql=node.sql, lines=node.lines, depends_on=depends_on)
            found.append((node, rendered, node.kind == "model" and has_house_rules(node.config)))
    return found


def is_plain(rendered: Rendered, is_judged: bool) -> Plain | None:
    """Whether a SELECT is plain."""
    tables = {relation.parts for relation in rendered.depends_on.values()}
    return plain_select(rendered.sql, tables, rendered.lines, is_judged)


def check_by_sqlglot(rendered: Rendered, plain: Plain, is_judged: bool) -> None:
    """What is plain is right by sqlglot, breaks the same rules, and is the same by its words."""
    start = rendered.lines.at(plain.start)
    expected = Select(rendered.sql, plain.shape, start, plain.findings, rendered.lines)
    assert parse_select(rendered, Path("x.sql"), "model", {}, is_judged) == expected, rendered.sql


def test_most_of_the_project_is_plain_and_is_the_same_by_sqlglot(graph: Graph) -> None:
    models = [(rendered, is_judged) for node, rendered, is_judged in selects(graph) if node.kind == "model"]
    plain = [(rendered, found, is_judged) for rendered, is_judged in models if (found := is_plain(rendered, is_judged))]
    assert len(plain) > 0.85 * len(models)
    for rendered, found, is_judged in plain[::3]:
        check_by_sqlglot(rendered, found, is_judged)


def test_a_select_with_words_put_in_and_left_out_is_plain_only_where_sqlglot_finds_nothing(graph: Graph) -> None:
    pool, chance = [one for one in selects(graph) if len(one[1].sql) < 1500], random.Random(51)
    found = 0
    for _ in range(150):
        _, rendered, is_judged = chance.choice(pool)
        words = TOKENS.findall(rendered.sql)
        for _ in range(chance.choice((1, 1, 2))):
            place, word = chance.randrange(len(words)), f" {chance.choice(ODD.split()).replace('-', ' ')} "
            words[place : place + chance.choice((0, 1, 1, 3))] = chance.choice(([word], []))
        changed = Rendered(None, sql="".join(words) or "x", lines=rendered.lines, depends_on=rendered.depends_on)
        for judged in {is_judged, True}:
            if plain := is_plain(changed, judged):
                found += 1
                check_by_sqlglot(changed, plain, judged)
    assert found > 5


PLAIN = """select x from a
select x, count(*) as n from a as y group by x having count(*) > 1 order by x desc nulls last limit 5
with q as (select * from a) select q.x, round(cast(q.y as decimal(18, 3)), 1) as z from q left join b on q.x = b.x
select x / nullif(y, 0) as z from a union all select y as z from b
select case when x in (1, 2) then 'it''s' else null end as z, row_number() over (partition by x order by y) as n from a
with q as (select unnest(generate_series(1, 3)) as n) select n from q where exists (select 1 from a where a.x = q.n)
select x from a where y not between 1 and 2 and z is not distinct from 1 and not w -- why
select md5(x) as z, trunc(lower(y)) as y from a
select a.x from a join b using (x) join t using (x) left join a as c on a.x = c.x cross join b join t as e using (x)
select coalesce(x, 0) as x, count(distinct y) filter (where z) as n from a group by grouping sets ((x), ())"""
NOT_PLAIN = """select x y from a
select * from a
select x from c
select x from a, lateral (select 1)
select x / y as z from a
select round(x, 1) as z from a
select x as a, y as b from a union all select y as b, x as a from b
with q as (select x from a) select x from b
with q as (select x from a), r as (with q as (select x from b) select x from q) select q.x from q, r
select ifnull(x, 0) as z from a
select x from a where y = any (select 1)
select try_cast(x as integer) as z from a
select mode(x) over (order by x) as n from a
select x from a qualify row_number() over (order by x) = 1
select 'a' 'b' as z from a
select x)as y from a
select x from a limit 10%
select x from a; select y from b
select x from read_csv('f.csv')
select isodow(x) as z from a
select x + interval 1 day as z from a
select 1_000 as z from a
select x -> 'y' as z from a"""


@pytest.mark.parametrize(
    ("sql", "wanted"), [*product(PLAIN.split("\n"), [True]), *product(NOT_PLAIN.split("\n"), [False])]
)
def test_what_is_plain(sql: str, wanted: bool) -> None:
    """What breaks no rule is, and what breaks one, or what only one of two parsers reads, is not."""
    rendered = Rendered(None, sql=sql, lines=Lines(columns=(1,)), depends_on=TABLES)
    plain = is_plain(rendered, is_judged=True)
    assert (plain is not None) is wanted
    if plain:
        check_by_sqlglot(rendered, plain, is_judged=True)
    else:
        try:
            found = parse_select(rendered, Path("x.sql"), "model", {}, is_judged=True)
        except KpiError:
            return
        assert found.findings or found.sql.startswith("select 1_000")


def test_every_word_that_sqlglot_knows_is_named() -> None:
    from sqlglot.dialects.duckdb import DuckDB

    known = {word.lower() for words in DuckDB.Tokenizer.KEYWORDS for word in words.split() if word.isidentifier()}
    # Names of columns that sqlglot takes for names.
    assert known - WORDS - OTHER_WORDS == {"file", "key", "list", "number", "replace", "string", "unknown", "window"}
