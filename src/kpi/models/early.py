"""What is known of a model before it is rendered: its text, its facts for macros, and what its config() says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kpi.models.template import Templates
from kpi.parse.project import Project, Resource, merged, read_text
from kpi.parse.properties import MODEL_CONFIGS, SNAPSHOT_CONFIGS, tags_of

SETTINGS = {"model": MODEL_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
_SWITCH = re.compile(r"\benabled\b")
_CONFIG = re.compile(r"\{\{-?\s*config\s*\(.*?\)\s*-?\}\}", re.DOTALL)


def text_of(project: Project, resource: Resource) -> str:
    """Return the template of a model, snapshot or analysis."""
    return read_text(project.root, resource.file) if resource.text is None else resource.text


def facts_of(project: Project, resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
    """What macros such as generate_schema_name may ask of a node."""
    about = resource.properties
    below = resource.file.parts[resource.depth :]
    version = about.version if about else ""
    name = about.model if about and version else resource.name
    return {
        "name": name,
        "alias": config.get("alias") or (f"{name}_v{version}" if version else name),
        "resource_type": resource.kind,
        "unique_id": resource.id,
        "package_name": resource.package,
        "path": "/".join(below),
        "original_file_path": "/".join(resource.file.parts[resource.depth - 1 :]),
        "fqn": [resource.package, *below[:-1], name, *([f"v{version}"] if version else [])],
        "config": dict(config),
        "tags": list(tags_of(config.get("tags"))),
        "meta": dict(config.get("meta") or {}),
        "description": about.description if about else "",
        "columns": {column.name: {"name": column.name, "data_type": column.data_type} for column in about.columns}
        if about
        else {},
        "version": version or None,
        "database": "kpi",
        "schema": config.get("schema"),
    }


def switches_itself_off(project: Project, resource: Resource, templates: Templates) -> bool:
    """Whether a file says by config() that it is disabled: then nothing else in it counts."""
    text = text_of(project, resource) if resource.kind != "seed" else ""
    if "config" not in text or not _SWITCH.search(text):
        return False
    settings, facts = SETTINGS[resource.kind], facts_of(project, resource, resource.config)
    # What stands before the config() may fail while nothing is known yet; then its own calls are asked alone.
    for one in (text, "".join(_CONFIG.findall(text))):
        found = templates.render(one, resource.file, settings, base=resource.config, model=facts, parsing=True).config
        if "enabled" in found:
            return not found["enabled"]
    return False


def early_config(project: Project, resource: Resource, templates: Templates) -> dict[str, Any]:
    """Return the settings of a model as far as they are known before it can be rendered."""
    settings, facts = SETTINGS[resource.kind], facts_of(project, resource, resource.config)
    text = text_of(project, resource)
    found = templates.render(text, resource.file, settings, base=resource.config, model=facts, parsing=True)
    return merged([resource.config, found.config])
