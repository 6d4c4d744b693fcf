"""The name and id dbt gives a data test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kpi.models.model import Node
from kpi.parse.project import Project
from kpi.parse.properties import TestSpec

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


def generic_name(project: str, judged: Node, spec: TestSpec) -> TestName:
    """Return dbt's names of a generic test of a node."""
    arguments = {**({"column_name": spec.column} if spec.column else {}), **spec.arguments}
    package, _, kind = spec.kind.rpartition(".")
    of = judged.name
    if judged.kind == "source":
        source, _, of = judged.name.partition(".")
        model = f"source('{source}', '{of}')"
        of = f"{source}_{of}"
        prefix = f"source_{kind}"
    else:
        prefix, model = kind, f"ref('{judged.name}')"
    prefix = f"{package}_{prefix}" if package else prefix
    alias = name = f"{prefix}_{of}_{'__'.join(_plain_values(arguments))}"
    if spec.name:
        alias = name = spec.name
    elif len(name) > LONGEST_ALIAS:
        alias = f"{f'{prefix}_{of}'[:KEPT_OF_ALIAS]}_{_md5(name)}"
    arguments["model"] = f"{{{{ get_where_subquery({model}) }}}}"
    about = {"kwargs": _texts(arguments), "name": kind, "namespace": str(package or None)}
    hashed = _md5(name + repr(about))[-KEPT_OF_HASH:]
    return TestName(f"test.{project}.{name}.{hashed}", name, alias, arguments, spec.column, spec.kind)


def _specs(project: Project) -> Iterator[tuple[str, TestSpec]]:
    """The data tests as written, each with the id of what it judges."""
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
