"""Data tests as nodes: dbt's generic tests, those of macros and singular ones, with dbt's names and ids."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kpi.database import expression_problem
from kpi.engine.graph import Node
from kpi.engine.parser import read_select
from kpi.engine.template import MissingParentError, RenderInput, Templates
from kpi.errors import CompileError, nearest
from kpi.files import checksum
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import TEST_CONFIGS, Properties, TestSpec, configured, tags_of
from kpi.project.relation import Lines, Relation, Rendered, as_seen
from kpi.sql import identifier, literal


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


_WORD = re.compile(r"\w+")


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
        except MissingParentError as error:
            if project.is_strict:
                errors.append(error)
            else:
                templates.notes.append(f"{error} The test is not run.")
            continue
        except CompileError as error:
            errors.append(error)
            continue
        if test is None:
            continue
        first = tests.setdefault(test.id, test)
        if first is not test and _identity(first) != _identity(test):
            test = _with_hash(test)
            first = tests.setdefault(test.id, test)
        if first is not test:
            message = f"the test {test.name} is also at {first.file}:{first.line}."
            errors.append(CompileError(test.file, test.line, message))
    return [tests[name] for name in sorted(tests)], errors


def _identity(test: Node) -> str:
    """What distinguishes tests of one name, as the hash in dbt's names does: macro, what is tested, and arguments."""
    spec = test.test
    return repr((test.relation.node, spec and (spec.kind, spec.column, sorted(spec.arguments.items(), key=str))))


def _with_hash(test: Node) -> Node:
    """The test by another name, for there is one of its own already."""
    name = f"{test.name}_{checksum(_identity(test), 4)}"
    return replace(test, name=name, id=f"{test.id}{name.removeprefix(test.name)}")


def _described(project: Project) -> list[tuple[str, Properties]]:
    found = [
        (resource.id, resource.properties)
        for resource in project.seeds + project.models + project.snapshots
        if resource.properties
    ]
    for source in project.sources:
        found.append((source.id, source.properties))
    return found


def _generic(project: Project, templates: Templates, node: Node, spec: TestSpec) -> Node | None:
    """One data test of YAML; None when it is switched off."""
    name = _name(node, spec)
    spec = configured(spec, project.test_settings(spec.file, name))
    if not spec.enabled:
        return None
    column = spec.column or str(spec.arguments.get("column_name", ""))
    documented = {one.name: one for one in node.columns}
    texts = (column, spec.arguments.get("field", column))
    is_plain = all(text in documented or _WORD.fullmatch(str(text)) for text in texts)
    own = templates.generic_test(spec.kind)
    if own or spec.kind not in GENERIC or not is_plain or templates.macros.is_made_otherwise(spec.kind):
        quoted = column in documented and documented[column].quote
        return _of_macro(project, templates, node, spec, name, identifier(column) if quoted else column)
    arguments: dict[str, Relation] = {}
    spec = _with_checked_arguments(_rendered(templates, spec, arguments), column)
    if spec.kind == "accepted_values" and None in list(spec.arguments["values"] or ()):
        error = CompileError(spec.file, spec.line, "accepted_values: a null always passes, leave it out.")
        if project.is_strict or not spec.arguments.get("quote", True):
            raise error
        templates.notes.append(f"{error} Here it stands for the text None, as in dbt.")
    rendered = _where(templates, spec)
    relations = [node.relation]
    if spec.kind == "relationships":
        to = spec.arguments["to"]
        if not isinstance(to, Relation):
            message = f"'to' is a ref('…') or source('…', '…'), not '{to}'."
            raise CompileError(spec.file, spec.line, message)
        relations.append(Relation(to.node, to.schema, to.name))
        spec = replace(spec, arguments={**spec.arguments, "to": to.node})
    rendered.depends_on = {one.node: one for one in (*relations, *rendered.depends_on.values())}
    table = (
        f"(select * from {node.relation} where {rendered.sql}\n) as dbt_subquery"
        if rendered.sql
        else str(node.relation)
    )
    rendered.sql = GENERIC[spec.kind][0](table, identifier(spec.column), spec, str(relations[-1]))
    if spec.where:
        read_select(rendered, spec.file, "test", templates.relations)
    return _test(project, name, spec, node.relation, rendered, "")


