"""A feed's contract that contradicts itself is told with its place, before any delivery is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.base.errors import ConfigError
from kpi.deliveries.feed import read_feed
from kpi.parse.project import load_project
from small_project import FILES, write

YAML = "models/staging/calls.yml"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("key: [call_id]", "key: [calls_id]", r"calls.yml:5: 'key' names no column 'calls_id'. Did you mean 'call_id'?"),
    ("key: [call_id]", "key: []", "calls.yml:5: the contract of 'calls' names no key."),
    ("key: [call_id]", "key: [line]", "calls.yml:5: the key column 'line' must be required."),
    ("name: line\n", "name: _file\n", "calls.yml:4: the column '_file' is one that kpi adds"),
    ("name: arrived_on\n", "name: call_id\n", "stands here twice"),
    ("data_type: bigint", "data_type: money", "money"),
])  # fmt: skip
def test_a_mistake_in_a_contract(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FILES[YAML]
    write(tmp_path, {YAML: FILES[YAML].replace(old, new)})
    with pytest.raises(ConfigError) as raised:
        read_feed(load_project(tmp_path).sources[0])
    assert message in str(raised.value)
