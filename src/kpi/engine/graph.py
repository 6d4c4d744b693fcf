"""Nodes, the things of a project that are built or checked, and the whole project as a graph of them.

Each node comes after what it depends on. How a node is made of a file is in `parser`, how all are in `nodes`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kpi.engine.lint import Finding
from kpi.project.relation import Lines, Relation
from kpi.sql import Columns

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed
    from kpi.project.project import Project
    from kpi.project.properties import Column, TestSpec


NodeKind = Literal["model", "seed", "snapshot", "source", "test", "analysis", "exposure", "unit_test"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The rendered texts that run before and after a node, or a whole run, in order."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Increment:
    """What an incremental model is when its rows are added to the table that is there: is_incremental() is true."""

    sql: str
    lines: Lines
    hooks: Hooks


@dataclass(frozen=True, slots=True)
class Node:
    """One thing of the project that is built or checked. `shape` is a hash of what it is, layout and comments apart.

    `sql` is the compiled SELECT (empty for seeds and sources), `lines` where in the file it comes from. A test has no
    relation of its own; `relation` then is the one it tests, when it tests one. `config` are its merged settings,
    `written` those of the last place that gives each. `depth` is how many parts of the file's path lie
    before the folders that dbt selects it by.
    """

    id: str
    kind: NodeKind
    name: str
    file: Path
    line: int
    relation: Relation
    materialized: str
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    sql: str = ""
    lines: Lines = Lines()  # noqa: RUF009  a frozen value
    shape: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    column_types: tuple[tuple[str, str], ...] = ()
    delimiter: str = ","
    test: TestSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    increment: Increment | None = None
    hooks: Hooks = Hooks()
    constraints: tuple[Mapping[str, Any], ...] = ()
    depth: int = 1

    @property
    def fqn(self) -> tuple[str, ...]:
        """The names dbt selects it by: its project, the folders below the model folder, and its own name."""
        name = (*self.name.rsplit(".", 1),) if self.is_version else (self.name,)
        return (self.id.split(".")[1], *self.file.parts[self.depth : -1], *name)

    @property
    def is_version(self) -> bool:
        """Whether it is a version of a model: its name is `model.v2`."""
        return self.kind == "model" and "." in self.name


def digest(*parts: str) -> str:
    """Return a hash of texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def line_of(node: Node, parent: Relation) -> int:
    """Return the line of a node's file where it names one of the tables it reads."""
    if node.test and node.test.kind != "singular":
        return node.line
    found = re.search(rf"(?<![\w.]){re.escape(str(parent))}(?!\w)", node.sql)
    return node.lines.at(found.start() if found else 0)


def has_house_rules(config: Mapping[str, Any]) -> bool:
    """Tell whether settings ask for house rules: `meta: {house_rules: true}`."""
    meta = config.get("meta")
    return isinstance(meta, Mapping) and meta.get("house_rules") is True


@dataclass(frozen=True, slots=True)
class Row:
    """One row as written: its values by column name in lower case, and where each one stands."""

    values: Mapping[str, Any]
    file: Path
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, column: str) -> int:
        """Return the line of a value."""
        return self.lines.get(column, self.line)


@dataclass(frozen=True, slots=True)
class Fixture:
    """The rows of an input, or those expected. `sql` is there instead of rows when they were given as a SELECT.

    `node` is the input's id; empty for the expected rows. `rows` is None when a seed stands for itself.
    """

    node: str
    rows: tuple[Row, ...] | None
    sql: str
    file: Path
    line: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows, in the order in which they first occur."""
        return tuple(dict.fromkeys(column for row in self.rows or () for column in row.values))


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a unit test puts in the place of variables, of the environment's variables and of macros."""

    variables: Mapping[str, Any]
    env_vars: Mapping[str, Any]
    macros: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.variables or self.env_vars or self.macros)


@dataclass(frozen=True, slots=True)
class UnitTest:
    """One unit test of the model with the id `model`."""

    id: str
    name: str
    model: str
    given: tuple[Fixture, ...]
    expect: Fixture
    overrides: Overrides
    description: str
    config: Mapping[str, Any]
    file: Path
    line: int

    __test__ = False


# Tables that no model or seed may be: deliveries, and what kpi writes beside the models.
RESERVED_SCHEMA = "raw"
RESERVED_TABLES = ("marts.expectation_results", "marts.revision_causes", "marts.runs")
# Where failing rows of data tests are kept, a table a test.
AUDIT_SCHEMA = "dbt_test__audit"


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes by id, parents before children, and the feeds the sources describe.

    `on_run` are the hooks of a whole run, `environment_read` the environment variables that templates and YAML read,
    with the values they had, `notes` what has no effect or is not built here.
    """

    project: Project
    nodes: Mapping[str, Node]
    feeds: tuple[Feed, ...]
    environment_read: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unit_tests: tuple[UnitTest, ...] = ()
    columns: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    on_run: Hooks = Hooks()

    def built(self) -> tuple[Node, ...]:
        """Seeds, models, snapshots and sources that are files outside, in building order.

        Of these, ephemeral models have no table of their own.
        """
        return tuple(
            node
            for node in self.nodes.values()
            if node.kind in ("seed", "model", "snapshot") or (node.kind == "source" and node.sql)
        )

    def unread(self) -> tuple[Node, ...]:
        """The sources that nothing loads and nothing reads. Where there are feeds each source is to be loaded."""
        read = {parent for node in self.nodes.values() for parent in node.depends_on}
        return tuple(
            node
            for node in self.nodes.values()
            if node.kind == "source" and not (node.sql or node.depends_on or self.feeds or node.id in read)
        )

    @property
    def outside(self) -> dict[str, str]:
        """The locations of sources that are files outside, each with a hash of their content."""
        found = [node for node in self.nodes.values() if node.kind == "source" and node.sql]
        return {node.sql.removeprefix("select * from "): node.shape for node in found}

    def tests(self) -> tuple[Node, ...]:
        """Data tests in name order."""
        return tuple(sorted((node for node in self.nodes.values() if node.kind == "test"), key=lambda test: test.name))


# Tells name and type of the columns of the nodes of a graph, by node id.
ColumnsOf = Callable[[Graph], Mapping[str, Columns]]
