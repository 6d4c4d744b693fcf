"""A way of other people's dbt projects: a small project and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Way:
    """A project, what its tables hold, what its tests come to, and notes that kpi gives of it.

    `results` are statuses of data tests and unit tests by the name before the hash. What is `apart` is as said here in
    kpi and otherwise in dbt, and is not compared.
    """

    files: Mapping[str, str]
    tables: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    arguments: str = ""
    apart: tuple[str, ...] = ()
