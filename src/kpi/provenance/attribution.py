"""Why a figure differs between two builds: deliveries, seeds, code and the engine, in parts that sum to the change.

Each thing that differs is taken from either build, and the figure is built again. What one of them does depends on
which others were exchanged before it, so data, definitions and code are exchanged in every order, and what is within
one of these forwards and backwards; a part is the mean of what it does. That is exact: in each order all of them
together lead from the earlier figure to the later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

from kpi.errors import ConfigError
from kpi.provenance.decomposition import Part, largest_remainder
from kpi.provenance.figure_values import FigureKey, Form, Presentation, Row, form_of, pick, presentation_of
from kpi.provenance.recomputation import BuildPair, BuildSide, Cause, InputChange, NotRebuildable, Recomputation

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed

__all__ = ["Attribution", "BuildChange", "BuildSide", "FigureKey"]

MOST_DELIVERIES = 6  # told apart; more of them are put together by cause and feed, for each costs two builds
_GROUPS = ("data", "definition", "code")


@dataclass(frozen=True, slots=True)
class BuildChange:
    """How a figure moved between two builds, and the parts of it by cause, largest first.

    `before` and `after` are the exact values in the figure's unit, None where there is none; `shown_*` as printed.
    `without` are the values that a figure which does not add up would have without each delivery, by its path; they do
    not sum. `notes` say what limits the answer.
    """

    key: FigureKey
    before: Fraction | None
    after: Fraction | None
    shown_before: Decimal | None
    shown_after: Decimal | None
    parts: tuple[Part, ...]
    presentation: Presentation = field(default_factory=Presentation)
    without: Mapping[str, Decimal | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> Fraction | None:
        """The exact change; None where there is no value on one side."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def shown_change(self) -> Decimal | None:
        """The change as printed: the printed value less the printed value before."""
        shown = self.shown_before, self.shown_after
        return None if shown[0] is None or shown[1] is None else shown[1] - shown[0]


class Attribution:
    """Two builds compared, for as many figures as one asks: what is built on the way is built once.

    Both are open until it is closed, or left by `with`.
    `feeds` are the contracts of the project (`kpi.engine.compile.compiled(root).graph.feeds`).
    """

    def __init__(self, before: BuildSide, after: BuildSide, feeds: Sequence[Feed]) -> None:
        self.before, self.after = before, after
        self._pair = BuildPair(before, after)
        self._of = cache(lambda figure: Recomputation(self._pair, feeds, figure))

    def __enter__(self) -> Attribution:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pair.close()

    def keys(self, figure: str) -> list[FigureKey]:
        """Return the rows of a figure that differ between the builds, the latest year first."""
        old, new = self._of(figure).recorded.values()
        moved = [key for key in {*old, *new} if old.get(key) != new.get(key)]
        keys = {FigureKey(figure, service, year, basis) for service, year, basis in moved}
        return sorted(keys, key=lambda key: (-key.report_year, key.service, key.basis))

    def has(self, figure: str) -> bool:
        """Tell whether either build has the figure."""
        return any(self._of(figure).recorded.values())

    def causes(self, key: FigureKey) -> BuildChange:
        """Return how a figure moved and why. Raises ConfigError when it is in neither build."""
        figure = self._of(key.figure_id)
        recorded = figure.recorded
        old, _ = pick(recorded["before"], key)
        new, basis = pick(recorded["after"], key)
        if old is None and new is None:
            builds = f"{self.before.record.id}, {self.after.record.id}"
            raise ConfigError(f"{key} is in neither build: {builds}. See: kpi show {key.figure_id}")
        con = self._pair.con
        presentation = presentation_of(con, self.after.tables, key.figure_id, self._pair.catalogs["after"])
        form = form_of([*recorded["before"].values(), *recorded["after"].values()])
        work = _Work(figure, FigureKey(key.figure_id, key.service, key.report_year, basis or key.basis), form)
        values = form.exact(old), form.exact(new)
        shown = presentation.shown(con, values[0]), presentation.shown(con, values[1])
        parts, notes = work.parts(*values)
        without = {path: presentation.shown(con, value) for path, value in work.without().items()}
        printed = _printed(parts, shown, presentation)
        return BuildChange(key, values[0], values[1], shown[0], shown[1], printed, presentation, without, notes)


