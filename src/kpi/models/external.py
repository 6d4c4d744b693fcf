"""Models that dbt-duckdb writes to a file and reads from there: tables here, for a build writes no other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kpi.models.model import Node


def as_built(materialized: str) -> str:
    """Return what a model is built as that is materialized in some way."""
    return "table" if materialized == "external" else materialized


def external_notes(nodes: Iterable[Node]) -> Iterator[str]:
    """A line for each model whose file is not written."""
    for node in nodes:
        if node.kind == "model" and node.config.get("materialized") == "external":
            yield f"{node.file}:{node.line}: materialized='external': built as a table, and no file is written."


def external_problem(config: Mapping[str, Any]) -> str:
    """Say what is wrong with the settings of such a model; empty when nothing is, and for all other models."""
    form = _format_of(config) if config.get("materialized") == "external" else ""
    if form in ("", "parquet"):
        return ""
    told = f"materialized='external' with {form}: reading that back may change types."
    return f"{told} Use parquet, or a table and `kpi query --csv`."


def _format_of(config: Mapping[str, Any]) -> str:
    """The form of the file that dbt-duckdb would write for a model: as it says, or by the file's ending."""
    ending = str(config.get("location") or "").rpartition("/")[2].rpartition(".")[2]
    return str(config.get("format") or (ending if "." in str(config.get("location") or "") else "")).lower()
