"""Mistakes in the small project, and what compiling says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kpi.engine.compile import check_project
from kpi.errors import KpiError
from kpi.project.project import load_project
from small_project import write

M = "models/marts/m.sql"
FROM = "from {{ ref('stg_calls') }}"


def told(root: Path, changes: Mapping[str, str | bytes | None]) -> str:
    """What kpi says of the small project with these changes, columns left out; nothing when it is right."""
    return re.sub(r"(?m)^([^ :]+:\d+):\d+: ", r"\1: ", told_with_columns(root, changes))


def told_with_columns(root: Path, changes: Mapping[str, str | bytes | None]) -> str:
    """What kpi says of the small project with these changes; nothing when it is right."""
    try:
        check_project(load_project(write(root, changes)))
    except KpiError as error:
        return str(error)
    return ""
