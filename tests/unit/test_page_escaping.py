"""What a template shows is escaped once, whatever was shown before it."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError
from jinja2.compiler import CodeGenerator
from markupsafe import Markup

from kpi.presentation import Form
from kpi.site.figure_pages import cell
from kpi.site.site import _environment

VALUES: list[tuple[object, str]] = [
    ("<b>", "&lt;b&gt;"),
    (Markup("<b>"), "<b>"),  # reads the same, and is not
    ("<b>", "&lt;b&gt;"),
    ("&" * 200, "&amp;" * 200),
    ("\x1b[2J", "\\u001b[2J"),
    (7, "7"),
    (None, "None"),
    (["<"], "[&#39;&lt;&#39;]"),
]


@pytest.mark.parametrize("by_jinja", [False, True])
def test_a_value_is_escaped_once_by_kpi_or_by_jinja_too(by_jinja: bool) -> None:
    environment = _environment().overlay()
    if by_jinja:
        environment.code_generator_class = CodeGenerator
    template = environment.from_string(
        "{% macro bold(x) %}<i>{{ x }}</i>{% endmacro %}{{ value }}|{{ bold(value) }}|{{ '<' }}"
    )
    for value, text in VALUES:
        assert template.render(value=value) == f"{text}|<i>{text}</i>|&lt;"


def test_a_template_asks_a_row_before_the_methods_of_rows() -> None:
    environment = _environment()
    shown = environment.from_string("{{ row.items }} {{ row.other.upper() }}")
    assert shown.render(row={"items": "<1>", "other": "b"}) == "&lt;1&gt; B"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ row.missing }}").render(row={})
    with pytest.raises(UndefinedError):
        environment.from_string("{{ missing }}").render()


def test_a_number_in_a_cell_is_escaped_whatever_stood_in_one_before() -> None:
    assert "<u>" in cell("value", Markup("<u>"))
    assert "<u>" not in cell("value", "<u>")


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [("-0", None, "0"), ("-0.00", "1", "0.0"), ("-0.004", "0", "\u22120.004"), ("-1234.50", None, "\u22121,234.5")],
)
def test_minus_zero_has_no_sign(value: str, decimals: str | None, text: str) -> None:
    assert Form(decimals=decimals, language="en").number(value) == text