def _name(node: Node, spec: TestSpec) -> str:
    """The name dbt gives a test: kind, what it tests, and arguments, so that a column may have two of a kind."""
    if spec.name:
        return spec.name
    flat: list[Any] = []
    # The column comes among the arguments, which are in the order of their names.
    arguments = {**spec.arguments, **({"column_name": spec.column} if spec.column else {})}
    for _, value in sorted(arguments.items()):
        flat += value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    message = "__".join(re.sub("[^0-9a-zA-Z_]+", "_", str(value)) for value in flat)
    prefix = "source_" if node.kind == "source" else ""
    package, _, kind = spec.kind.rpartition(".")
    name = f"{package + '_' if package else ''}{prefix}{kind}_{node.name.replace('.', '_')}_{message}"
    if not spec.where:
        return name
    return f"{name}_{checksum(spec.where, 4)}"


def _rendered(templates: Templates, spec: TestSpec, depends_on: dict[str, Relation]) -> TestSpec:
    """The test with the Jinja in its arguments rendered; `depends_on` gets what they refer to."""

    def value_of(value: Any) -> Any:
        if isinstance(value, str):
            return templates.value(value, spec.file, depends_on)
        if isinstance(value, list):
            return [value_of(item) for item in value]
        if isinstance(value, dict):
            return {key: value_of(item) for key, item in value.items()}
        return value

    try:
        arguments = {key: item if key == "column_name" else value_of(item) for key, item in spec.arguments.items()}
    except CompileError as error:
        raise type(error)(spec.file, spec.line, error.message) from None
    return replace(spec, arguments=arguments)


def _of_macro(project: Project, templates: Templates, node: Node, spec: TestSpec, name: str, column: str) -> Node:
    """A test that a `{% test %}` block makes, of the project, of a package or of dbt."""
    package, _, kind = spec.kind.rpartition(".")
    macro = templates.generic_test(spec.kind)
    depends_on = {node.relation.node: node.relation}
    spec = _rendered(templates, spec, depends_on)
    if macro is None and kind not in GENERIC:
        found = {package: templates.macros.names_of(package or project.name) for package in {"", package}}
        known = {f"{one}.{name}".lstrip(".") for one, names in found.items() for name in names if name[:5] == "test_"}
        known = {name.replace("test_", "", 1) for name in known} | set(GENERIC)
        message = f"the test '{spec.kind}' is not supported.{nearest(spec.kind, known)}"
        raise CompileError(spec.file, spec.line, message)
    given = {**spec.arguments, **({"column_name": column} if column else {})}
    if macro and not macro.takes_more:
        for wrong in [argument for argument in given if argument not in macro.arguments]:
            message = f"{spec.kind} takes no '{wrong}'.{nearest(wrong, {*macro.arguments} - {'model'})}"
            raise CompileError(spec.file, spec.line, message)
        for missing in [argument for argument in macro.required if argument not in {"model", *given}]:
            error = CompileError(spec.file, spec.line, f"{spec.kind} needs '{missing}'.")
            if project.is_strict:
                raise error
            templates.notes.append(f"{error} Without a value it is nothing.")
            given[missing] = templates.macros.lenient.undefined(name=missing)
    where = _where(templates, spec)
    call = f"{package + '.' if package else ''}test_{kind}"
    try:
        rendered = templates.render(
            f"{{{{ {call}(model=get_where_subquery(kpi_model), **kpi_arguments) }}}}",
            spec.file,
            TEST_CONFIGS,
            RenderInput(
                base={**spec.config, "where": where.sql},
                model={"name": name, "resource_type": "test", "config": dict(spec.config)},
                names={"kpi_model": as_seen(node.relation), "kpi_arguments": given},
            ),
        )
    except CompileError as error:
        # Of its own kind still: a test that asks for columns is compiled again when they are known.
        raise type(error)(spec.file, spec.line, error.message) from None
    rendered.depends_on = {**depends_on, **where.depends_on, **rendered.depends_on}
    rendered.lines = Lines((0,), (spec.line,))
    select = read_select(rendered, spec.file, "test", templates.relations)
    rendered.sql = select.sql
    spec = configured(spec, rendered.config)
    # A kind that has a name of dbt's four but is not made as theirs is distinguished by where it comes from.
    kind = f"{package or (project.name if macro else 'dbt')}.{kind}" if kind in GENERIC else spec.kind
    return _test(project, name, replace(spec, kind=kind, column=column), node.relation, rendered, select.shape)


