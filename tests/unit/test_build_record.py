"""The record of a build: what is written is what is read, and nothing else is taken for a record."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import typing
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpi import build_record, database
from kpi.build_record import BuildRecord, RecordError, from_json, outline_from_json, to_json
from kpi.errors import ConfigError
from kpi.jobs.doctor import examine
from kpi.jobs.options import Options
from kpi.jobs.plan import plan
from kpi.jobs.refresh import retry
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lifecycle import roll_back
from small_project import recorded
from tiny import Tiny

OLD = Path(__file__).parents[1] / "data/build_records/version_0.json"
TEXT = st.text(max_size=6)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that a record has."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        return st.none() | values(next(one for one in arguments if one is not type(None)))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        several = st.lists(values(arguments[0]), max_size=2).map(tuple)
        return several if arguments[1] is Ellipsis else st.tuples(*map(values, arguments))
    if origin is not None:
        return st.dictionaries(TEXT, values(arguments[1]), max_size=2)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = {one.name: values(hints[one.name]) for one in dataclasses.fields(kind) if one.name != "problem"}
        return st.builds(typing.cast("type[Any]", kind), **parts)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(-(2**63), 2**63),
        float: st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        bool: st.booleans(),
        date: st.dates(),
    }
    return plain[kind]


@given(values(BuildRecord))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_written_is_what_is_read(record: BuildRecord) -> None:
    text = to_json(record)
    assert from_json(text) == record
    assert from_json(text.encode()) == record
    assert to_json(from_json(text)) == text
    without = dataclasses.replace(record, nodes=None if record.nodes is None else {}, checks=())
    assert outline_from_json(text.encode()) == without


def shape(kind: Any) -> Any:
    """What a type looks like in JSON, down to its plain parts."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {one.name: shape(hints[one.name]) for one in dataclasses.fields(kind)}
    arguments = [shape(one) for one in typing.get_args(kind) if dataclasses.is_dataclass(one) or typing.get_args(one)]
    return [str(kind) if not arguments else "", *arguments]


def test_the_schema_version_is_raised_with_every_change_of_a_field() -> None:
    """A field that is added, renamed or gone: raise SCHEMA_VERSION, then write the hash that this says."""
    import hashlib

    text = json.dumps(shape(BuildRecord), sort_keys=True)
    found = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert (build_record.SCHEMA_VERSION, found) == (1, "59f1b204243e0cb4")


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values in JSON."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in pairs:
        yield (*place, name)
        yield from places(one, (*place, name))


