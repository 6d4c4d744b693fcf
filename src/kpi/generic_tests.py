"""Data tests as SQL that selects the rows that fail: dbt's four generic ones, and singular tests from their files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from kpi.errors import CompileError, ConfigError, nearest
from kpi.lines import Lines
from kpi.model import Node, read_select
from kpi.names import identifier, literal
from kpi.project import Project, read_text
from kpi.properties import SEVERITIES, Properties, TestSpec, tags_of
from kpi.template import Relation, Rendered, Templates

_TO = re.compile(r"""\s*(ref|source)\(\s*(['"])(\w+)\2\s*(?:,\s*(['"])(\w+)\4\s*)?\)\s*""")


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


def test_nodes(
    project: Project, templates: Templates, nodes: Mapping[str, Node]
) -> tuple[list[Node], list[CompileError]]:
    """Compile every data test. Returns the tests in name order, and what is wrong with any of them."""
    tests: dict[str, Node] = {}
    errors: list[CompileError] = []
    wanted = [
        partial(_generic, project, templates, nodes[node_id], spec)
        for node_id, properties in _described(project)
        if node_id in nodes
        for spec in properties.tests
    ]
    wanted += [partial(_singular, project, templates, file) for file in project.test_files]
    for make in wanted:
        try:
            test = make()
        except CompileError as error:
            errors.append(error)
            continue
        first = tests.setdefault(test.id, test)
        if first is not test:
            told = f"the test {test.name} is also at {first.file}:{first.line}."
            errors.append(CompileError(test.file, test.line, told))
    return [tests[name] for name in sorted(tests)], errors


def _described(project: Project) -> list[tuple[str, Properties]]:
    found = [
        (f"{resource.kind}.{project.name}.{resource.name}", resource.properties)
        for resource in project.seeds + project.models
        if resource.properties
    ]
    for source in project.sources:
        found.append((f"source.{project.name}.{source.source_name}.{source.name}", source.properties))
    return found


def _generic(project: Project, templates: Templates, node: Node, spec: TestSpec) -> Node:
    spec = _with_checked_arguments(spec)
    # The arguments are in the name, so that a column may have two tests of one kind.
    settings = repr(sorted(spec.arguments.items())) + spec.where if spec.arguments or spec.where else ""
    suffix = "_" + hashlib.blake2b(settings.encode(), digest_size=4).hexdigest() if settings else ""
    prefix = "source_" if node.kind == "source" else ""
    name = spec.name or f"{prefix}{spec.kind}_{node.name.replace('.', '_')}_{spec.column}{suffix}"
    rendered = _where(templates, spec)
    relations = [node.relation]
    if spec.kind == "relationships":
        relations.append(_parent(templates, spec))
        spec = replace(spec, arguments={**spec.arguments, "to": relations[1].node})
    rendered.depends_on = {one.node: one for one in (*relations, *rendered.depends_on.values())}
    table = f"(select * from {node.relation} where {rendered.sql}\n)" if rendered.sql else str(node.relation)
    rendered.sql = GENERIC[spec.kind][0](table, identifier(spec.column), spec, str(relations[-1]))
    if spec.where:
        read_select(rendered, spec.file, "test", templates.relations)
    return _test(project, name, spec, node.relation, rendered, "")


def _with_checked_arguments(spec: TestSpec) -> TestSpec:
    if spec.kind not in GENERIC:
        told = f"the test '{spec.kind}' is not supported.{nearest(spec.kind, GENERIC)}"
        raise CompileError(spec.file, spec.line, told)
    _, needed, optional = GENERIC[spec.kind]
    arguments = {name: value for name, value in spec.arguments.items() if name != "column_name"}
    for name in arguments:
        if name not in needed + optional:
            told = f"{spec.kind} takes no '{name}'.{nearest(name, needed + optional)}"
            raise CompileError(spec.file, spec.line, told)
    for name in needed:
        if name not in arguments:
            raise CompileError(spec.file, spec.line, f"{spec.kind} needs '{name}'.")
    for name in ("to", "field"):
        if not isinstance(arguments.get(name, ""), str):
            raise CompileError(spec.file, spec.line, f"'{name}' must be a text, not {arguments[name]!r}.")
    column = spec.column or str(spec.arguments.get("column_name", ""))
    if not column:
        raise CompileError(spec.file, spec.line, f"{spec.kind} needs a column: put it below one, or give column_name.")
    return replace(spec, column=column, arguments=arguments)


def _where(templates: Templates, spec: TestSpec) -> Rendered:
    """The condition of a test, in which Jinja may stand; whatever is wrong in it is told of the test's line."""
    rendered = Rendered(sql=spec.where)
    if "{" in spec.where:
        try:
            rendered = templates.render(spec.where, spec.file, ())
        except CompileError as error:
            raise CompileError(spec.file, spec.line, error.message) from None
    rendered.lines = Lines((0,), (spec.line,))
    return rendered


def _parent(templates: Templates, spec: TestSpec) -> Relation:
    """The table that a relationships test looks in."""
    to, found = spec.arguments["to"], _TO.fullmatch(spec.arguments["to"])
    if not found or (found[1] == "source" and not found[5]):
        raise CompileError(spec.file, spec.line, f"'to' is a ref('…') or source('…', '…'), not '{to}'.")
    names = [name for name in (found[3], found[5]) if name]
    try:
        return templates.ref(names) if found[1] == "ref" else templates.source(*names)
    except ConfigError as error:
        raise CompileError(spec.file, spec.line, str(error)) from None


def _singular(project: Project, templates: Templates, file: Path) -> Node:
    rendered = templates.render(read_text(project.root, file), file, ("severity", "tags"))
    severity = str(rendered.config.get("severity", SEVERITIES[0])).lower()
    select = read_select(rendered, file, "test", templates.relations)
    rendered.sql = select.sql
    spec = TestSpec("singular", "", {}, severity, "", file, 1)
    relation = Relation(f"test.{project.name}.{file.stem}", "", file.stem)
    return _test(project, file.stem, spec, relation, rendered, select.shape)


def _test(project: Project, name: str, spec: TestSpec, relation: Relation, rendered: Rendered, shape: str) -> Node:
    return Node(
        id=f"test.{project.name}.{name}",
        kind="test",
        name=name,
        file=spec.file,
        line=spec.line,
        relation=relation,
        materialized="test",
        tags=tags_of(rendered.config.get("tags")),
        depends_on=tuple(rendered.depends_on),
        sql=rendered.sql,
        lines=rendered.lines,
        shape=hashlib.blake2b(f"{shape or rendered.sql}\n{spec.severity}".encode(), digest_size=16).hexdigest(),
        test=spec,
    )
