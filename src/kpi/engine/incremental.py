"""Incremental models and snapshots: rows added to a table that exists, with dbt's strategies and meaning.

A version is open while its `dbt_valid_to` is null (or is what dbt_valid_to_current says). `dbt_valid_from` and
`dbt_updated_at` are when it was changed at the source (strategy timestamp) or seen here first (strategy check),
`dbt_scd_id` a hash of its key and that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpi.database import columns_of, expression_problem
from kpi.engine.graph import Node
from kpi.engine.lint import moving_word
from kpi.errors import BuildError, CompileError, Place, nearest
from kpi.lazy import duckdb
from kpi.sql import Columns, counted, identifier

STRATEGIES = ("append", "delete+insert", "insert_overwrite", "merge")
SCHEMA_CHANGES = ("ignore", "fail", "append_new_columns", "sync_all_columns")
# The names dbt gives to both sides of a merge, for conditions of the project's own (incremental_predicates).
_OLD, _NEW = "DBT_INTERNAL_DEST", "DBT_INTERNAL_SOURCE"


def keeps_rows(config: Mapping[str, Any]) -> bool:
    """Whether the project says that the rows are to stay when the model's definition changes (decision 0006)."""
    return config.get("full_refresh") is False or bool(config.get("on_schema_change"))


def adds_to(node: Node, is_table: bool, full_refresh: bool) -> bool:
    """Whether a run adds to the model's table, and does not build it from nothing.

    `is_table` tells that its table is there, `full_refresh` that one is asked for or its definition changed.
    """
    if node.materialized != "incremental" or not is_table or node.config.get("full_refresh") is True:
        return False
    return not full_refresh or node.config.get("full_refresh") is False


def difference(con: duckdb.DuckDBPyConnection, node: Node, is_compared: bool) -> str:
    """Say how the table of an incremental model differs from what its SQL makes of all rows; empty when it does not.

    Rows are counted, and with `is_compared` compared where they can be: not of SQL that is another each time, or with
    other columns.
    """
    full_refresh = f"(\n{node.sql}\n)"
    (rows,), (full,) = (
        con.execute(f"select count(*) from {one}").fetchall()[0] for one in (node.relation, full_refresh)
    )
    if rows != full:
        return f"it holds {counted(rows, 'row')}, and a full refresh would make {full}"
    columns, others = columns_of(con, f"from {node.relation}"), columns_of(con, node.sql)
    if not is_compared or columns != others or moving_word(node.sql)[0]:
        return ""
    hashed = f"select sum(hash({', '.join(identifier(name) for name, _ in columns)})::hugeint) from"
    hashes = {con.execute(f"{hashed} {one}").fetchall()[0] for one in (node.relation, full_refresh)}
    return "" if len(hashes) == 1 else "it holds other rows than a full refresh would make"


def problems(node: Node, columns: Columns, increment: Columns) -> list[CompileError]:
    """What is wrong with a model's settings, given the columns of its table and of what is added to it."""
    if node.increment is None:
        return []
    message: list[str] = []
    config, names = node.config, [name for name, _ in columns]
    strategy, how = strategy_of(node), config.get("on_schema_change")
    if strategy not in STRATEGIES:
        message.append(f"incremental_strategy '{strategy}' is not supported.{nearest(strategy, STRATEGIES)}")
    if how and how not in SCHEMA_CHANGES:
        message.append(f"on_schema_change is one of {', '.join(SCHEMA_CHANGES)}, not '{how}'.")
    if strategy == "insert_overwrite" and not config.get("partition_by"):
        message.append("insert_overwrite needs partition_by: the column whose values are replaced together.")
    if strategy == "merge" and not config.get("unique_key"):
        message.append("merge needs unique_key: the columns by which a new row replaces an old one.")
    for setting in ("unique_key", "partition_by", "merge_update_columns", "merge_exclude_columns"):
        for name in listed(config.get(setting)):
            if name.isidentifier() and name.lower() not in [known.lower() for known in names]:
                message.append(f"{setting}: '{node.name}' has no column '{name}'.{nearest(name, names)}")
    for setting in (
        "unique_key",
        "partition_by",
        "merge_update_columns",
        "merge_exclude_columns",
        "incremental_predicates",
    ):
        for text in listed(config.get(setting)):
            if problem := expression_problem(str(text)):
                message.append(f"{setting}: '{str(text)[:100]}' {problem}.")
    if not config.get("on_schema_change"):
        missing = sorted(set(names) - {name for name, _ in increment})
        message += [f"when is_incremental() is true, the model has no column '{name}'." for name in missing]
    return [CompileError(node.file, node.line, one) for one in message]


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
    """Delete the rows whose key comes again. A null in a key equals no other: such rows stay, as dbt has it."""
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
    """Delete the partitions that come again; the one of null is one of them."""
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
            message = f"the new rows have no column {_names(gone)}, which {target} has. Set on_schema_change, or"
            place = Place(str(node.file))
            raise BuildError(node.name, f"{message} build it with --full-refresh.", place=place)
        return (), [name for name, _ in table]
    if how == "fail" and (added or gone or changed):
        message = f"its columns are not those of {target} (on_schema_change: fail):"
        differ = [f"'{name}' is new" for name, _ in added] + [f"'{name}' is gone" for name in gone]
        differ += [f"'{name}' is {kind} and was {old_kinds[name.lower()]}" for name, kind in changed]
        message = f"{message} {', '.join(differ)}. Build it with --full-refresh."
        raise BuildError(node.name, message, place=Place(str(node.file)))
    statements = [f"alter table {target} add column {identifier(name)} {kind}" for name, kind in added]
    if how == "sync_all_columns":
        statements += [f"alter table {target} drop column {identifier(name)}" for name in gone]
        statements += [f"alter table {target} alter column {identifier(name)} type {kind}" for name, kind in changed]
    return tuple(statements), [name for name, _ in new]


