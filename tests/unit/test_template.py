"""Jinja as a dbt user knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.template import RenderInput, Templates, pieces_of
from kpi.project.project import load_project
from kpi.project.relation import Relation, Rendered
from small_project import write

MACROS = """\
{% macro schema_word(custom_schema_name) %}{{ custom_schema_name or 'nowhere' }}{% endmacro %}
{% macro twice(x) -%} {{ once(x) }} + {{ once(x) }} {%- endmacro %}
{% macro once(x) -%} ({{ x }}) {%- endmacro %}
{% macro rows_of(name) -%} (select count(*) from {{ ref(name) }}) {%- endmacro %}
{% macro wrapped() -%} <{{ caller() }}> {%- endmacro %}
{% macro recursive(n) -%} {{ n }}{% if n > 1 %},{{ recursive(n - 1) }}{% endif %} {%- endmacro %}
"""


@pytest.fixture(name="templates")
def made(tmp_path: Path) -> Templates:
    templates = Templates(load_project(write(tmp_path, {"macros/more.sql": MACROS})))
    for node, place in (
        ("model.small.stg_calls", ("staging", "stg_calls")),
        ("seed.small.lines", ("seeds", "lines")),
        ("source.small.raw.calls", ("raw", "calls")),
    ):
        templates.relations[node] = Relation(node, *place)
    return templates


def render(templates: Templates, text: str) -> Rendered:
    this = Relation("model.small.m", "marts", "m")
    return templates.render(text, Path("models/m.sql"), ("materialized", "tags"), RenderInput(this=this))


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("{{ ref('stg_calls') }}", "staging.stg_calls"),
        ('{{ ref("small", "lines") }}', "seeds.lines"),
        ("{{ source('raw', 'calls') }}", "raw.calls"),
        ("{{ source(source_name='raw', table_name='calls') }}", "raw.calls"),
        ("{{ this }} {{ this.schema }} {{ this.name }}", '"kpi"."marts"."m" marts m'),
        ("{{ var('limit_seconds') }} {{ var('other', 7) }}", "300 7"),
        ("{{ target.schema }} {{ target.type }}", "main duckdb"),
        ("{{ twice('a') }}", "(a) + (a)"),
        ("{{ rows_of('lines') }}", "(select count(*) from seeds.lines)"),
        ("{{ recursive(3) }}", "3,2,1"),
        ("{% call wrapped() %}x{% endcall %}", "<x>"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{% set found = namespace(n=1) %}{% do config(tags='x') %}{{ found.n }}", "1"),
        ("\n  {{ config(materialized='view') }}\n\nselect 1\n\n", "select 1"),
        ("{% macro own(x) %}[{{ x }}]{% endmacro %}{{ own(1) }}", "[1]"),
        ("{% set text %}a{% endset %}{{ 'yes' if text == 'a' else text }}{{ text | length }}", "yes1"),
        ("a{% raw %}{{ b }}{% endraw %}c", "a{{ b }}c"),
    ],
)
def test_what_comes_of_a_template(templates: Templates, text: str, sql: str) -> None:
    assert render(templates, text).sql == sql


def test_what_a_template_refers_to_and_sets_is_collected(templates: Templates) -> None:
    text = "{{ config(materialized='view', tags=['a']) }}{{ rows_of('lines') }} {{ source('raw', 'calls') }}"
    rendered = render(templates, text + "{{ ref('lines') }}")
    assert list(rendered.depends_on) == ["seed.small.lines", "source.small.raw.calls"]
    assert rendered.config == {"materialized": "view", "tags": ["a"]}


def test_one_rendering_leaves_nothing_to_the_next(templates: Templates) -> None:
    render(templates, "{% set x = 1 %}{{ config(materialized='view') }}{{ ref('lines') }}")
    rendered = render(templates, "{{ x is defined }}")
    assert (rendered.sql, rendered.config, rendered.depends_on) == ("False", {}, {})


def test_a_custom_schema_is_named_by_the_projects_macro_or_as_dbt_does(tmp_path: Path) -> None:
    own = Templates(load_project(write(tmp_path / "own")))
    assert (own.schema_of("marts"), own.schema_of(None)) == ("marts", "main")
    plain = Templates(load_project(write(tmp_path / "plain", {"macros/macros.sql": ""})))
    assert (plain.schema_of("marts"), plain.schema_of(None)) == ("main_marts", "main")


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "this",
            "ref('stg_calls')",
            "ref(\"small\", 'lines')",
            "var('limit_seconds')",
            "var('other', [1, 'a', {'b': 2}])",
        ),
        *("twice('a')", "twice(x=once('a'))", "twice(var('other', -1))", "\n  twice(\n'a',\n)\n", "twice(1.5e3)"),
        *("config(materialized='table', tags=['a', 'b'])", "config(tags=('a',))", "twice(true)", "twice(None)"),
        *("twice('}')", "twice('a#b')", "var('other', '1_0')", "rows_of('lines')", "recursive(3)"),
        # What Python would read in another way, or not at all.
        *(
            "twice(01)",
            "twice(0x1f)",
            "twice(1_000)",
            "twice('a' 'b')",
            "twice('a\\n')",
            "twice(r'a')",
            "twice(''' a ''')",
        ),
        *(
            "twice('a' ~ 'b')",
            "twice(1 if 2 else 3)",
            "twice(-1)",
            "this.schema",
            "twice (1)",
            "{'a': 1}",
            "'a'",
            "1 + 1",
        ),
        *(
            "twice(not true)",
            "twice(*[1])",
            "twice(**{'x': 1})",
            "-1",
            "- twice(1) -",
            "twice('a') | upper",
            "self",
            "twice(b'a')",
        ),
        # What fails.
        *(
            "nothing",
            "ref('nothing')",
            "twice()",
            "twice(1, 2)",
            "twice(x=1, x=2)",
            "config(nothing=1)",
            "twice(ten)",
            "f'a'",
        ),
    ],
)
def test_a_plain_template_is_what_jinja_makes_of_it(templates: Templates, expression: str) -> None:
    """With the same lines and columns, the same references and settings, and the same words for what is wrong."""
    text = f"select\n  {{{{ {expression} }}}} as é,\n\n {{{{this}}}} {{{{ config(materialized='view') }}}}\nfrom x\n"
    settings, given = ("materialized", "tags"), RenderInput(this=Relation("model.small.m", "marts", "m"))
    found: list[object] = []
    for pieces in (pieces_of(text), None):
        try:
            found.append(templates._render_by(text, Path("models/m.sql"), settings, given, pieces))
        except Exception as error:
            found.append(error)
    plain, by_jinja = found
    try:
        rendered: object = templates.render(text, Path("models/m.sql"), settings, given)
    except Exception as error:
        rendered = error
    assert repr(rendered) == repr(by_jinja)
    assert isinstance(plain, Exception) or repr(plain) == repr(by_jinja)
