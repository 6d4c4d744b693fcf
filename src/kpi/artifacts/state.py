"""`--state`: what `state:` compares with, be it a build of the warehouse or a folder with a manifest of dbt's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kpi.artifacts.artifacts import MANIFEST
from kpi.artifacts.manifest import write_manifest
from kpi.artifacts.testnames import test_names
from kpi.base.errors import ConfigError
from kpi.compile.graph import Graph
from kpi.compile.methods import State
from kpi.models.dbtforms import Made
from kpi.models.model import Node
from kpi.run.running import known_nodes

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ManifestState(State):
    """Compares with a manifest as dbt does: by checksums, unrendered settings, places and macros.

    `ids` are the manifest's names of nodes by our ids, `macros` the texts of macros then, `macros_now` those now.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    macros_now: Mapping[str, str] = field(default_factory=dict)

    def is_new(self, node: Node) -> bool:
        """Whether the manifest does not know the node."""
        return node.kind != "unit_test" and self.ids.get(node.id, node.id) not in self.before

    def is_modified(self, node: Node) -> bool:
        """Whether the node is another than in the manifest, or what its macros say is."""
        if node.kind == "unit_test":
            return False
        parts = ("configs",) if node.kind == "source" else ("body", "configs", "relation", "macros")
        return self.is_new(node) or any(self.differs(node, part) for part in parts)

    def differs(self, node: Node, part: str) -> bool:
        """Whether a part of the node is another than in the manifest."""
        name = self.ids.get(node.id, node.id)
        then, now = self.before.get(name), self.now.get(name)
        if then is None or now is None:
            return True
        match part:
            case "body":
                return bool(then.get("checksum") != now.get("checksum") or _judges(then) != _judges(now))
            case "configs":
                return bool(then.get("unrendered_config") != now.get("unrendered_config"))
            case "relation":
                return any(then.get(one) != now.get(one) for one in ("schema", "alias"))
            case "contract":
                enforced = [bool((one.get("contract") or {}).get("enforced")) for one in (then, now)]
                return enforced[0] != enforced[1] or (enforced[1] and then["columns"] != now["columns"])
            case _:
                used = now.get("depends_on", {}).get("macros", ())
                return any(self.macros.get(one) != self.macros_now.get(one) for one in used)


def state_of(graph: Graph, named: str, build: Facts, own: Mapping[str, Any], results: Mapping[str, str]) -> State:
    """Return what `state:` and `result:` compare with: the facts of a `build`, or the folder that --state `named`.

    Raises ConfigError for a folder without a manifest.
    """
    folder = Path(named)
    if not named or not folder.is_dir() or (folder / "build.json").is_file():
        return State(known_nodes(build), own, results)
    then = read_manifest(folder)
    names = test_names(graph)
    now = write_manifest(graph, names, Made(datetime.now(UTC), ""))
    return ManifestState(
        before={**then.get("nodes", {}), **then.get("sources", {}), **then.get("exposures", {})},
        now={**now["nodes"], **now["sources"], **now["exposures"]},
        results=results,
        ids={test: name.id for test, name in names.items()},
        macros={name: str(entry.get("macro_sql")) for name, entry in then.get("macros", {}).items()},
        macros_now={name: str(entry["macro_sql"]) for name, entry in now["macros"].items()},
    )


def read_manifest(folder: Path) -> Facts:
    """Read the manifest in a folder. Raises ConfigError when there is none that can be read."""
    import json

    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        told = f"--state: {folder} holds neither a build nor a {MANIFEST}"
        raise ConfigError(f"{told}. kpi artifacts writes one, as dbt does.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--state: {file} cannot be read: {error}.") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("nodes"), dict):
        raise ConfigError(f"--state: {file} is no manifest.")
    return manifest


def _judges(entry: Facts) -> Any:
    """What a generic test is made of: it has no file of its own."""
    return entry.get("test_metadata"), entry.get("raw_code") if entry.get("test_metadata") else None