def _names(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)


SNAPSHOT_STRATEGIES = ("timestamp", "check")
HARD_DELETES = ("ignore", "invalidate", "new_record")
META_COLUMNS = ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted")
# One moment for a whole run of a snapshot: its statements are one transaction.
_NOW = "now()::timestamp"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a snapshot is written. `keys`, `updated_at` and `current` are SQL.

    `checked` is None for the strategy timestamp, and empty when all columns are checked.
    `names` are the names of the columns dbt adds, by dbt's own names for them.
    """

    keys: tuple[str, ...]
    updated_at: str
    checked: tuple[str, ...] | None
    hard_deletes: str
    current: str
    names: Mapping[str, str]

    @property
    def by_time(self) -> bool:
        """Whether the source itself tells when a row changed."""
        return self.checked is None


def snapshot_problems(config: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a snapshot's settings."""
    message = []
    strategy, checked = config.get("strategy"), config.get("check_cols")
    if not config.get("unique_key"):
        message.append("a snapshot needs unique_key: the column, or the list of columns, that tells its rows apart.")
    if strategy not in SNAPSHOT_STRATEGIES:
        message.append(
            f"a snapshot's strategy is timestamp or check, not '{strategy}'."
            f"{nearest(str(strategy), SNAPSHOT_STRATEGIES)}"
        )
    elif strategy == "timestamp" and not config.get("updated_at"):
        message.append("the strategy timestamp needs updated_at: the column that tells when a row was changed.")
    elif strategy == "timestamp" and checked:
        message.append("the strategy timestamp takes no check_cols; with them it is the strategy check.")
    elif strategy == "check" and checked != "all" and (isinstance(checked, str) or not checked):
        message.append(f"the strategy check needs check_cols: 'all' or a list of columns, not {checked!r}.")
    if config.get("hard_deletes") is not None and config.get("invalidate_hard_deletes") is not None:
        message.append("hard_deletes and invalidate_hard_deletes say the same; keep hard_deletes.")
    if config.get("hard_deletes", "ignore") not in HARD_DELETES:
        message.append(f"hard_deletes is one of {', '.join(HARD_DELETES)}, not '{config['hard_deletes']}'.")
    for name in config.get("snapshot_meta_column_names") or {}:
        if name not in META_COLUMNS:
            message.append(f"snapshot_meta_column_names: there is no '{name}'.{nearest(name, META_COLUMNS)}")
    return message


def plan_of(node: Node) -> Plan:
    """Return how the snapshot is written, its settings being right."""
    config = node.config
    key, checked = config["unique_key"], config.get("check_cols")
    named = config.get("snapshot_meta_column_names") or {}
    by_time = config["strategy"] == "timestamp"
    return Plan(
        keys=(key,) if isinstance(key, str) else tuple(key),
        updated_at=str(config.get("updated_at") or _NOW),
        checked=None if by_time else () if checked == "all" else tuple(checked or ()),
        hard_deletes=config.get("hard_deletes")
        or ("invalidate" if config.get("invalidate_hard_deletes") else "ignore"),
        current=str(config.get("dbt_valid_to_current") or "null"),
        names={name: named.get(name) or name for name in META_COLUMNS},
    )


