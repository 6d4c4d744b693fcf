"""Which deliveries differ between two builds, and which of them a figure is made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kpi.base.names import identifier
from kpi.deliveries.feed_months import TABLE

if TYPE_CHECKING:
    import duckdb

FIGURE = "figure_id"


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """One file that is new, changed or gone, or of whose rows another number is superseded.

    `before` and `after` are what became of its records (`records`, `rows_loaded`, `rows_rejected`, `rows_superseded`);
    None on the side where it is not there.
    """

    feed: str
    file: str
    is_same_content: bool
    before: Mapping[str, int] | None
    after: Mapping[str, int] | None

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.file}"

    def line(self) -> str:
        """Say what became of the file, in one line."""
        now = self.after or self.before or {}
        if self.after is None:
            return f"{self.path}: gone, with {now['rows_loaded']} rows"
        superseded = now.get("rows_superseded", 0)
        if self.is_same_content:
            earlier = (self.before or {}).get("rows_superseded", 0)
            return f"{self.path}: the same, {superseded} of its {now['rows_loaded']} rows superseded, before {earlier}"
        parts = [f"{now['rows_loaded']} rows loaded"]
        parts += [f"{count} {what}" for count, what in (
            (now.get("rows_rejected", 0), "records rejected"), (superseded, "rows superseded")) if count]  # fmt: skip
        was = f"changed, {self.before['rows_loaded']} rows before" if self.before else "new"
        return f"{self.path}: {was}, {', '.join(parts)}"


def changed_deliveries(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[DeliveryChange, ...]:
    """Return the files that differ between the facts of two builds, in order of their paths."""
    old, new = (
        {(str(file["feed"]), str(file["file"])): file for file in facts.get("files", [])} for facts in (before, after)
    )
    found = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        is_same = bool(was and now and was["content_hash"] == now["content_hash"])
        if not is_same or _counts(was) != _counts(now):
            found.append(DeliveryChange(*key, is_same, _counts(was), _counts(now)))
    return tuple(found)


def feeds_of_figures(
    con: duckdb.DuckDBPyConnection,
    catalog: str,
    nodes: Mapping[str, Any],
    tables: Mapping[str, Collection[str]],
    figures: Collection[str],
) -> dict[str, frozenset[str]]:
    """Return the feeds that each figure is made from, by the build in `catalog`; those of no table are left out.

    `nodes` are the build's facts of its nodes, `tables` the columns of its tables by `schema.name`. Many tables hold a
    figure; the one made from the fewest feeds is its own, what unites figures is made from all of them.
    """
    found: dict[str, frozenset[str]] = {}
    for node, facts in nodes.items():
        place = str(facts.get("relation") or "")
        if not node.startswith("model.") or FIGURE not in tables.get(place, ()):
            continue
        feeds = frozenset(_feeds_above(node, nodes))
        schema, _, name = place.partition(".")
        sql = f"select distinct {FIGURE} from {catalog}.{identifier(schema)}.{identifier(name)}"
        for (figure,) in con.execute(sql).fetchall() if feeds else ():
            if figure in figures and (figure not in found or len(feeds) < len(found[figure])):
                found[str(figure)] = feeds
    return found


def behind(figure_feeds: Collection[str], changes: Collection[DeliveryChange]) -> list[DeliveryChange]:
    """Return the changed deliveries of a figure's own feeds.

    Of a figure that rests on what is counted of all feeds, and none of its own changed, it is all of them.
    """
    own = [change for change in changes if change.feed in figure_feeds]
    return own or (list(changes) if TABLE in figure_feeds else [])


def _counts(file: Mapping[str, Any] | None) -> dict[str, int] | None:
    names = ("records", "rows_loaded", "rows_rejected", "rows_superseded")
    return None if file is None else {name: int(file.get(name) or 0) for name in names}


def _feeds_above(node: str, nodes: Mapping[str, Any]) -> set[str]:
    """The raw tables that a node is made from, by their names."""
    waiting, seen = [node], {node}
    while waiting:
        new = [parent for parent in nodes.get(waiting.pop(), {}).get("parents", {}) if parent not in seen]
        seen.update(new)
        waiting += new
    places = {str(nodes[one].get("relation") or "") for one in seen if one.startswith("source.") and one in nodes}
    return {place.partition(".")[2] for place in places if place.startswith("raw.")}
