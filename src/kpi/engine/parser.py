"""Files of a project to nodes: models, snapshots and analyses rendered and read, seeds, sources and exposures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from kpi.cache import remembered
from kpi.engine import incremental
from kpi.engine.graph import Hooks, Increment, Node, digest, has_house_rules
from kpi.engine.lint import Finding, broken_rules, every, place_of
from kpi.engine.materializations import (
    as_built,
    cte_of,
    external_problem,
    seed_columns,
    with_hooks,
)
from kpi.engine.template import NeedsColumns, RenderInput, Templates
from kpi.errors import CompileError, ConfigError, nearest
from kpi.lazy import duckdb, exp
from kpi.project.external import content_of, files_read, in_database, location_problem
from kpi.project.macros import RUN_QUERY
from kpi.project.packages import read_text
from kpi.project.project import Project, Resource, merged
from kpi.project.properties import MODEL_CONFIGS, SNAPSHOT_CONFIGS, Properties, Source, tags_of
from kpi.project.relation import DATABASE, Lines, Relation, Rendered
from kpi.sql import relation_name
from kpi.yaml_loader import Section

# Where the files stand as tables that models read outright.
FILES = "files"
SETTINGS = {"model": MODEL_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
_SWITCH = re.compile(r"\benabled\b")
_CONFIG = re.compile(r"\{\{-?\s*config\s*\(.*?\)\s*-?\}\}", re.DOTALL)


def text_of(project: Project, resource: Resource) -> str:
    """Return the template of a model, snapshot or analysis."""
    return read_text(project.root, resource.file) if resource.text is None else resource.text


def raw_code(project: Project, resource: Resource) -> str:
    """Return the template as dbt's artifacts have it: a whole file without the blanks at its ends."""
    return text_of(project, resource).strip() if resource.text is None else resource.text