def column_problems(node: Node, columns: Columns) -> list[CompileError]:
    """What is wrong with the columns a snapshot's settings name, given those its SELECT yields."""
    names = [name for name, _ in columns]
    checked = node.config.get("check_cols")
    key = node.config.get("unique_key") or ()
    asked = [("unique_key", name) for name in ((key,) if isinstance(key, str) else key)]
    asked += [("updated_at", str(node.config["updated_at"]))] if node.config.get("updated_at") else []
    asked += [("check_cols", name) for name in (checked if isinstance(checked, list | tuple) else ())]
    asked_too = [("dbt_valid_to_current", str(node.config.get("dbt_valid_to_current") or "null"))]
    message = [
        f"{setting}: '{text[:100]}' {problem}."
        for setting, text in asked + asked_too
        if (problem := expression_problem(str(text)))
    ]
    message += [
        f"{setting}: '{node.name}' has no column '{name}'.{nearest(name, names)}"
        for setting, name in asked
        if name.isidentifier() and name.lower() not in [known.lower() for known in names]
    ]
    meta = plan_of(node).names.values()
    message += [
        f"the column '{name}' is one that the snapshot itself adds. Rename it." for name in names if name in meta
    ]
    return [CompileError(node.file, node.line, one) for one in message]


def first_select(node: Node) -> str:
    """The SELECT that yields the snapshot's table when it is built first."""
    return _first(node, plan_of(node))


def snapshot_statements(node: Node, table: Columns | None, new: Columns) -> tuple[str, ...]:
    """The statements that bring a snapshot up to date.

    `table` are the columns of the table that is there, None when there is none; `new` those its SELECT yields.
    """
    plan = plan_of(node)
    if table is None:
        return (f"create table {node.relation} as\n{_first(node, plan)}",)
    had = {name.lower() for name, _ in table}
    added = [(name, kind) for name, kind in new if name.lower() not in had]
    statements = [f"alter table {node.relation} add column {identifier(name)} {kind}" for name, kind in added]
    deleted = plan.names["dbt_is_deleted"]
    if plan.hard_deletes == "new_record" and deleted.lower() not in had:
        statements.append(f"alter table {node.relation} add column {identifier(deleted)} varchar default 'False'")
        statements.append(f"alter table {node.relation} alter column {identifier(deleted)} drop default")
    opened, closed = (f"temp.main.{identifier(f'{node.name}__{what}')}" for what in ("opened", "closed"))
    names = [name for name, _ in new]
    common = [*names, *(plan.names[one] for one in _filled(plan))]
    columns = ", ".join(identifier(name) for name in common)
    scd_id, valid_to = identifier(plan.names["dbt_scd_id"]), identifier(plan.names["dbt_valid_to"])
    changed = _changed(plan, new, had)
    return (
        *statements,
        f"create or replace temp table {opened} as\n{_opened(node, plan, names, had, changed)}",
        f"create or replace temp table {closed} as\n{_closed(node, plan, changed)}",
        f"update {node.relation} as kept set {valid_to} = closed.closed_at from {closed} as closed"
        f" where closed.{scd_id} = kept.{scd_id} and {_is_open(plan, 'kept')}",
        f"insert into {node.relation} ({columns}) select {columns} from {opened}",
        f"drop table {opened}",
        f"drop table {closed}",
    )


def _filled(plan: Plan) -> tuple[str, ...]:
    return META_COLUMNS if plan.hard_deletes == "new_record" else META_COLUMNS[:-1]


def _version(plan: Plan) -> str:
    """The columns that make a row of the source a version of it, in dbt's order."""
    at, names = plan.updated_at, {dbt: identifier(name) for dbt, name in plan.names.items()}
    deleted = f",\n    'False' as {names['dbt_is_deleted']}" if plan.hard_deletes == "new_record" else ""
    return (
        f"{_hash((*plan.keys, at))} as {names['dbt_scd_id']},\n    {at} as {names['dbt_updated_at']},\n"
        f"    {at} as {names['dbt_valid_from']},\n"
        # Of the type that the time has, whatever an open end is written as.
        f"    coalesce(nullif({at}, {at}), {plan.current}) as {names['dbt_valid_to']}{deleted}"
    )


def _first(node: Node, plan: Plan) -> str:
    return f"select\n    *,\n    {_version(plan)}\nfrom (\n{node.sql}\n) as source_rows"


