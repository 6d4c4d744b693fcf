"""Who may open what of a build: the readers' file, and the restricted database with all rows.

The stewards' file has the name of the readers' in a closed folder of its own: so the catalogue's name and what views
refer to are the same in both, and whatever else holds rows needs no guard but that folder's. Imports nothing heavy.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import BuildRecord, StewardsRecord
from kpi.errors import ConfigError, nearest
from kpi.ingest.raw_files import hash_of

if TYPE_CHECKING:
    from kpi.engine.graph import Graph
    from kpi.settings import WarehouseSettings


DATABASE = "kpi.duckdb"
STEWARDS = "stewards"


def database_folder(folder: Path) -> Path:
    """Return the folder of a build's whole database: the build's own, or the stewards' in it."""
    return folder / STEWARDS if os.path.isdir(folder / STEWARDS) else folder


def database_path(folder: Path, stewards: bool = False, name: str = DATABASE) -> Path:
    """Return the file of a build that all readers open, or that stewards do, which may be the same.

    Raises ConfigError when the build has none for readers, or when whoever asks may not open it.
    """
    place = (database_folder(folder) if stewards else folder) / name
    try:
        place.stat()
    except PermissionError:
        raise _refusal(folder, place) from None
    except FileNotFoundError:
        if not stewards and database_folder(folder) != folder:
            message = f"build {folder.resolve().name} was not published, so it has no file for readers."
            raise ConfigError(f"{message} Stewards open it with --stewards, or kpi.open(stewards=True).") from None
        return place
    if not os.access(place, os.R_OK):
        raise _refusal(folder, place)
    return place


def readable_database(folder: Path) -> Path:
    """Return the file that all readers open; of a build that was held back, which may have none, that of stewards."""
    return database_path(folder, stewards=not os.path.lexists(folder / DATABASE))


def make_place(folder: Path, warehouse_settings: WarehouseSettings) -> Path:
    """Make the folder of a new build, and return where in it the database is to be written.

    Where schemas are left out for readers, nobody else can look into it until the build is sealed.
    """
    if not warehouse_settings.stewards_schemas:
        folder.mkdir()
        return folder
    folder.mkdir(mode=0o700)
    place = folder / STEWARDS
    place.mkdir(mode=0o700)
    return place


def written(database: Path, hashed: str = "") -> tuple[str, int] | tuple[None, None]:
    """Return the checksum and the bytes of a database file that is finished, by which damage is seen; None of none.

    It is read unless its hash is known.
    """
    return (hashed or hash_of(database), database.stat().st_size) if database.is_file() else (None, None)


def has_its_size(folder: Path, record: BuildRecord) -> bool:
    """Tell whether a published build has its files, as large as they were written. Does not read them."""
    stewards = record.stewards
    if stewards and database_folder(folder) == folder:
        return False  # somebody took the stewards' file away
    sizes = {folder: record.bytes, **({database_folder(folder): stewards.bytes} if stewards else {})}
    try:
        return all(os.stat(place / DATABASE).st_size == size or size is None for place, size in sizes.items())
    except PermissionError:
        return True  # who may not look cannot tell
    except OSError:
        return False


def is_whole(folder: Path, record: BuildRecord) -> bool:
    """Tell whether every byte of a published build is as it was written. Reads it all: 0.1 CPU s for 150 MB."""
    if not has_its_size(folder, record):
        return False
    sums = {folder: record.checksum, database_folder(folder): (record.stewards or record).checksum}
    return all(expected_hash in (None, hash_of(place / DATABASE)) for place, expected_hash in sums.items())


def stewards_of(warehouse_settings: WarehouseSettings) -> StewardsRecord | None:
    """Return what is noted in a build of who may open what; None when all is for all readers."""
    schemas = warehouse_settings.stewards_schemas
    return StewardsRecord(schemas, warehouse_settings.stewards_group) if schemas else None