def attributes_of(project: Project, resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
    """What macros such as generate_schema_name may ask of a node."""
    about = resource.properties
    below = resource.file.parts[resource.depth :]
    version = about.version if about else ""
    name = about.model if about and version else resource.name
    return {
        "name": name,
        "alias": config.get("alias") or (f"{name}_v{version}" if version else name),
        "resource_type": resource.kind,
        "unique_id": resource.id,
        "package_name": resource.package,
        "path": "/".join(below),
        "original_file_path": "/".join(resource.file.parts[resource.depth - 1 :]),
        "fqn": [resource.package, *below[:-1], name, *([f"v{version}"] if version else [])],
        "config": dict(config),
        "tags": list(tags_of(config.get("tags"))),
        "meta": dict(config.get("meta") or {}),
        "description": about.description if about else "",
        "columns": {column.name: {"name": column.name, "data_type": column.data_type} for column in about.columns}
        if about
        else {},
        "version": version or None,
        "database": "kpi",
        "schema": config.get("schema"),
    }


def _early_config(resource: Resource, templates: Templates, text: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a text sets by config() while nothing is known yet but `about`, what YAML says of the resource."""
    render_input = RenderInput(base=about["config"], model=about, parsing=True)
    return templates.render(text, resource.file, SETTINGS[resource.kind], render_input).config


def is_disabled_by_itself(project: Project, resource: Resource, templates: Templates) -> bool:
    """Tell whether a file says by config() that it is disabled: then nothing else in it counts."""
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" not in text or not _SWITCH.search(text):
        return False
    # What stands before the config() may fail while nothing is known yet; then its own calls are rendered alone.
    for one in (text, "".join(_CONFIG.findall(text))):
        found = _early_config(resource, templates, one, attributes_of(project, resource, resource.config))
        if "enabled" in found:
            return not found["enabled"]
    return False


def early_config(project: Project, resource: Resource, templates: Templates) -> dict[str, Any]:
    """Return the settings of a model as far as they are known before it can be rendered."""
    about = attributes_of(project, resource, resource.config)
    return merged([resource.config, _early_config(resource, templates, text_of(project, resource), about)])


# What decides where a model stands, and so must be known before anything refers to it.
_PLACING = re.compile(r"""\b(schema|alias|target_schema)['"]?\s*[=:]|\bephemeral\b""")


def source_nodes(project: Project) -> dict[str, Node]:
    """Return a node for every source table, by id. One that is files outside has the SELECT that reads them."""
    return {source.id: source_node(project, source) for source in project.sources}


def source_node(project: Project, source: Source) -> Node:
    about, node_id = source.properties, source.id
    return Node(
        id=node_id,
        kind="source",
        name=f"{source.source_name}.{source.name}",
        file=about.file,
        line=about.line,
        relation=Relation(node_id, source.schema, source.identifier),
        materialized="table" if source.location else "source",
        tags=source.tags,
        sql=f"select * from {source.location}" if source.location else "",
        shape=content_of(project.root, source.location) if source.location else "",
        description=about.description,
        columns=about.columns,
        depth=len(project.folders.get(source.package, Path()).parts) + 1,
        config={"meta": source.meta, "loaded_at_field": source.loaded_at_field, "freshness": source.freshness},
    )


def _with_sources(project: Project, resource: Resource, templates: Templates, rendered: Rendered) -> Rendered:
    """Let a model that reads files outright read them as a source, which is noted among the templates' `outside`.

    The build then holds what was in the files, and who reads it needs none of them. Raises CompileError for files that
    may not be read. In a project with house rules they are left as they are, which is refused.
    """
    if project.is_strict or not (reads := files_read(rendered.sql)):
        return rendered
    sql, depends_on = rendered.sql, dict(rendered.depends_on)
    for read in reversed(reads):
        line, column = rendered.lines.place(read.start)
        if "://" in read.location and "file://" not in read.location:
            message = f"{read.location[:200]}: kpi reaches for no network. Fetch the file."
            raise CompileError(resource.file, line, message, column)
        if problem := location_problem(project.root, project.warehouse_settings.source_folders, read.location):
            raise CompileError(resource.file, line, f"{read.location[:200]}: {problem}", column)
        properties = Properties(read.table, "", (), (), {}, resource.file, line)
        source = Source(
            *(FILES, read.table, FILES, read.table, (), properties, Section(resource.file, line)),
            location=read.location,
            package=resource.package,
        )
        source = templates.outside.setdefault(source.id, source)
        message = f"{read.location[:200]} is read once, as the table {FILES}.{read.table} of the build."
        templates.notes.append(f"{resource.file}:{line}: {message}")
        depends_on[source.id] = Relation(source.id, FILES, read.table)
        sql = sql[: read.start] + str(depends_on[source.id]) + sql[read.end :]
    spans = [(one.start, one.end, len(relation_name(FILES, one.table))) for one in reads]
    return replace(rendered, sql=sql, lines=rendered.lines.replaced(spans), depends_on=depends_on)


def _select(
    project: Project, resource: Resource, templates: Templates, rendered: Rendered, is_judged: bool
) -> tuple[Select, dict[str, Relation]]:
    """Return what a model's SQL is, and the nodes that it reads.

    A table of the project that it names outright is read as by ref(), with a note; with house rules that is a mistake.
    """
    rendered = _with_sources(project, resource, templates, rendered)
    while True:
        try:
            select = read_select(rendered, resource.file, resource.kind, templates.relations, is_judged)
        except NamedOutrightError as error:
            start, end = error.span
            if project.is_strict or not end:
                raise
            relation = error.relation
            templates.notes.append(f"{error} It is read as that.")
            rendered = replace(
                rendered,
                sql=rendered.sql[:start] + str(relation) + rendered.sql[end:],
                lines=rendered.lines.replaced([(start, end, len(str(relation)))]),
                depends_on={**rendered.depends_on, relation.node: relation},
            )
        else:
            return select, rendered.depends_on


def from_databases(project: Project, nodes: Mapping[str, Node], delivered: Collection[str]) -> dict[str, Node]:
    """Return the sources that nothing of the project loads and that a DuckDB file has, with what reads them."""
    found = {}
    for source in project.sources:
        node = nodes[source.id]
        file, _ = project.database_file(source)
        is_loaded = "feed" in source.meta or str(node.relation) in delivered
        if (
            node.sql
            or node.depends_on
            or is_loaded
            or source.problem
            or not file
            or not (project.root / file).is_file()
        ):
            continue
        location = in_database(file, source.schema, source.identifier)
        shape = content_of(project.root, location)
        found[node.id] = replace(node, materialized="table", sql=f"select * from {location}", shape=shape)
    return found


def place(project: Project, resource: Resource, templates: Templates) -> Relation:
    """Where a resource stands, by its `schema` and `alias` here, in its file or in YAML, as the macros have it."""
    config = dict(resource.config)
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" in text and _PLACING.search(text):
        config |= _early_config(resource, templates, text, attributes_of(project, resource, config))
    config |= resource.above
    about = attributes_of(project, resource, config)
    name = templates.alias_of(config.get("alias"), about)
    schema = config.get("target_schema") or templates.schema_of(config.get("schema"), {**about, "alias": name})
    relation = Relation(resource.id, schema, name)
    is_read_as_cte = resource.kind == "model" and config.get("materialized") == "ephemeral"
    return cte_of(relation) if is_read_as_cte else relation


def resource_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Read a seed, or render and parse a model or snapshot. Returns None when it is disabled. Raises CompileError."""
    is_on = {"enabled": True, **resource.config, **resource.above}["enabled"]
    if not is_on or is_disabled_by_itself(project, resource, templates):
        return None
    make = _seed if resource.kind == "seed" else _model
    node = make(project, resource, templates)
    return with_hooks(node, templates) if node else None


def analysis_node(project: Project, resource: Resource, templates: Templates) -> Node | None:
    """Render an analysis, which is compiled for people to copy and never run; one that cannot be is only noted."""
    if not resource.config.get("enabled", True) or is_disabled_by_itself(project, resource, templates):
        return None
    try:
        rendered = templates.render(
            text_of(project, resource), resource.file, MODEL_CONFIGS, RenderInput(base=resource.config)
        )
    except NeedsColumns:
        raise
    except CompileError as error:
        if project.is_strict and error.code != RUN_QUERY:
            raise
        templates.notes.append(f"{error} The analysis is not compiled.")
        return None
    node_id = resource.id
    return Node(
        id=node_id,
        kind="analysis",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=Relation(node_id, "", resource.name),
        materialized="analysis",
        tags=tags_of(resource.config["tags"]),
        depends_on=tuple(rendered.depends_on),
        sql=rendered.sql,
        lines=rendered.lines,
        config=resource.config,
        written=resource.written,
    )


def exposure_nodes(project: Project, templates: Templates) -> tuple[list[Node], list[CompileError]]:
    """Return a node for every exposure, and what is wrong with any."""
    nodes, errors = [], []
    for exposure in project.exposures:
        depends_on: dict[str, Relation] = {}
        try:
            for call in exposure.depends_on:
                if not isinstance(templates.value(call, exposure.file, depends_on), Relation):
                    raise ConfigError(f"depends_on takes ref('…') and source('…', '…'), not '{call}'.")
        except ConfigError as error:
            errors.append(CompileError(exposure.file, exposure.line, str(error)))
            continue
        except CompileError as error:
            errors.append(CompileError(exposure.file, exposure.line, error.message))
            continue
        node_id = f"exposure.{exposure.package}.{exposure.name}"
        nodes.append(
            Node(
                id=node_id,
                kind="exposure",
                name=exposure.name,
                file=exposure.file,
                line=exposure.line,
                relation=Relation(node_id, "", exposure.name),
                materialized="exposure",
                tags=exposure.tags,
                depends_on=tuple(depends_on),
                description=exposure.description,
                depth=len(project.folders.get(exposure.package, Path()).parts) + 1,
                config={"type": exposure.kind, "owner": exposure.owner},
            )
        )
    return nodes, errors


def documented(resource: Resource) -> dict[str, Any]:
    """Return what YAML says of a resource, as fields of its node."""
    about = resource.properties
    return {"description": about.description, "columns": about.columns} if about else {}


def _seed(project: Project, resource: Resource, templates: Templates) -> Node:
    delimiter = {**resource.config, **resource.above}.get("delimiter", ",")
    text = read_text(project.root, resource.file)
    config = merged([resource.config, resource.above])
    types: Section = config.get("column_types") or Section(resource.file, 1)
    header, doubts = seed_columns(text, resource.file, delimiter, types)
    for doubt in doubts:
        if has_house_rules(config):
            raise doubt
        templates.notes.append(str(doubt))
    for name in types:
        if name not in header:
            message = f"column_types: '{resource.name}' has no column '{name}'.{nearest(name, header)}"
            raise CompileError(types.file, types.lines[name], message)
    content = f"{text}\0{sorted(types.items())}\0{delimiter}"
    return Node(
        id=resource.id,
        kind="seed",
        name=resource.name,
        file=resource.file,
        line=1,
        relation=templates.relations[resource.id],
        materialized="seed",
        tags=tags_of(config["tags"]),
        shape=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        **documented(resource),
        column_types=tuple({**header, **types}.items()),
        delimiter=delimiter,
        config=config,
        written={**resource.written, **resource.above},
        depth=resource.depth,
    )


def _model(project: Project, resource: Resource, templates: Templates) -> Node | None:
    relation, settings = templates.relations[resource.id], SETTINGS[resource.kind]
    attributes = attributes_of(project, resource, resource.config)
    attributes |= {"alias": relation.name, "schema": relation.schema}
    text = text_of(project, resource)
    render_input = RenderInput(this=relation, base=resource.config, model=attributes)
    rendered = templates.render(text, resource.file, settings, render_input)
    if not {"enabled": True, **rendered.config, **resource.above}["enabled"]:
        return None
    about = resource.properties
    config = merged([resource.config, rendered.config, resource.above])
    is_judged = resource.kind == "model" and has_house_rules(config)
    select, depends_on = _select(project, resource, templates, rendered, is_judged)
    database = templates.database_of(config.get("target_database") or config.get("database"), attributes)
    _check_settings(resource, relation, config, database)
    increment, shape = None, select.shape
    if config.get("materialized") == "incremental":
        again = templates.render(text, resource.file, settings, replace(render_input, is_incremental=True))
        added, more = _select(project, resource, templates, again, is_judged=False)
        increment = Increment(added.sql, added.lines, Hooks())
        depends_on = {**depends_on, **more}
        shape = digest(shape, added.shape)
    return Node(
        id=resource.id,
        kind="snapshot" if resource.kind == "snapshot" else "model",
        name=resource.name,
        file=resource.file,
        line=select.line,
        relation=relation,
        materialized="snapshot" if resource.kind == "snapshot" else as_built(config.get("materialized", "view")),
        tags=config["tags"],
        depends_on=tuple(depends_on),
        sql=select.sql,
        lines=select.lines,
        shape=digest(shape, settings_text(config, about)),
        **documented(resource),
        config=config,
        written={**resource.written, **rendered.config, **resource.above},
        depth=resource.depth,
        findings=select.findings,
        increment=increment,
        constraints=about.constraints if about else (),
    )


def _check_settings(resource: Resource, relation: Relation, config: Mapping[str, Any], database: str) -> None:
    """Raise CompileError for settings that contradict each other, came too late, or name another database."""
    if database.lower() != DATABASE:
        found = (f"{name}='{config[name]}'" for name in ("target_database", "database") if config.get(name))
        what = next(found, f"generate_database_name() gives '{database}'")
        message = f"{what}: there is one database here, '{DATABASE}'. Leave it out, or set a schema."
        raise CompileError(resource.file, resource.line, message)
    if resource.kind == "snapshot":
        for message in incremental.snapshot_problems(config):
            raise CompileError(resource.file, resource.line, message)
    elif message := external_problem(config):
        raise CompileError(resource.file, resource.line, message)
    elif (config.get("materialized") == "ephemeral") != (not relation.schema):
        message = (
            "materialized='ephemeral' must be known before anything else: set it in the first config(), or in YAML."
        )
        raise CompileError(resource.file, resource.line, message)


# What of a model's settings changes the table it becomes, apart from its SQL and its place.
_SHAPING = (
    *("contract", "incremental_strategy", "unique_key", "partition_by", "on_schema_change", "incremental_predicates"),
    *("merge_update_columns", "merge_exclude_columns", "strategy", "updated_at", "check_cols", "hard_deletes"),
    *("invalidate_hard_deletes", "dbt_valid_to_current", "snapshot_meta_column_names"),
)


def settings_text(config: Mapping[str, Any], about: Properties | None) -> str:
    """The settings that count in a fingerprint, in an order of their own; empty when there are none."""
    found = [f"{name}={config[name]!r}" for name in _SHAPING if config.get(name) is not None]
    if about and config.get("contract"):
        found += [f"{column.name} {column.data_type} {column.constraints!r}" for column in about.columns]
        found += [repr(constraint) for constraint in about.constraints]
    return "\n".join(found)


_A_FILE = " Describe the file as a source (config.meta.external_location) and read that."
_AROUND = "select * from (\n"
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")


class NamedOutrightError(CompileError):
    """A model names a table of the project without ref() or source(): the `relation`, and the `span` of its SQL."""

    def __init__(self, file: Path, line: int, column: int, message: str, relation: Relation) -> None:
        super().__init__(file, line, message, column)
        self.relation = relation
        self.span = (0, 0)


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT, without the semicolon it may end in, and the line of the file it begins in.

    `shape` is a hash of its words, layout and comments apart; `findings` are the house rules it breaks, `lines` where
    in the file the SQL comes from.
    """

    sql: str
    shape: str
    line: int
    findings: tuple[Finding, ...] = ()
    lines: Lines = Lines()  # noqa: RUF009  a frozen value


def findings_of(node: Node) -> tuple[Finding, ...]:
    """Return what a node's SELECT breaks of the house rules, whether it asks for them or not."""
    if node.kind != "model" or has_house_rules(node.config):
        return node.findings
    import sqlglot

    try:
        return broken_rules(sqlglot.parse_one(node.sql, dialect="duckdb"), node.sql, node.lines)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return ()


def read_select(
    rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation], is_judged: bool = False
) -> Select:
    """Check a compiled `what` (model or test), and with `is_judged` by the house rules.

    Raises CompileError when it is not exactly one SELECT, or names a table that it did not get from ref or source and
    that is no CTE of its own. `relations` are all there are, for telling what was meant.
    """
    parents = [str(relation) for relation in rendered.depends_on.values()]

    def make() -> Select:
        found = _read_select(rendered, file, what, relations, is_judged)
        is_same = found.sql == rendered.sql and found.lines == rendered.lines
        return replace(found, sql="", lines=Lines()) if is_same else found

    select = remembered(
        make,
        "select", what, is_judged, rendered.sql, rendered.lines, sorted(parents), str(rendered.this),
        rendered.is_incremental,
    )  # fmt: skip
    return select if select.sql else replace(select, sql=rendered.sql, lines=rendered.lines)


def _read_select(
    rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation], is_judged: bool
) -> Select:
    import logging

    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    sql, lines = rendered.sql, rendered.lines
    semicolon = sqlglot.TokenType.SEMICOLON
    try:
        tokens = dialect.tokenize(sql)
        while tokens and tokens[-1].token_type == semicolon:
            sql = sql[: tokens.pop().start].rstrip()
        for token, after in pairwise(tokens):
            if token.token_type == semicolon:
                message = f"a {what} is one SELECT, here a second one begins."
                raise _at(rendered, file, after.start, message)
        if not tokens:
            raise CompileError(file, 1, f"a {what} is one SELECT, here is none.")
        tree = dialect.parser().parse(tokens, sql)[0]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise _not_sql(rendered, file, error) from None
    line = lines.at(tokens[0].start)
    if isinstance(tree, sqlglot.exp.Values | sqlglot.exp.Summarize | sqlglot.exp.Pivot):
        # DuckDB selects by these too: in brackets they stand after `from`, as any SELECT does.
        start = tokens[0].start
        lines = lines.replaced([(start, start, len(_AROUND))])
        sql = f"{sql[:start]}{_AROUND}{sql[start:]}\n)"
        return _read_select(replace(rendered, sql=sql, lines=lines), file, what, relations, is_judged)
    if not isinstance(tree, sqlglot.exp.Query):
        word = tokens[0].text if tree is None or isinstance(tree, sqlglot.exp.Command) else tree.key
        raise _at(rendered, file, tokens[0].start, f"a {what} is one SELECT, here is {word.upper()}.")
    _check_tree(tree, rendered, file, what, relations)
    findings = broken_rules(tree, sql, lines) if is_judged else ()
    return Select(sql, _shape(tokens, sql), line, findings, lines)


def _shape(tokens: Any, sql: str) -> str:
    """Hash the words of the SQL. Two words without a blank between, such as the parts of x'00', stay one."""
    words = []
    end = 0
    for token in tokens:
        glued = token.start == end and end and (sql[end - 1].isalnum() and (sql[end].isalnum() or sql[end] == "'"))
        end = token.end + 1
        words.append(("" if glued else "\n") + sql[token.start : end])
    return hashlib.blake2b("".join(words).encode(), digest_size=16).hexdigest()


def _not_sql(rendered: Rendered, file: Path, error: Any) -> CompileError:
    """Tell a mistake in the SQL from SQL that only sqlglot does not read: DuckDB knows."""
    from kpi.database import confined, problem_of

    with confined({"errors_as_json": "true"}) as con:
        try:
            con.extract_statements(rendered.sql)
        except duckdb.Error as raised:
            problem = problem_of(raised, rendered.sql)
            return _at(rendered, file, problem.offset or 0, f"not SQL: {problem.message}")
    details = error.errors[0] if getattr(error, "errors", None) else {}
    before = rendered.sql.split("\n")[: int(details.get("line") or 1)]
    offset = sum(len(line) + 1 for line in before[:-1]) + int(details.get("col") or 1) - 1
    near = f" near {details['highlight']}" if details.get("highlight") else ""
    message = f"DuckDB reads this SQL but sqlglot, which kpi needs to, does not{near}. Write it in another way."
    return _at(rendered, file, offset, message)


@cache
def _is_checked(kind: type) -> bool:
    """Whether parts of this kind are looked at by the next: few are, and asking five questions of each takes time."""
    return issubclass(kind, (exp.DML, exp.DDL, exp.Pivot, exp.Table, exp.Lateral, exp.CTE))


def _check_tree(tree: Any, rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation]) -> None:
    for node in every(tree):
        kind: Any = type(node)
        if not _is_checked(kind):
            continue
        if isinstance(node, exp.DML | exp.DDL) and not isinstance(node, exp.Query):
            message = f"a {what} only selects, {node.key.upper()} is not allowed."
            raise _at(rendered, file, place_of(node), message)
        if isinstance(node, exp.Pivot) and not node.args.get("unpivot") and _is_open(node):
            message = (
                "PIVOT takes its columns from the data, so what they are is not known. Name them: ON x IN ('a', 'b')."
            )
            raise _at(rendered, file, place_of(node), message)
        if isinstance(node, exp.Table | exp.Lateral):
            _check_table(node, rendered, file, what, relations)
        elif isinstance(node, exp.CTE) and node.alias.lower() in _in_sight(node.parent):
            message = f"the CTE '{node.alias}' hides another of that name. Rename one of them."
            raise _at(rendered, file, place_of(node.args["alias"]), message)


