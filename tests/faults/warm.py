"""What the server that forks runs and readers imports once, all of kpi. It opens no database."""

from __future__ import annotations

import difflib
import encodings.cp1252
import encodings.idna
import encodings.iso8859_15
import encodings.utf_8_sig
import importlib
import json
import pkgutil
import shutil
import socket

import duckdb
import jinja2
import pandas
import pyarrow
import pyarrow.compute
import sqlglot.optimizer
import yaml

import kpi

# Who runs as another user may not be able to read the interpreter's own modules.
__all__ = [
    "difflib",
    "duckdb",
    "encodings",
    "jinja2",
    "json",
    "pandas",
    "pyarrow",
    "shutil",
    "socket",
    "sqlglot",
    "yaml",
]

for module in pkgutil.walk_packages(kpi.__path__, "kpi."):
    if not module.name.startswith(("kpi.validation.expectations", "kpi.cli.__main__")):
        importlib.import_module(module.name)