def close(path: Path, group: str) -> None:
    """Let nobody into a folder, or read a file, but its owner and the group, if one is named. Nobody can write it."""
    mode = 0o700 if path.is_dir() else 0o400
    if group:
        import shutil

        shutil.chown(path, group=group)
        mode |= (mode & 0o500) >> 3
    path.chmod(mode)


def is_closed(path: Path, group: str) -> bool:
    """Tell whether a folder or file is closed to all but its owner and the group, if one is named."""
    about = path.stat()
    return not about.st_mode & (0o007 if group and group_of(about.st_gid) == group else 0o077)


def open_up(folder: Path, like: Path) -> None:
    """Let those into the folder of a build who may look into another one."""
    about, now = like.stat(), folder.stat()
    if about.st_gid != now.st_gid:
        with suppress(PermissionError):
            os.chown(folder, -1, about.st_gid)
    if (about.st_mode ^ now.st_mode) & 0o077:
        folder.chmod(stat.S_IMODE(about.st_mode) & 0o755)


def refuse_unusable(graph: Graph) -> None:
    """Raise ConfigError when what is set for stewards cannot be done here."""
    refuse_unknown(graph)
    _refuse_group(graph.project.warehouse_settings)


def refuse_unknown(graph: Graph) -> None:
    """Raise ConfigError when a schema to be left out is none of the project's."""
    schemas = {"raw", *(node.relation.schema.lower() for node in graph.nodes.values() if node.relation.schema)}
    for name in graph.project.warehouse_settings.stewards_schemas:
        if name not in schemas:
            # A slip of the pen must not show readers what was meant to be left out.
            raise ConfigError(f"stewards_schemas: the project has no schema '{name}'.{nearest(name, schemas)}")


def tables_for_readers(graph: Graph) -> list[str]:
    """Return the places of views that are tables in the readers' file: they read a schema that is left out of it."""
    schemas = set(graph.project.warehouse_settings.stewards_schemas)
    cut: dict[str, str] = {}
    for node in graph.nodes.values() if schemas else ():
        virtual = node.materialized in ("view", "ephemeral") and node.relation.schema.lower() not in schemas
        parents = [graph.nodes[parent] for parent in node.depends_on]
        if virtual and any(parent.id in cut or parent.relation.schema.lower() in schemas for parent in parents):
            cut[node.id] = str(node.relation)
    return sorted(place for node, place in cut.items() if graph.nodes[node].materialized == "view")


def _refuse_group(warehouse_settings: WarehouseSettings) -> None:
    """Raise ConfigError when whoever runs cannot give a file to the group of stewards."""
    if not warehouse_settings.stewards_schemas or not warehouse_settings.stewards_group:
        return
    import grp

    try:
        number = grp.getgrnam(warehouse_settings.stewards_group).gr_gid
    except KeyError:
        message = f"stewards_group: there is no group '{warehouse_settings.stewards_group}' on this machine."
        raise ConfigError(f"{message} Make it, or leave the setting out: then the owner alone is a steward.") from None
    if os.geteuid() and number not in (os.getegid(), *os.getgroups()):
        message = f"user {user_of(os.geteuid())} is not in it, so cannot give it a file. Add the user to the group."
        raise ConfigError(f"stewards_group: '{warehouse_settings.stewards_group}': {message}")


def _refusal(folder: Path, place: Path) -> ConfigError:
    build = folder.resolve().name
    is_stewards = place.parent.name == STEWARDS
    what = f"the stewards' file of build {build}, with the rows of persons," if is_stewards else f"build {build}"
    for path in (place, *place.parents):
        try:
            about = path.stat()
        except OSError:
            continue
        who = f"its owner {user_of(about.st_uid)}"
        who += f" and the group {group_of(about.st_gid)}" if stat.S_IMODE(about.st_mode) & 0o040 else ""
        return ConfigError(f"you are not among those who may open {what}: that is for {who}.")
    return ConfigError(f"you may not open {what}.")


def user_of(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_of(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
