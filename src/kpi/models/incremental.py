"""Incremental models: what is added to a table that is there, by the model's strategy, as dbt-duckdb has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kpi.base.errors import BuildError, CompileError, nearest
from kpi.base.names import identifier
from kpi.base.sqltext import expression_problem
from kpi.models.model import Node

Columns = tuple[tuple[str, str], ...]
STRATEGIES = ("append", "delete+insert", "insert_overwrite", "merge")
SCHEMA_CHANGES = ("ignore", "fail", "append_new_columns", "sync_all_columns")
# The names dbt gives to both sides of a merge, for conditions of the project's own (incremental_predicates).
_OLD, _NEW = "DBT_INTERNAL_DEST", "DBT_INTERNAL_SOURCE"


def keeps_rows(config: Mapping[str, Any]) -> bool:
    """Whether the project says that the rows are to stay when the model's definition changes (decision 0006)."""
    return config.get("full_refresh") is False or bool(config.get("on_schema_change"))


def adds_to(node: Node, is_table: bool, anew: bool) -> bool:
    """Whether a run adds to the model's table, and does not build it from nothing.

    `is_table` tells that its table is there, `anew` that a full refresh is asked for or its definition changed.
    """
    if node.materialized != "incremental" or not is_table or node.config.get("full_refresh") is True:
        return False
    return not anew or node.config.get("full_refresh") is False


def problems(node: Node, columns: Columns, increment: Columns) -> list[CompileError]:
    """What is wrong with a model's settings, given the columns of its table and of what is added to it."""
    if node.increment is None:
        return []
    told: list[str] = []
    config, names = node.config, [name for name, _ in columns]
    strategy, how = strategy_of(node), config.get("on_schema_change")
    if strategy not in STRATEGIES:
        told.append(f"incremental_strategy '{strategy}' is not supported.{nearest(strategy, STRATEGIES)}")
    if how and how not in SCHEMA_CHANGES:
        told.append(f"on_schema_change is one of {', '.join(SCHEMA_CHANGES)}, not '{how}'.")
    if strategy == "insert_overwrite" and not config.get("partition_by"):
        told.append("insert_overwrite needs partition_by: the column whose values are replaced together.")
    if strategy == "merge" and not config.get("unique_key"):
        told.append("merge needs unique_key: the columns by which a new row replaces an old one.")
    for setting in ("unique_key", "partition_by", "merge_update_columns", "merge_exclude_columns"):
        for name in listed(config.get(setting)):
            if name.isidentifier() and name.lower() not in [known.lower() for known in names]:
                told.append(f"{setting}: '{node.name}' has no column '{name}'.{nearest(name, names)}")
    for setting in (
        "unique_key",
        "partition_by",
        "merge_update_columns",
        "merge_exclude_columns",
        "incremental_predicates",
    ):
        for text in listed(config.get(setting)):
            if problem := expression_problem(str(text)):
                told.append(f"{setting}: '{str(text)[:100]}' {problem}.")
    if not config.get("on_schema_change"):
        missing = sorted(set(names) - {name for name, _ in increment})
        told += [f"when is_incremental() is true, the model has no column '{name}'." for name in missing]
    return [CompileError(node.file, node.line, one) for one in told]


def strategy_of(node: Node) -> str:
    """The model's strategy; dbt-duckdb's own is delete+insert, which without a unique_key only appends."""
    given = node.config.get("incremental_strategy")
    if not given or given == "default":
        return "delete+insert" if node.config.get("unique_key") else "append"
    return str(given).replace("delete_insert", "delete+insert")


def listed(value: Any) -> tuple[str, ...]:
    """A setting that is one text or a list of texts, as a tuple; of a mapping, as some databases take, its `field`."""
    if isinstance(value, Mapping):
        value = value.get("field")
    return (value,) if isinstance(value, str) else tuple(value or ())


def increment_statements(node: Node, sql: str, table: Columns, new: Columns) -> tuple[str, ...]:
    """The statements that add the rows of `sql` to the model's table.

    `table` are the columns of the table that is there, `new` those of the rows. Raises BuildError when they differ and
    on_schema_change says so.
    """
    target, staged = str(node.relation), staging_of(node)
    alter, names = _schema_change(node, table, new)
    columns = ", ".join(identifier(name) for name in names)
    strategy = strategy_of(node)
    insert = f"insert into {target} ({columns})\nselect {columns} from "
    if strategy == "append":
        return (*alter, f"{insert}(\n{sql}\n) as new_rows")
    before: tuple[str, ...] = (f"create or replace temp table {staged} as\n{sql}", *alter)
    after = f"drop table {staged}"
    if strategy == "merge":
        return (*before, _merge(node, target, staged, names), after)
    delete = _delete(node, target, staged) if strategy == "delete+insert" else _delete_parts(node, target, staged)
    return (*before, *delete, f"{insert}{staged}", after)