def _is_open(pivot: Any) -> bool:
    """Whether a pivot does not say which values become columns."""
    on = pivot.args.get("fields") or pivot.expressions
    return not all(isinstance(part, exp.In) for part in on)


def _check_table(table: Any, rendered: Rendered, file: Path, what: str, relations: Mapping[str, Relation]) -> None:
    if isinstance(table.this, exp.Func):
        name = (table.this.name if isinstance(table.this, exp.Anonymous) else table.this.sql_name()).lower()
        if name not in _TABLE_FUNCTIONS:
            message = (
                f"a {what} reads ref() and source() only, not {name}().{_A_FILE if name.startswith('read_') else ''}"
            )
            raise _at(rendered, file, place_of(table), message)
        return
    if isinstance(table, exp.Lateral):
        return
    parts = tuple(part.name for part in table.parts)
    if parts in {relation.parts for relation in rendered.depends_on.values()}:
        return
    if len(parts) == 1 and parts[0].lower() in _in_sight(table):
        return
    name, place = ".".join(parts), place_of(table)
    if rendered.this and parts == rendered.this.parts:
        if rendered.is_incremental:
            return
        raise _at(rendered, file, place, "a model cannot read itself.")
    if len(parts) == 1 and not parts[0].isidentifier():
        message = f"a {what} reads ref() and source() only, not the file '{name}'.{_A_FILE}"
        raise _at(rendered, file, place, message)
    same = [one for one in relations.values() if one.schema and _is_named(one, parts)]
    if same:
        first, last = table.parts[0].meta, table.parts[-1].meta
        message = f"the table '{name}' is named outright; write {_call(same[0].node)}."
        error = NamedOutrightError(file, *rendered.lines.place(place), message, same[0])
        error.span = (int(first["start"]), int(last["end"]) + 1) if "start" in first and "end" in last else (0, 0)
        raise error
    calls = {relation.name: _call(node) for node, relation in relations.items()}
    close = nearest(parts[-1], calls)
    meant = calls.get(close.removeprefix(" Did you mean '").removesuffix("'?"), "")
    message = f"the table '{name}' is named outright; write {meant or 'ref() or source()'}."
    raise _at(rendered, file, place, message)


