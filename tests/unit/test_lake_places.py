"""Where the lake is, as the settings say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.errors import ConfigError
from kpi.warehouse.lake_store import store_of


@pytest.mark.parametrize(
    ("setting", "location", "uri"),
    [
        ("", "", "{root}/warehouse/lake/raw.calls"),
        ("elsewhere/lake", "{root}/elsewhere/lake", "{root}/elsewhere/lake/raw.calls"),
        ("/mnt/lake", "/mnt/lake", "/mnt/lake/raw.calls"),
        ("file:///mnt/lake/", "/mnt/lake", "/mnt/lake/raw.calls"),
        ("s3://county-kpi/lake/", "s3://county-kpi/lake", "s3://county-kpi/lake/raw.calls"),
        ("S3A://county-kpi/lake", "s3a://county-kpi/lake", "s3a://county-kpi/lake/raw.calls"),
        ("gs://county-kpi", "gs://county-kpi", "gs://county-kpi/raw.calls"),
        (
            "abfss://kpi@county.dfs.core.windows.net/lake",
            "abfss://kpi@county.dfs.core.windows.net/lake",
            "abfss://kpi@county.dfs.core.windows.net/lake/raw.calls",
        ),
    ],
)
def test_a_place_of_the_lake(tmp_path: Path, setting: str, location: str, uri: str) -> None:
    store = store_of(tmp_path / "warehouse", setting)
    assert (store.location, store.uri("raw.calls")) == (location.format(root=tmp_path), uri.format(root=tmp_path))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("https://example.org/lake", "is no place for Parquet"),
        ("s3://", "names no place in the store: write it as s3://bucket/folder"),
        ("abfss://county/lake", "write it as abfss://container@account"),
        ("s3://county/lake?access_key=a", "holds a key or a setting"),
        ("s3://key:secret@county/lake", "names no place in the store"),
    ],
)
def test_what_is_no_place_is_said(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        store_of(tmp_path, setting)
    assert "secret" not in str(error.value).replace(setting, "")