def _hash(parts: Iterable[str]) -> str:
    return "md5(" + " || '|' || ".join(f"coalesce(cast({part} as varchar), '')" for part in parts) + ")"


def _is_open(plan: Plan, table: str) -> str:
    valid_to = f"{table}.{identifier(plan.names['dbt_valid_to'])}"
    return f"{valid_to} is null" if plan.current == "null" else f"({valid_to} = {plan.current} or {valid_to} is null)"


def _both(node: Node, plan: Plan) -> str:
    """CTEs: the rows of the source, and the open versions, both with their keys."""
    keys = ", ".join(f"{key} as dbt_unique_key_{number}" for number, key in enumerate(plan.keys, 1))
    return (
        f"with source_query as (\n{node.sql}\n),\n"
        f"source_rows as (select *, {keys},\n    {_version(plan)}\nfrom source_query),\n"
        f"open_rows as (select *, {keys} from {node.relation} as open_version where {_is_open(plan, 'open_version')})"
    )


def _same_key(plan: Plan) -> str:
    numbers = range(1, len(plan.keys) + 1)
    return " and ".join(f"open_rows.dbt_unique_key_{one} = source_rows.dbt_unique_key_{one}" for one in numbers)


def _changed(plan: Plan, new: Columns, had: set[str]) -> str:
    """The condition under which a row of the source is another version than the open one."""
    if plan.by_time:
        valid_from = identifier(plan.names["dbt_valid_from"])
        changed = f"open_rows.{valid_from} < source_rows.{valid_from}"
    else:
        checked = plan.checked or tuple(name for name, _ in new)
        if any(name.lower() not in had for name in checked):
            changed = "true"  # a column more makes every row another version
        else:
            pairs = (f"open_rows.{one} is distinct from source_rows.{one}" for one in map(identifier, checked))
            changed = " or ".join(pairs)
    returned = _was_deleted(plan) if plan.hard_deletes == "new_record" else ""
    return f"({changed}{' or ' if returned else ''}{returned})"


def _was_deleted(plan: Plan) -> str:
    return f"open_rows.{identifier(plan.names['dbt_is_deleted'])} = 'True'"


def _opened(node: Node, plan: Plan, names: list[str], had: set[str], changed: str) -> str:
    """The versions that begin: of rows that are new, changed or back, and with new_record of rows that are gone."""
    columns = ", ".join(f"source_rows.{identifier(name)}" for name in [*names, *(plan.names[m] for m in _filled(plan))])
    sql = (
        f"{_both(node, plan)}\nselect {columns} from source_rows left join open_rows on {_same_key(plan)}\n"
        f"where open_rows.dbt_unique_key_1 is null or {changed}"
    )
    if plan.hard_deletes != "new_record":
        return sql
    gone = [f"open_rows.{identifier(name)}" if name.lower() in had else "null" for name in names]
    scd_id, valid_to = identifier(plan.names["dbt_scd_id"]), identifier(plan.names["dbt_valid_to"])
    gone += [_hash((f"open_rows.{scd_id}", _NOW)), _NOW, _NOW, f"open_rows.{valid_to}", "'True'"]
    return (
        f"{sql}\nunion all\nselect {', '.join(gone)} from open_rows left join source_rows on {_same_key(plan)}\n"
        f"where source_rows.dbt_unique_key_1 is null and not coalesce({_was_deleted(plan)}, false)"
    )


def _closed(node: Node, plan: Plan, changed: str) -> str:
    """The versions that end, and when: one time each, also when the source has their key twice."""
    scd_id = identifier(plan.names["dbt_scd_id"])
    valid_from = identifier(plan.names["dbt_valid_from"])
    sql = (
        f"{_both(node, plan)},\nended as (\n"
        f"select open_rows.{scd_id}, source_rows.{valid_from} as closed_at\n"
        f"from source_rows join open_rows on {_same_key(plan)} where {changed}"
    )
    if plan.hard_deletes != "ignore":
        flagged = f" and not coalesce({_was_deleted(plan)}, false)" if plan.hard_deletes == "new_record" else ""
        sql += (
            f"\nunion all\nselect open_rows.{scd_id}, {_NOW} from open_rows\n"
            f"left join source_rows on {_same_key(plan)} where source_rows.dbt_unique_key_1 is null{flagged}"
        )
    return f"{sql}\n)\nselect {scd_id}, min(closed_at) as closed_at from ended group by {scd_id}"