def _is_named(relation: Relation, parts: tuple[str, ...]) -> bool:
    """Whether a name of one or two parts is a relation's: without a schema it is one of `main`."""
    wanted = parts if len(parts) > 1 else ("main", *parts)
    return tuple(part.lower() for part in relation.parts) == tuple(part.lower() for part in wanted)


def _call(node: str) -> str:
    kind, _, *names = node.split(".")
    if kind != "source" and len(names) > 1:
        return f"{{{{ ref({names[0]!r}, v={names[1].removeprefix('v')}) }}}}"
    return f"{{{{ {'source' if kind == 'source' else 'ref'}({', '.join(repr(name) for name in names)}) }}}}"


def _in_sight(place: Any) -> Iterator[str]:
    """The names of the CTEs that a part of the tree may read: those before it, and those of the queries around it."""
    came, node = place, place.parent
    while node is not None:
        own = node.args.get("with_")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                if cte is not came or node.recursive:
                    yield cte.alias.lower()
                if cte is came:
                    break
        elif own is not None and own is not came:
            yield from (cte.alias.lower() for cte in own.expressions)
        came, node = node, node.parent


def _at(rendered: Rendered, file: Path, offset: int, message: str) -> CompileError:
    """The error at the place of the file that an offset of the compiled SQL comes from."""
    line, column = rendered.lines.place(offset)
    return CompileError(file, line, message, column)