def _with_checked_arguments(spec: TestSpec, column: str) -> TestSpec:
    _, needed, optional = GENERIC[spec.kind]
    arguments = {name: value for name, value in spec.arguments.items() if name != "column_name"}
    for name in arguments:
        if name not in needed + optional:
            message = f"{spec.kind} takes no '{name}'.{nearest(name, needed + optional)}"
            raise CompileError(spec.file, spec.line, message)
    for name in needed:
        if name not in arguments:
            raise CompileError(spec.file, spec.line, f"{spec.kind} needs '{name}'.")
    if not isinstance(arguments.get("field", ""), str):
        raise CompileError(spec.file, spec.line, f"'field' must be a text, not {arguments['field']!r}.")
    if not column:
        raise CompileError(spec.file, spec.line, f"{spec.kind} needs a column: put it below one, or give column_name.")
    return replace(spec, column=column, arguments=arguments)


def _where(templates: Templates, spec: TestSpec) -> Rendered:
    """The condition of a test, in which Jinja may stand; whatever is wrong in it is reported of the test's line."""
    rendered = Rendered(sql=spec.where)
    if "{" in spec.where:
        try:
            rendered = templates.render(spec.where, spec.file, ())
        except CompileError as error:
            raise CompileError(spec.file, spec.line, error.message) from None
    if rendered.sql and (problem := expression_problem(rendered.sql)):
        raise CompileError(spec.file, spec.line, f"where: '{rendered.sql[:100]}' {problem}.")
    rendered.lines = Lines((0,), (spec.line,))
    return rendered


def _singular(project: Project, templates: Templates, file: Path) -> Node | None:
    text = read_text(project.root, file)
    base = {
        **project.test_settings(file, file.stem),
        **project.singular_tests.get((project.package_of(file), file.stem), {}),
    }
    rendered = templates.render(
        text, file, TEST_CONFIGS, RenderInput(base=base, model={"name": file.stem, "resource_type": "test"})
    )
    own_tags = tags_of(rendered.config.get("tags"))
    spec = configured(TestSpec("singular", "", {}, "error", "", file, 1, tags=own_tags, config=rendered.config), base)
    if not spec.enabled:
        return None
    select = read_select(rendered, file, "test", templates.relations)
    rendered.sql = select.sql
    relation = Relation(f"test.{project.package_of(file)}.{file.stem}", "", file.stem)
    return _test(project, file.stem, spec, relation, rendered, select.shape)


def _test(project: Project, name: str, spec: TestSpec, relation: Relation, rendered: Rendered, shape: str) -> Node:
    if spec.fail_calc != "count(*)" and (problem := expression_problem(spec.fail_calc)):
        raise CompileError(spec.file, spec.line, f"fail_calc: '{spec.fail_calc[:100]}' {problem}.")
    settings = repr(
        sorted((key, value) for key, value in spec.config.items() if key not in ("tags", "meta") and value is not None)
    )
    return Node(
        id=f"test.{project.package_of(spec.file)}.{name}",
        kind="test",
        name=name,
        file=spec.file,
        line=spec.line,
        relation=relation,
        materialized="test",
        tags=spec.tags,
        depends_on=tuple(rendered.depends_on),
        sql=rendered.sql,
        lines=rendered.lines,
        shape=checksum(f"{shape or rendered.sql}\n{settings}"),
        description=spec.description,
        test=spec,
        config=spec.config,
        depth=len(project.folders.get(project.package_of(spec.file), Path()).parts) + 1,
    )


