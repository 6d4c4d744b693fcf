"""What the project says of its models, read from the manifest of the build: descriptions, and names of clauses.

A model calls its clauses by `config: {meta: {left_out: [{clause: …, fi: …, sv: …, en: …}]}}`; `clause` is a condition
of its SQL, written with columns by their names alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from kpi.cache import remembered
from kpi.files import read_regular
from kpi.presentation import LANGUAGES, headline

LEFT_OUT = "left_out"
SUPERSEDED = "not _is_superseded"  # the clause of every model of deliveries that may be corrected


@lru_cache(maxsize=4)
def _manifest(folder: Path, build: str) -> dict[str, dict[str, Any]]:
    """The nodes and sources of a build's manifest by `schema.name`; none where it has no manifest."""
    try:
        content = json.loads(read_regular(folder / "manifest.json"))
    except (OSError, ValueError):
        return {}
    every = [*content.get("nodes", {}).values(), *content.get("sources", {}).values()]
    found = {}
    for node in every:
        if node.get("resource_type") in ("model", "source", "seed", "snapshot"):
            name = node.get("alias") or node.get("identifier") or node["name"]
            found[f"{node.get('schema')}.{name}"] = node
    return found


def _nodes(folder: Path) -> dict[str, dict[str, Any]]:
    resolved = folder.resolve()
    return _manifest(resolved, resolved.name)


def normal(clause: str) -> str:
    """Return the SQL of a clause as the tracer writes it, in lower case. Raises ValueError when it is no condition."""
    return remembered(partial(_normal, clause), "clause", clause)


def _normal(clause: str) -> str:
    import sqlglot
    from sqlglot.errors import SqlglotError

    from kpi.provenance.trace import plain_text

    try:
        return plain_text(sqlglot.parse_one(clause, dialect="duckdb")).lower()
    except SqlglotError as error:
        raise ValueError(headline(str(error))) from None


def clause_labels(folder: Path) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Return what each model of a build calls its clauses: by relation and clause, a text by language."""
    return labels_of({name: node.get("config", {}).get("meta") or node.get("meta")
                      for name, node in _nodes(folder).items()})  # fmt: skip


def labels_of(metas: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return what models call their clauses, from the `meta` of each: by relation and clause, a text by language."""
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for relation, meta in metas.items():
        for one in (meta.get(LEFT_OUT) if isinstance(meta, dict) else None) or ():
            if isinstance(one, dict) and isinstance(clause := one.get("clause"), str):
                texts = {lang: str(one[lang]) for lang in LANGUAGES if one.get(lang)}
                with suppress(ValueError):
                    found[relation, normal(clause)] = texts
    return found


def descriptions(folder: Path) -> Mapping[str, str]:
    """Return the description of each model and source by its relation."""
    return {name: " ".join(str(node.get("description") or "").split()) for name, node in _nodes(folder).items()}


def pseudonyms(folder: Path, relation: str) -> tuple[str, ...]:
    """Return the columns of a raw table whose contract calls them pseudonyms."""
    columns = _nodes(folder).get(relation, {}).get("columns", {})
    return tuple(
        name
        for name, column in columns.items()
        if (column.get("config", {}).get("meta") or column.get("meta") or {}).get("pseudonym")
    )