def holder(content: Any, place: tuple[str | int, ...]) -> Any:
    for name in place[:-1]:
        content = content[name]
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a snapshot that was refreshed once, its seed changed since."""
    root = tmp_path_factory.mktemp("made")
    with database.building(root / "unused.duckdb", root / "spill") as con:
        tiny = Tiny(root, con)
        tiny.seed("id,changed_at,v", "1,2026-01-01,a")
        tiny.write(
            {
                "m": "select id, v from {{ ref('src') }}",
                "snapshots/history.sql": "{% snapshot history %}\n"
                "{{ config(unique_key='id', strategy='timestamp', updated_at='changed_at') }}\n"
                "select * from {{ ref('src') }}\n{% endsnapshot %}\n",
                "tests/no_nulls.sql": "select id from {{ ref('m') }} where v is null\n",
            }
        )
        tiny.refresh()
        tiny.seed("id,changed_at,v", "1,2026-02-01,b")
    return root


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Iterator[Tiny]:
    root = shutil.copytree(made, tmp_path / "p", symlinks=True)
    with duckdb.connect() as con:
        settings = (root / "dbt_project.yml").read_text()
        yield Tiny(root, con)
        assert (root / "dbt_project.yml").read_text() == settings


@pytest.fixture(scope="module")
def text(made: Path) -> str:
    return (made / "warehouse/current/build.json").read_text()


def problem_of(content: Any) -> str:
    """Why some JSON is no record; empty when it is, and is what is read."""
    try:
        record = from_json(json.dumps(content))
    except RecordError as error:
        return str(error)
    assert json.loads(to_json(record)) == content
    return ""


def test_a_value_of_another_type_is_told_and_not_quoted(text: str) -> None:
    assert problem_of(json.loads(text)) == ""
    found = set()
    for place in random.Random(7).sample(sorted(places(json.loads(text)), key=str), 100):
        others: tuple[Any, ...] = ({"gone": 1}, [[]], "a secret", 1.5, True, None)
        for other in others:
            content = json.loads(text)
            above = holder(content, place)
            if place != ("schema_version",) and above[place[-1]] != other:
                above[place[-1]] = other
                problem = problem_of(content)
                assert "a secret" not in problem
                assert not problem or str(place[-1]) in problem
                found.add(bool(problem))
    assert found == {True, False}  # a null, a text or a number may be right


def test_a_key_that_is_missing_is_told_by_its_name(text: str) -> None:
    for place in places(json.loads(text)):
        content = json.loads(text)
        above = holder(content, place)
        if isinstance(above, dict) and place[:1] in (("inputs",), ("storage",), ("as_of",), ("nodes",)):
            del above[place[-1]]
            is_of_record = not (len(place) == 2 and place[0] == "nodes") and place[2:3] not in (
                ("settings",),
                ("parents",),
            )
            is_of_record = is_of_record or len(place) == 3
            assert (f"'{place[-1]}' is missing" in problem_of(content)) == is_of_record, place


@pytest.mark.parametrize("cut", [0, 1, 100, 2000, -2])
def test_a_record_that_is_cut_short_is_told(text: str, cut: int) -> None:
    with pytest.raises(RecordError, match="is damaged: it is no JSON"):
        from_json(text[:cut])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 1', '"schema_version": 2', "is of schema version 2, and this kpi reads 1"),
        ('"schema_version": 1', '"schema_version": "1"', "is of schema version '1'"),
        ('"schema_version": 1', '"schema_version": true', "is of schema version True"),
        ('"as_of": ', '"as_off": "", "as_of": ', "'as_off' is not known"),
        ('"status": "published"', '"status": "public"', "status: one of 'unknown', 'building', .* is expected"),
        ('"failures": 0', '"failures": "0"', r"checks\.0\.failures: a whole number is expected, not a text"),
    ],
)
def test_a_record_of_another_version_or_with_a_strange_value_is_told(
    text: str, old: str, new: str, message: str
) -> None:
    assert old in text
    with pytest.raises(RecordError, match=message):
        from_json(text.replace(old, new))


def as_written_before(root: Path) -> None:
    """Give the published build the record that the version before would have written."""
    path = root / "warehouse/current/build.json"
    now = json.loads(path.read_text())
    old = json.loads(OLD.read_text().replace(json.loads(OLD.read_text())["id"], now["id"]))
    assert "schema_version" not in old
    old |= {"checksum": now["checksum"], "bytes": now["bytes"], "settings": now["engine"]}
    path.write_text(json.dumps(old, indent=1, sort_keys=True))


def test_a_first_refresh_over_a_build_of_the_version_before_builds_all_anew_and_says_once_why(tiny: Tiny) -> None:
    as_written_before(tiny.root)
    assert [step.action for step in plan(tiny.root, Options(date(2026, 3, 5)))] == ["build"] * 3 + ["test"]
    lines = tiny.refresh()
    (warning,) = [line for line in lines if "warning" in line]
    assert warning.startswith("  warning: everything is rebuilt, for nothing can start from build 00001-")
    assert warning.endswith("an earlier kpi wrote its build.json (no schema version; this one: 1).")
    assert "Built 3 of 3 seeds and models." in lines
    assert "Carried over from the published build: main.history." in lines
    # The history of a snapshot cannot be built anew: it went on.
    assert tiny.published("select v from history order by all") == [("a",), ("b",)]
    record = recorded(Warehouse(tiny.root / "warehouse"))
    assert (record.problem, record.based_on, record.snapshots) == ("", None, ("main.history",))
    assert not [line for line in tiny.refresh() if "everything is rebuilt" in line]
    tiny.seed("id,changed_at,v", "1,2026-03-01,c")
    assert not [line for line in tiny.refresh() if "everything is rebuilt" in line]


def test_readers_can_be_taken_back_to_a_build_of_the_version_before(tiny: Tiny) -> None:
    as_written_before(tiny.root)
    warehouse = Warehouse(tiny.root / "warehouse")
    old = warehouse.published()
    tiny.refresh()
    assert [build.record.status for build in warehouse.list_builds()] == ["published", "published"]
    roll_back(warehouse, old, "")
    assert warehouse.published() == old
    findings = [finding for finding in examine(warehouse) if finding.level != "ok"]
    assert [(finding.level, "an earlier kpi wrote" in finding.what) for finding in findings] == [("warning", True)]


@pytest.mark.parametrize("change", ["{", '{"schema_version": 7}', "gone"])
def test_a_damaged_record_costs_a_build_from_nothing_no_history_and_is_told_by_everybody(
    tiny: Tiny, change: str
) -> None:
    warehouse = Warehouse(tiny.root / "warehouse")
    path = tiny.root / "warehouse/current/build.json"
    path.unlink() if change == "gone" else path.write_text(change)
    said = "cannot be read" if change == "gone" else "version 7" if "7" in change else "damaged"
    assert any(finding.level == "error" and said in finding.what for finding in examine(warehouse))
    with pytest.raises(ConfigError, match=said):
        retry(tiny.root, Options(date(2026, 3, 5)), lambda _: None)
    lines = tiny.refresh()
    assert any("everything is rebuilt" in line and said in line for line in lines)
    assert tiny.published("select v from history order by all") == [("a",), ("b",)]
    old = warehouse.build_folders()[0].name
    with pytest.raises(ConfigError, match="is not known to have been published"):
        roll_back(warehouse, old, "")
