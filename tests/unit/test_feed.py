"""A feed's contract that contradicts itself is told with its place, before any delivery is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.errors import ConfigError
from kpi.ingest.contract import read_feed
from kpi.project.project import load_project
from small_project import FILES, write

YAML = "models/staging/calls.yml"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("key: [call_id]", "key: [calls_id]", r"calls.yml:5: 'key' names no column 'calls_id'. Did you mean 'call_id'?"),
    ("key: [call_id]", "key: []", "calls.yml:5: the contract of 'calls' names no key."),
    ("key: [call_id]", "key: [line]", "calls.yml:5: the key column 'line' must be required."),
    ("name: line\n", "name: _file\n", "calls.yml:4: the column '_file' is one that kpi adds"),
    ("name: arrived_on\n", "name: call_id\n", "stands here twice"),
    ("data_type: bigint", "data_type: money", "money"),
    ("key: [call_id]", "key: [call_id], time_zone: Europe/Lodnon", "no time zone 'Europe/Lodnon'. Did you mean 'Europ"),
    ("key: [call_id]", "key: [call_id], time_zone: ../../etc/passwd", "there is no time zone '../../etc/passwd'."),
    ("key: [call_id]", "key: [call_id], reject_threshold: {share: .nan}", "'share' is at most 0.5 of a file's"),
    ("key: [call_id]", "key: [call_id], reject_threshold: {share: half}", "'share' is at most 0.5 of a file's"),
    ("key: [call_id]", "key: [call_id], reject_threshold: {rows: few}", "'rows' is a whole number of records."),
    ("key: [call_id]", "key: [call_id], reject_threshold: {rows: .inf}", "'rows' is a whole number of records."),
    ("name: line\n", "name: Call_Id\n", "the columns 'call_id' and 'Call_Id' differ in their case alone."),
    ("name: line\n", "name: _FILE\n", "the column '_FILE' is one that kpi adds"),
    ("data_type: bigint", "data_type: text\n            config: {meta: {codes: ['b ']}}", "'b ' begins or ends with"),
    ("data_type: bigint", "data_type: text\n            config: {meta: {aliases: [' a']}}", "' a' begins or ends"),
    ("data_type: bigint", "data_type: text\n            config: {meta: {codes: []}}", "'codes' names none."),
])  # fmt: skip
def test_a_mistake_in_a_contract(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FILES[YAML]
    write(tmp_path, {YAML: FILES[YAML].replace(old, new)})
    with pytest.raises(ConfigError) as raised:
        read_feed(load_project(tmp_path).sources[0])
    assert message in str(raised.value)


@pytest.mark.parametrize(("settings", "message"), [
    ("raw_retention_years: 0", "'raw_retention_years' is a whole number of years, 1 or more, not '0'"),
    ("raw_retention_years: -3", "not '-3'"),
    ("raw_retention_years: yes", "not 'True'"),
    ("raw_retention_years: 2.5", "not '2.5'"),
    ("raw_retention_years: five", "not 'five'"),
    ("raw_retention_years: 5, expected_every: once", "a register has no retention"),
    ("raw_retention_years: 5, raw_retention_by: arrived", "not 'arrived'. Did you mean 'arrived_on'?"),
    ("raw_retention_years: 5, raw_retention_by: line", "names a date, a time or a year of the feed, not 'line'"),
])  # fmt: skip
def test_a_mistake_in_a_retention(tmp_path: Path, settings: str, message: str) -> None:
    write(tmp_path, {YAML: FILES[YAML].replace("key: [call_id]", f"key: [call_id], {settings}")})
    with pytest.raises(ConfigError) as raised:
        read_feed(load_project(tmp_path).sources[0])
    assert message in str(raised.value)


def test_a_retention_asks_for_its_column_where_there_are_several(tmp_path: Path) -> None:
    """With one date it is that one; a feed without any takes the years of another one's rows."""
    text = FILES[YAML].replace("key: [call_id]", "key: [call_id], raw_retention_years: 5")
    assert read_feed(load_project(write(tmp_path, {YAML: text})).sources[0]).retention.by == "arrived_on"
    for changed, message in (
        (text.replace("data_type: bigint", "data_type: timestamp"), "the report year: waited_seconds, arrived_on."),
        (text.replace("data_type: date", "data_type: varchar"), "as feed.column when it is that of another feed's row"),
    ):
        with pytest.raises(ConfigError, match="raw_retention_by") as raised:
            read_feed(load_project(write(tmp_path, {YAML: changed})).sources[0])
        assert message in str(raised.value)


def test_a_retention_loads_nothing_anew(tmp_path: Path) -> None:
    """It says nothing of what a delivery must look like."""
    plain = read_feed(load_project(write(tmp_path)).sources[0])
    text = FILES[YAML].replace("key: [call_id]", "key: [call_id], raw_retention_years: 5")
    kept = read_feed(load_project(write(tmp_path, {YAML: text})).sources[0])
    assert (kept.retention.years, kept.fingerprint) == (5, plain.fingerprint)