def staging_of(node: Node) -> str:
    """Where the new rows wait: a table of the connection's own, which no reader ever sees."""
    return "temp.main." + identifier(f"{node.name}__new")


def _delete(node: Node, target: str, staged: str) -> tuple[str, ...]:
    """Delete the rows whose key comes anew. A null in a key equals no other: such rows stay, as dbt has it."""
    key = node.config.get("unique_key")
    conditions = [f" and {condition}" for condition in listed(node.config.get("incremental_predicates"))]
    if not key:
        return ()
    if isinstance(key, str):
        where = f"({key}) in (select ({key}) from {staged}){''.join(conditions)}"
        return (f"delete from {target} where {where}",)
    old = "DBT_INCREMENTAL_TARGET"
    same = " and ".join(f"{_NEW}.{name} = {old}.{name}" for name in key)
    return (f"delete from {target} as {old} using {staged} as {_NEW} where {same}{''.join(conditions)}",)


def _delete_parts(node: Node, target: str, staged: str) -> tuple[str, ...]:
    """Delete the partitions that come anew; the one of null is one of them."""
    parts = listed(node.config.get("partition_by"))
    same = " and ".join(f"{_NEW}.{part} is not distinct from {_OLD}.{part}" for part in parts)
    distinct = f"(select distinct {', '.join(parts)} from {staged})"
    return (f"delete from {target} as {_OLD} using {distinct} as {_NEW} where {same}",)


def _merge(node: Node, target: str, staged: str, names: Sequence[str]) -> str:
    config = node.config
    same = [f"{_NEW}.{name} = {_OLD}.{name}" for name in listed(config.get("unique_key"))]
    same += listed(config.get("incremental_predicates"))
    only = [name.lower() for name in listed(config.get("merge_update_columns"))]
    never = [name.lower() for name in listed(config.get("merge_exclude_columns"))]
    updated = [name for name in names if (not only or name.lower() in only) and name.lower() not in never]
    sets = ", ".join(f"{identifier(name)} = {_NEW}.{identifier(name)}" for name in updated)
    columns = ", ".join(identifier(name) for name in names)
    values = ", ".join(f"{_NEW}.{identifier(name)}" for name in names)
    return (
        f"merge into {target} as {_OLD} using {staged} as {_NEW} on ({') and ('.join(same)})\n"
        f"when matched then update set {sets}\nwhen not matched then insert ({columns}) values ({values})"
    )


def _schema_change(node: Node, table: Columns, new: Columns) -> tuple[tuple[str, ...], list[str]]:
    """The statements that make the table fit the new rows, and the names of the columns that are filled."""
    how = node.config.get("on_schema_change") or "ignore"
    old_kinds, new_kinds = ({name.lower(): kind for name, kind in columns} for columns in (table, new))
    added = [(name, kind) for name, kind in new if name.lower() not in old_kinds]
    gone = [name for name, _ in table if name.lower() not in new_kinds]
    changed = [(name, kind) for name, kind in new if old_kinds.get(name.lower(), kind) != kind]
    target = str(node.relation)
    if how == "ignore":
        if gone:
            told = f"the new rows have no column {_names(gone)}, which {target} has. Set on_schema_change, or"
            raise BuildError(f"{node.name} ({node.file})", f"{told} build it anew with --full-refresh.")
        return (), [name for name, _ in table]
    if how == "fail" and (added or gone or changed):
        told = f"its columns are not those of {target} (on_schema_change: fail):"
        differ = [f"'{name}' is new" for name, _ in added] + [f"'{name}' is gone" for name in gone]
        differ += [f"'{name}' is {kind} and was {old_kinds[name.lower()]}" for name, kind in changed]
        message = f"{told} {', '.join(differ)}. Build it anew with --full-refresh."
        raise BuildError(f"{node.name} ({node.file})", message)
    statements = [f"alter table {target} add column {identifier(name)} {kind}" for name, kind in added]
    if how == "sync_all_columns":
        statements += [f"alter table {target} drop column {identifier(name)}" for name in gone]
        statements += [f"alter table {target} alter column {identifier(name)} type {kind}" for name, kind in changed]
    return tuple(statements), [name for name, _ in new]


def _names(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
