"""What the server that forks runs and readers imports once: all of kpi. It opens no database: threads do not survive."""

from __future__ import annotations

import importlib
import pkgutil

import duckdb
import jinja2
import pyarrow
import sqlglot.optimizer
import yaml

import kpi

__all__ = ["duckdb", "jinja2", "pyarrow", "sqlglot", "yaml"]

for module in pkgutil.iter_modules(kpi.__path__):
    if module.name != "expectations" and not module.name.startswith("demo"):
        importlib.import_module(f"kpi.{module.name}")