@dataclass
class _Work:
    """One figure whose change is taken apart."""

    figure: Recomputation
    key: FigureKey
    form: Form

    def parts(self, before: Fraction | None, after: Fraction | None) -> tuple[list[Part], tuple[str, ...]]:
        """Return the causes with what each does, largest first; without amounts where there is none to subtract."""
        changes = self.changes()
        if before is None or after is None:
            matter = [change for change in changes if len(changes) == 1 or self._matters(change, changes)]
            return [Part(change.cause, change.subjects, None) for change in matter or changes], ()
        notes: tuple[str, ...] = ()
        parts: list[Part] = []
        try:
            engine = self._engine(changes, before, after)
            amounts, notes = self._averaged(changes)
            parts = [Part(change.cause, change.subjects, amount) for change, amount in amounts.items()]
            parts += [Part("engine", self._engines(), engine)] if engine else []
        except NotRebuildable as error:
            notes = (f"The figure cannot be built again, so its causes have one size: {error}",)
        rest = after - before - sum((part.amount or Fraction(0) for part in parts), Fraction(0))
        if rest:  # nothing that is known of differs, or it cannot be built again
            subjects = tuple(subject for change in changes for subject in change.subjects)
            causes = {change.cause for change in changes}
            parts.append(Part(causes.pop() if len(causes) == 1 else "several", subjects, rest))
        # Of a row that differs and shows the same value, all of it is told: what it does comes to nothing.
        moved = [part for part in parts if part.amount] or parts
        return sorted(moved, key=lambda part: (-abs(part.amount or 0), part.subjects)), notes

    def changes(self) -> list[InputChange]:
        """What differs, with deliveries put together where there are many."""
        changes = self.figure.changes
        files = [change for change in changes if change.files and not change.relations]
        if len(files) <= MOST_DELIVERIES:
            return list(changes)
        kinds: dict[tuple[Cause, str], list[InputChange]] = {}
        for change in files:
            kinds.setdefault((change.cause, min(change.files)[0]), []).append(change)
        merged = [
            InputChange(
                "data",
                cause,
                tuple(subject for one in alike for subject in one.subjects),
                files=frozenset(place for one in alike for place in one.files),
            )
            for (cause, _), alike in kinds.items()
        ]
        return [*merged, *(change for change in changes if change not in files)]

    def value(self, state: Iterable[InputChange]) -> Fraction | None:
        """Return the figure with these inputs of the later build. Raises NotRebuildable."""
        return self.form.exact(self._row(state))

    def without(self) -> dict[str, Fraction | None]:
        """Return the later value without each of the deliveries that differ, by path: of a figure that adds up, none.

        A delivery without which the figure cannot be built again is left out.
        """
        changes = self.changes()
        files = [change for change in changes if change.files]
        values: dict[str, Fraction | None] = {}
        for change in files if len(files) > 1 and not self.form.adds_up else ():
            with suppress(NotRebuildable):
                values[", ".join(change.subjects)] = self.value([one for one in changes if one is not change])
        return values

    def _row(self, state: Iterable[InputChange]) -> Row | None:
        return pick(self.figure.rows(frozenset(state)), self.key)[0]

    def _matters(self, change: InputChange, changes: Sequence[InputChange]) -> bool:
        """Tell whether an input alone makes another row of the figure, first of all or last of all."""
        rest = [one for one in changes if one is not change]
        try:
            return self._row([change]) != self._row([]) or self._row(rest) != self._row(changes)
        except NotRebuildable:
            return True

    def _engine(self, changes: Sequence[InputChange], before: Fraction, after: Fraction) -> Fraction:
        """What the engine does: the earlier build built again, less itself, and the later build less itself anew."""
        if self.figure.is_same_engine:
            return Fraction(0)
        again = self.value([]), self.value(changes)
        if again[0] is None or again[1] is None:
            return Fraction(0)
        return (again[0] - before) + (after - again[1])

    def _engines(self) -> tuple[str, ...]:
        old, new = (build.record for build in self.figure.pair.sides.values())
        names = [f"{old.engine} -> {new.engine}"] if old.engine != new.engine else []
        is_other = not (old.inputs and new.inputs) or old.inputs.code != new.inputs.code
        return (*names, *(["kpi"] if is_other else []))

    def _averaged(self, changes: Sequence[InputChange]) -> tuple[dict[InputChange, Fraction], tuple[str, ...]]:
        """Return the mean of what each input does over the orders in which all can be exchanged."""
        groups = [group for group in ([c for c in changes if c.group == name] for name in _GROUPS) if group]
        sums = dict.fromkeys(changes, Fraction(0))
        count, reason = 0, ""
        for order in _orders(groups):
            try:
                steps = self._steps(order)
            except NotRebuildable as error:
                reason = reason or str(error)
                continue
            count += 1
            for change, amount in steps.items():
                sums[change] += amount
        if count:
            note = (f"Not every order could be built, so parts are of those that could: {reason}",) if reason else ()
            return {change: amount / count for change, amount in sums.items()}, note
        if not changes:
            return {}, ()
        together = InputChange("code", "several", tuple(subject for one in changes for subject in one.subjects))
        total_change = (self.value(changes) or Fraction(0)) - (self.value([]) or Fraction(0))
        return {together: total_change}, (f"None of it can be had without the rest: {reason}",)

    def _steps(self, order: Sequence[InputChange]) -> dict[InputChange, Fraction]:
        switched: list[InputChange] = []
        last = self.value(switched)
        steps = {}
        for change in order:
            switched.append(change)
            now = self.value(switched)
            if last is None or now is None:
                raise NotRebuildable(f"there is no {self.key} with only {', '.join(change.subjects)} exchanged.")
            steps[change] = now - last
            last = now
        return steps


def _orders(groups: Sequence[Sequence[InputChange]]) -> Iterator[list[InputChange]]:
    """Yield every order of the groups, each with what is within them forwards and backwards."""
    is_symmetric = all(len(group) == 1 for group in groups)
    for order in permutations(groups):
        yield [change for group in order for change in group]
        if not is_symmetric:
            yield [change for group in order for change in reversed(group)]


def _printed(parts: Sequence[Part], shown: tuple[Decimal | None, ...], presentation: Presentation) -> tuple[Part, ...]:
    before, after = shown
    if before is None or after is None:
        return tuple(parts)
    amounts = [part.amount or Fraction(0) for part in parts]
    rounded = largest_remainder(amounts, after - before, presentation.step(before, after))
    return tuple(replace(part, printed=printed) for part, printed in zip(parts, rounded, strict=True))
