"""A project that is not trusted: its templates reach no Python, no file and no end of time or memory."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from kpi.engine.template import RenderInput, Templates
from kpi.errors import CompileError, ConfigError, KpiError
from kpi.project.jinja import TooMuch, bounded
from kpi.project.project import load_project
from kpi.project.relation import Relation
from small_project import write

MACROS = """\
{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}
{% macro wrapped() %}<{{ caller() }}>{% endmacro %}
{% macro around() %}{{ around() }}{% endmacro %}
{% macro tree(n) %}{% if n %}{{ tree(n - 1) }}{{ tree(n - 1) }}{% endif %}{% endmacro %}
{% macro caller_of() %}{{ caller.__init__ }}{% endmacro %}
"""
PACKAGE = {
    "dbt_packages/loose/dbt_project.yml": "name: loose\n",
    "dbt_packages/loose/macros/all.sql": """\
{% macro reach(x) %}{{ x.__init__.__globals__ }}{% endmacro %}
{% macro quietly(x) %}{{ x.write_text('y') }}{% endmacro %}
""",
}


@pytest.fixture(name="templates")
def made(tmp_path: Path) -> Templates:
    templates = Templates(load_project(write(tmp_path, {"macros/more.sql": MACROS, **PACKAGE})))
    templates.relations["model.small.stg_calls"] = Relation("model.small.stg_calls", "staging", "stg_calls")
    return templates


def render(templates: Templates, text: str) -> str:
    this = Relation("model.small.m", "marts", "m")
    return templates.render(
        text, Path("models/m.sql"), ("materialized", "meta"), RenderInput(this=this, base={"meta": {"owner": "x"}})
    ).sql


# What each reaches for is Python, by every way that Jinja has to an attribute, from every kind of value there is.
@pytest.mark.parametrize(
    "text",
    [
        "{{ cycler.__init__.__globals__.os.popen('id') }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ joiner['__init__']['__globals__'] }}",
        "{{ twice.scope.environment.extend(sandboxed=false) }}",
        "{{ twice.node.environment }}",
        "{{ twice.__init__.__globals__ }}",
        "{{ context.environment.from_string('x') }}",
        "{{ context._macros }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ () | attr('__class__') }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ [''] | sum(attribute='__class__') }}",
        "{{ [''] | groupby('__class__') }}",
        "{{ '{0.__class__}'.format(ref) }}",
        "{{ '{0.__globals__}'.format_map({'0': ref}) }}",
        "{{ '{x.__globals__}'.format_map({'x': ref}) }}",
        "{{ ['{0.__globals__}'] | map('format', ref) | map('upper') | first ~ '{0.__globals__}'.format(ref) }}",
        "{{ ('{0.__globals__}' | safe).format(ref) }}",
        "{{ ref.__globals__ }}",
        "{{ ref.__code__ }}",
        "{{ ref.__closure__[0].cell_contents }}",
        "{{ [].append.__self__ }}",
        "{{ (range(3) | map('string')).gi_frame.f_back }}",
        "{{ modules.itertools.count().gi_frame }}",
        "{{ modules.re.enum.sys }}",
        "{{ modules.re['enum'] }}",
        "{{ modules.datetime.sys }}",
        "{{ modules.datetime.datetime.__subclasses__() }}",
        "{{ modules.datetime.datetime.mro() }}",
        "{{ modules.itertools.__loader__ }}",
        "{{ modules.re.compile.__globals__ }}",
        "{{ modules.re.Pattern.__base__ }}",
        "{{ modules.pytz.sys }}",
        "{{ modules.pytz.open_resource('x') }}",
        "{{ modules['re']['copyreg'] }}",
        "{{ modules._late }}",
        "{{ this['__class__'] }}",
        "{{ this.get('__init__').x }}",
        "{{ this.__class__ }}",
        "{{ config.__class__ }}",
        "{{ config._rendered }}",
        "{{ var.__call__.__func__ }}",
        "{{ var.variables.clear() }}",
        "{{ var.environment_read.clear() }}",
        "{{ adapter._parts }}",
        "{{ exceptions.__getattr__ }}",
        "{{ api.Column.create.__globals__ }}",
        "{{ loose._macros }}",
        "{{ loose.reach.scope }}",
        "{{ loose.reach(ref) }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{% for x in [1] %}{{ loop.__init__ }}{% endfor %}",
        "{% for x in [1] recursive %}{{ loop._undefined }}{% endfor %}",
        "{% set n = namespace(__class__=1) %}{{ n.__class__ }}",
        "{% call caller_of() %}x{% endcall %}",
        "{{ nothing.__class__ }}",
        "{{ (nothing | default).__class__ }}",
        "{{ 1 .__class__ }}",
        "{{ true['__class__'] }}",
        "{{ none.__class__ }}",
        "{{ modules.datetime.datetime.now().__reduce__() }}",
        "{{ run_query.__globals__ }}",
        "{{ loose._macros_ }}",
        "{{ run_query('select 1').rows.__class__ }}",
        "{{ (run_query('select 1').columns[0])._x }}",
        "{{ fromyaml('!!python/object/apply:os.system [\"id\"]').real }}",
        "{% import 'macros/more.sql' as m %}{{ m }}",
        "{% include '/etc/passwd' %}",
        "{% extends 'x' %}",
    ],
)
def test_a_template_reaches_no_python(templates: Templates, text: str) -> None:
    with pytest.raises(KpiError) as caught:
        render(templates, text)
    assert isinstance(caught.value, CompileError)
    assert str(caught.value).startswith("models/m.sql:")


def test_a_setting_that_knows_its_file_gives_no_path_to_a_template(tmp_path: Path) -> None:
    victim = tmp_path / "models/marts/m.yml"
    text = "models:\n  - name: m\n    config: {meta: {owner: x}}\n"
    write(tmp_path, {"models/marts/m.yml": text, "models/marts/m.sql": "select 1 as a"})
    project = load_project(tmp_path)
    base = next(model.config for model in project.models if model.name == "m")
    templates = Templates(project)
    for source in (
        "{{ config.get('meta').file.write_text('gone') }}",
        "{{ config.get('meta')['file'].unlink() }}",
        "{{ (config.get('meta') | attr('file')).unlink() }}",
        "{{ config.get('meta').where() }}",
    ):
        with pytest.raises(CompileError):
            templates.render(source, Path("models/marts/m.sql"), (), RenderInput(base=base))
    assert victim.read_text() == text
    assert (
        templates.render("{{ config.get('meta').owner }}", Path("models/marts/m.sql"), (), RenderInput(base=base)).sql
        == "x"
    )


# What dbt projects do, and dbt's own sandbox lets them.
@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("{% set a = [] %}{% do a.append(1) %}{{ a }}", "[1]"),
        ("{% set a = {} %}{% do a.update({'b': 1}) %}{{ a.b }}{{ a['b'] }}{{ a.get('c', 2) }}", "112"),
        ("{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", "2"),
        ("{{ '%s-%s' | format('a', 1) }}{{ '{}{b}'.format('a', b=2) }}{{ '{0[x]}'.format({'x': 3}) }}", "a-1a23"),
        ("{{ modules.datetime.datetime(2025, 1, 31).strftime('%Y%m') }}", "202501"),
        ("{{ modules.datetime.date.fromisoformat('2025-01-31') - modules.datetime.timedelta(days=1) }}", "2025-01-30"),
        (
            "{{ modules.datetime.datetime.now().year > 2000 }}{{ modules.datetime.date.today().year > 2000 }}",
            "TrueTrue",
        ),
        ("{{ modules.re.match('(?P<a>.)b', 'ab').group('a') }}", "a"),
        ("{{ modules.re.sub('a', 'b', 'aa', flags=modules.re.IGNORECASE) }}", "bb"),
        ("{{ modules.re.compile('a').findall('aba') }}", "['a', 'a']"),
        ("{{ modules.itertools.product([1, 2], 'a') | list }}", "[(1, 'a'), (2, 'a')]"),
        ("{{ modules.itertools.chain([1], [2]) | list }}", "[1, 2]"),
        ("{{ modules.itertools.chain.from_iterable([[1], [2]]) | list }}", "[1, 2]"),
        ("{{ modules.itertools.zip_longest([1, 2], [3], fillvalue=0) | list }}", "[(1, 3), (2, 0)]"),
        ("{{ modules.itertools.islice(modules.itertools.count(5), 2) | list }}", "[5, 6]"),
        ("{{ modules['re']['match']('a', 'a').end() }}", "1"),
        ("{{ this.schema }}{{ this['name'] }}{{ this.identifier }}{{ this.is_table }}", "martsmmNone"),
        ("{{ api.Column.create('a', 'string').dtype }}", "TEXT"),
        ("{{ run_query('select 1 as a').columns[0].values()[0] }}", "1"),
        ("{{ context['twice']('x') }}{{ context.twice('y') }}{{ context.get('twice') is not none }}", "xxyyTrue"),
        ("{{ 7 * 6 }} {{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 'ab' * 2 }} {{ 1 / 2 }}", "42 1024 3 3 abab 0.5"),
        ("{{ 2.345 | round(2) }} {{ range(100000) | length }}", "2.35 100000"),
        ("{% for x in [1, 2] %}{{ loop.index }}{{ loop.last }}{{ loop.cycle('a', 'b') }}{% endfor %}", "1Falsea2Trueb"),
        ("{{ var.has_var('limit_seconds') }}{{ {'_x': 1}._x }}", "True1"),
    ],
)
def test_what_dbt_lets_a_template_do_it_may(templates: Templates, text: str, sql: str) -> None:
    assert render(templates, text) == sql


def test_pytz_is_given_in_part(templates: Templates) -> None:
    text = "{{ modules.pytz.timezone('Europe/Helsinki').localize(modules.datetime.datetime(2025, 7, 1)).utcoffset() }}"
    assert render(templates, text) == "3:00:00"
    assert render(templates, "{{ modules.pytz.utc.zone }}") == "UTC"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ range(10 ** 9) }}", "range"),
        ("{{ 'a' * 10 ** 10 }}", "memory"),
        ("{{ [0] * 10 ** 10 }}", "memory"),
        ("{{ 'a'.ljust(10 ** 10) }}", "memory"),
        ("{{ '%10000000000d' % 1 }}", ""),
        ("{{ '{:10000000000}'.format(1) }}", ""),
        ("{{ 'a' | center(10 ** 10) }}", "memory"),
        ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "memory"),
        ("{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}", ""),
        ("{% for i in range(99999) %}{% for i in range(99999) %}x{% endfor %}{% endfor %}", ""),
        ("{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}", "10 seconds"),
        ("{{ modules.itertools.count() | list }}", ""),
        ("{{ modules.itertools.repeat(0) | sum }}", "10 seconds"),
        ("{{ modules.itertools.islice(modules.itertools.count(), 10 ** 12, none) | list }}", "10 seconds"),
        ("{{ modules.re.match('(a+)+$', 'a' * 40 ~ '!') }}", "10 seconds"),
        ("{{ 9 ** (9 ** 9) }}{{ (10 ** 5000) * (10 ** 5000) }}", "number"),
        ("{{ 1 | round(10 ** 9) }}", "round"),
        ("{{ 1 | round(10 ** 9, 'ceil') }}", "round"),
        ("{{ around() }}", "calls itself"),
        ("{{ tree(100) }}", "10 seconds"),
        ("select 1 {{ ' union all select 1' * 1000000 }}", "characters"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested"),
        ("{{ " + "[" * 900 + "]" * 900 + " }}", "nested"),
        ("{% if 1 %}" * 900 + "{% endif %}" * 900, "nested"),
        ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, "nested"),
        ("{{ '-' * 50000 }}{{ fromjson('[' * 200000) }}", "nested"),
        ("{{ fromyaml('[' * 20000 ~ ']' * 20000) }}", "nested"),
        ("{{ run_query('select sum(sin(a.range * b.range)) from range(1000000) a, range(1000000) b') }}", "10 seconds"),
        ("{{ run_query(\"select length(repeat('a', 4000000000))\") }}", ""),
    ],
)
def test_what_takes_too_much_ends_in_a_clear_error(
    templates: Templates, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another limit ends the other texts, on a slow machine too: they have all their seconds.
    seconds = 10 if message not in ("", "10 seconds") else 1
    monkeypatch.setattr("kpi.project.jinja.SECONDS", seconds)
    with pytest.raises(CompileError) as caught:
        render(templates, text)
    assert message.replace("10 sec", "1 sec") in str(caught.value)
    assert str(caught.value).startswith("models/m.sql:")
    assert len(str(caught.value)) < 600
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_time_that_is_up_while_another_limit_is_reported_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes when it comes: while an error is made, and while limits are put back."""

    class Memory(MemoryError):
        def __getattribute__(self, name: str) -> object:
            if name == "__traceback__":
                signal.raise_signal(signal.SIGVTALRM)
            return super().__getattribute__(name)

    def work() -> None:
        raise Memory

    def put_back(kind: int, limits: tuple[int, int]) -> None:
        signal.raise_signal(signal.SIGVTALRM)
        setrlimit(kind, limits)

    handler, setrlimit = signal.getsignal(signal.SIGVTALRM), resource.setrlimit
    monkeypatch.setattr("kpi.project.jinja.resource.setrlimit", put_back)
    monkeypatch.setattr("kpi.project.jinja._limit_memory", lambda: resource.getrlimit(resource.RLIMIT_DATA))
    for _ in range(2):
        with pytest.raises(TooMuch, match="it needs more than 512 MB"):
            bounded("it", work)
        assert signal.getsignal(signal.SIGVTALRM) is handler
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_yaml_reaches_no_python_either(tmp_path: Path) -> None:
    for value in (
        "{{ cycler.__init__.__globals__ }}",
        "{{ var.variables }}",
        "{{ modules.re.enum }}",
        "{{ 9**(9**9) }}",
    ):
        write(tmp_path, {"models/x.yml": f'models: [{{name: calls_by_line, description: "{value}"}}]\n'})
        with pytest.raises(ConfigError, match=r"models/x.yml:1"):
            load_project(tmp_path)
