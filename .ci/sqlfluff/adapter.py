"""`adapter` of templates as sqlfluff renders them: what dispatches gets the variant for DuckDB."""

from __future__ import annotations

from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context


@pass_context
def dispatch(context: Context, name: str, namespace: str = "") -> Any:
    """Return the macro `default__<name>` of the file that asks."""
    return context.resolve(f"default__{name}")
