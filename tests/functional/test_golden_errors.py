"""What a person reads for the ten commonest mistakes: whole, in golden files (`make golden` writes them anew)."""

# ruff: noqa: E501  a mistake is read along its line

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kpi.engine.compile import compiled
from kpi.errors import KpiError, error_text
from small_project import FILES, write

MART, STG, YML = "models/marts/calls_by_line.sql", "models/staging/stg_calls.sql", "models/staging/calls.yml"


def changed(file: str, old: str, new: str) -> Mapping[str, str]:
    assert old in FILES[file]
    return {file: FILES[file].replace(old, new, 1)}


MISTAKES: Mapping[str, Mapping[str, str]] = {
    "misspelt_column": changed(MART, "waited_seconds <=", "waited_second <="),
    "misspelt_ref": changed(MART, "ref('stg_calls')", "ref('stg_cals')"),
    "misspelt_source": changed(STG, "source('raw', 'calls')", "source('raw', 'call')"),
    "missing_comma": changed(STG, "    waited_seconds,", "    waited_seconds"),
    "unknown_macro": changed(MART, "count(*) as call_count", "{{ shar('1', '2') }} as call_count"),
    "wrong_yaml_indentation": changed(YML, "        columns:\n          - name: call_id", "       columns:\n          - name: call_id"),
    "unknown_yaml_key": changed(YML, "    columns:\n      - name: call_id\n        data_tests", "    columns:\n      - name: call_id\n        data_test"),
    "circular_refs": {
        **changed(STG, "{{ source('raw', 'calls') }}", "{{ ref('lines_used') }}"),
        "models/marts/lines_used.sql": "select line\nfrom {{ ref('calls_by_line') }}\n",
    },
    "ambiguous_column": {
        MART: "select\n    line,\n    count(*) as call_count,\n    0 as in_time_count\n"
        "from {{ ref('stg_calls') }} as calls\ninner join {{ ref('lines') }} as lines on calls.line = lines.line\ngroup by line\n"
    },
    "type_mismatch": changed(STG, "where not _is_superseded", "where arrived_on = waited_seconds"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_common_mistake_is_told_so_that_it_can_be_mended(
    tmp_path: Path, golden: Callable[[str, str], None], name: str
) -> None:
    with pytest.raises(KpiError) as caught:
        compiled(write(tmp_path, MISTAKES[name]))
    golden(f"errors/{name}.txt", error_text(caught.value) + "\n")