# dbt stores failures in a table of this name, so a longer name of a test is cut and a hash of the whole put after it.
LONGEST_ALIAS, KEPT_OF_ALIAS, KEPT_OF_HASH = 63, 30, 10


@dataclass(frozen=True, slots=True)
class TestName:
    """What dbt calls a data test. `arguments` are those of its macro, with the model; empty for a singular test.

    `column` is the column it stands below, empty when it stands below the model itself; `kind` its macro, with its
    package before it when that is written out.
    """

    id: str
    name: str
    alias: str
    arguments: Mapping[str, Any]
    column: str
    kind: str

    __test__ = False


def names_of_tests(project: Project, nodes: Mapping[str, Node]) -> dict[str, TestName]:
    """Return dbt's names of every data test among the nodes, by our id."""
    written = {_place(node, spec): spec for node, spec in _specs(project)}
    names = {}
    for test in nodes.values():
        if test.kind != "test":
            continue
        if test.test is None or test.test.kind == "singular":
            names[test.id] = TestName(test.id, test.name, test.name, {}, "", "")
            continue
        # As written: a compiled test names the tables it reads otherwise.
        spec = written.get(_place(test.relation.node, test.test), test.test)
        names[test.id] = generic_name(project.package_of(spec.file), nodes[test.relation.node], spec)
    return names


def generic_name(project: str, tested: Node, spec: TestSpec) -> TestName:
    """Return dbt's names of a generic test of a node."""
    is_quoted = any(column.quote for column in tested.columns if column.name == spec.column)
    column = identifier(spec.column) if is_quoted else spec.column
    arguments = {**({"column_name": column} if column else {}), **spec.arguments}
    package, _, kind = spec.kind.rpartition(".")
    of = tested.name
    if tested.kind == "source":
        source, _, of = tested.name.partition(".")
        model = f"source('{source}', '{of}')"
        of = f"{source}_{of}"
        prefix = f"source_{kind}"
    else:
        prefix, model = kind, f"ref('{tested.name}')"
    prefix = f"{package}_{prefix}" if package else prefix
    alias = name = f"{prefix}_{of}_{'__'.join(_plain_values(arguments))}"
    if spec.name:
        alias = name = spec.name
    elif len(name) > LONGEST_ALIAS:
        alias = f"{f'{prefix}_{of}'[:KEPT_OF_ALIAS]}_{_md5(name)}"
    arguments["model"] = f"{{{{ get_where_subquery({model}) }}}}"
    about = {"kwargs": _texts(arguments), "name": kind, "namespace": str(package or None)}
    hashed = _md5(name + repr(about))[-KEPT_OF_HASH:]
    return TestName(f"test.{project}.{name}.{hashed}", name, alias, arguments, column, spec.kind)


def _specs(project: Project) -> Iterator[tuple[str, TestSpec]]:
    """The data tests as written, each with the id of what it tests."""
    for resource in project.seeds + project.models + project.snapshots:
        for spec in resource.properties.tests if resource.properties else ():
            yield resource.id, spec
    for source in project.sources:
        for spec in source.properties.tests:
            yield source.id, spec


def _place(node: str, spec: TestSpec) -> tuple[object, ...]:
    return node, spec.file, spec.line, spec.number


def _plain_values(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The values of the arguments in the order of their names, with only letters, digits and _."""
    for name in sorted(arguments):
        value = arguments[name]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        yield from (re.sub(r"[^0-9a-zA-Z_]+", "_", str(part)) for part in parts)


def _texts(value: Any) -> Any:
    """The value with texts for all that is no mapping or list, and mappings in the order of their keys."""
    if isinstance(value, dict):
        return {key: _texts(value[key]) for key in sorted(value)}
    return [_texts(part) for part in value] if isinstance(value, list) else str(value)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
