"""Data tests as SQL that selects the rows that fail: dbt's four generic ones, and singular tests from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, nearest
from kpi.model import Node, line_of, shape_of
from kpi.names import identifier, literal
from kpi.project import Project, Properties, TestSpec
from kpi.template import Relation, Templates

_Test = Callable[[str, str, Mapping[str, Any], Callable[[str], str]], str]


def _not_null(table: str, column: str, arguments: Mapping[str, Any], field: Callable[[str], str]) -> str:
    return f"select * from {table} where {column} is null"


def _unique(table: str, column: str, arguments: Mapping[str, Any], field: Callable[[str], str]) -> str:
    return (
        f"select {column}, count(*) as n_records from {table} where {column} is not null"
        f" group by {column} having count(*) > 1"
    )


def _accepted_values(table: str, column: str, arguments: Mapping[str, Any], field: Callable[[str], str]) -> str:
    values = _values(arguments)
    return f"select {column}, count(*) as n_records from {table} where {column} not in ({values}) group by {column}"


def _values(arguments: Mapping[str, Any]) -> str:
    listed = arguments.get("values")
    if not isinstance(listed, list) or not listed:
        raise ValueError("accepted_values needs 'values', a list")
    quoted = arguments.get("quote", True)
    return ", ".join(literal(str(value)) if quoted else str(value) for value in listed)


def _relationships(table: str, column: str, arguments: Mapping[str, Any], field: Callable[[str], str]) -> str:
    if not isinstance(arguments.get("to"), str) or not isinstance(arguments.get("field"), str):
        raise ValueError("relationships needs 'to' (a ref) and 'field' (a column of it)")
    parent, key = field(arguments["to"]), identifier(arguments["field"])
    return (
        f"select child.{column} from {table} as child left join (select distinct {key} as parent_key from {parent})"
        f" as parent on parent.parent_key = child.{column}"
        f" where child.{column} is not null and parent.parent_key is null"
    )


GENERIC: Mapping[str, tuple[_Test, tuple[str, ...]]] = {
    "not_null": (_not_null, ()),
    "unique": (_unique, ()),
    "accepted_values": (_accepted_values, ("values", "quote")),
    "relationships": (_relationships, ("to", "field")),
}


def counted(test: Node) -> str:
    """SQL that counts a test's failing rows in one scan with others of its table; empty when it needs a query alone.

    For `unique` it counts surplus records, zero exactly when no key is repeated.
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
            return f"count(*) filter (where {column} not in ({_values(spec.arguments)}))"
        case _:
            return ""


def test_nodes(
    project: Project, templates: Templates, nodes: Mapping[str, Node]
) -> tuple[list[Node], list[CompileError]]:
    """Compile every data test. Returns the tests in name order, and what is wrong with any of them."""
    tests: dict[str, Node] = {}
    errors: list[CompileError] = []
    for node_id, properties in _described(project):
        if node_id not in nodes:
            continue
        for spec in properties.tests:
            try:
                test = _generic(project, templates, nodes[node_id], spec)
            except CompileError as error:
                errors.append(error)
                continue
            if test.id in tests:
                errors.append(CompileError(spec.file, spec.line, f"the test {test.name} stands here twice."))
            tests[test.id] = test
    for file in project.test_files:
        try:
            test = _singular(project, templates, file)
            tests[test.id] = test
        except CompileError as error:
            errors.append(error)
    return [tests[name] for name in sorted(tests)], errors


def _described(project: Project) -> list[tuple[str, Properties]]:
    found = [
        (f"{kind}.{project.name}.{resource.name}", resource.properties)
        for kind, resources in (("seed", project.seeds), ("model", project.models))
        for resource in resources
        if resource.properties
    ]
    for source in project.sources:
        found.append((f"source.{project.name}.{source.source_name}.{source.name}", source.properties))
    return found


def _generic(project: Project, templates: Templates, node: Node, spec: TestSpec) -> Node:
    if spec.kind not in GENERIC:
        raise CompileError(
            spec.file, spec.line, f"the test '{spec.kind}' is not supported.{nearest(spec.kind, GENERIC)}"
        )
    make, allowed = GENERIC[spec.kind]
    unknown = [name for name in spec.arguments if name not in (*allowed, "column_name")]
    if unknown:
        raise CompileError(spec.file, spec.line, f"{spec.kind} takes no '{unknown[0]}'.{nearest(unknown[0], allowed)}")
    column = spec.column or str(spec.arguments.get("column_name", ""))
    if not column:
        raise CompileError(spec.file, spec.line, f"{spec.kind} needs a column: put it below one, or give column_name.")
    depends_on = {node.id: node.relation}

    def parent(text: str) -> str:
        rendered = templates.render("{{ " + text + " }}", spec.file)
        depends_on.update(rendered.depends_on)
        return rendered.sql

    table = f"(select * from {node.relation} where {spec.where}) as filtered" if spec.where else str(node.relation)
    try:
        sql = make(table, identifier(column), spec.arguments, parent)
    except ValueError as error:
        raise CompileError(spec.file, spec.line, f"{error}.") from None
    except CompileError as error:
        raise CompileError(spec.file, spec.line, error.message) from None
    facts = repr(sorted((key, value) for key, value in spec.arguments.items())) + spec.where
    suffix = "_" + hashlib.blake2b(facts.encode(), digest_size=4).hexdigest() if spec.arguments or spec.where else ""
    name = f"{spec.kind}_{node.name.replace('.', '_')}_{column}{suffix}"
    return _test(project, name, spec, depends_on, sql, node.relation)


def _singular(project: Project, templates: Templates, file: Path) -> Node:
    text = (project.root / file).read_text(encoding="utf-8")
    rendered = templates.render(text, file)
    severity = str(rendered.config.get("severity", "error")).lower()
    if severity not in ("error", "warn"):
        raise CompileError(file, line_of(text, "severity", 1), f"severity is 'error' or 'warn', not '{severity}'.")
    shape_of(rendered.sql, text, file, rendered.depends_on.values())
    spec = TestSpec("singular", "", {}, severity, "", file, 1)
    relation = Relation(f"test.{project.name}.{file.stem}", "", file.stem)
    return _test(project, file.stem, spec, rendered.depends_on, rendered.sql.strip(), relation)


def _test(
    project: Project, name: str, spec: TestSpec, depends_on: Mapping[str, Relation], sql: str, relation: Relation
) -> Node:
    return Node(
        id=f"test.{project.name}.{name}",
        kind="test",
        name=name,
        file=spec.file,
        line=spec.line,
        relation=relation,
        materialized="test",
        tags=(),
        depends_on=tuple(depends_on),
        text="",
        sql=sql,
        shape=hashlib.blake2b((sql + spec.severity).encode(), digest_size=16).hexdigest(),
        test=spec,
    )
