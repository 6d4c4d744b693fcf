"""What becomes of things that kpi has no use for: a mistake in a project that asks for house rules, else a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kpi.base.errors import ConfigError, KpiError
from kpi.base.yamlfile import Section

# Hears of something that is wrong, or only without use.
Tell = Callable[[KpiError], None]
# Settings of dbt_project.yml that dbt has given other names.
_OLD_KEYS = {
    **{"source-paths": "model-paths", "data-paths": "seed-paths", "modules-path": "packages-install-path"},
}


@dataclass(slots=True)
class Judge:
    """Sorts what is found in the files of a project into `mistakes` and `notes`; strict in one with house rules.

    dbt passes over what it does not know, and so does a project of others here, with a note. In a project that asks
    for house rules it is a slip of the pen.
    """

    is_strict: bool
    mistakes: list[KpiError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tell(self, error: KpiError, instead: str = "Nothing is done with it.") -> None:
        """Tell of something that dbt passes over; a note says what is done `instead`."""
        if self.is_strict:
            self.mistakes.append(error)
        else:
            self.notes.append(f"{error} {instead}")


def has_house_rules(settings: Section) -> bool:
    """Tell whether dbt_project.yml asks for `meta: {house_rules: true}` anywhere among its models or seeds."""
    return any(isinstance(settings.get(tree), Section) and _asks(settings[tree]) for tree in ("models", "seeds"))


def _asks(level: Section) -> bool:
    for key, value in level.items():
        if not isinstance(value, Section):
            continue
        if key.removeprefix("+") == "meta":
            if value.get("house_rules") is True:
                return True
        elif _asks(value):
            return True
    return False


def renamed_keys(settings: Section) -> Iterator[str]:
    """Give settings that dbt has renamed their new names, and tell of each. Raises ConfigError when both are there."""
    for old, new in _OLD_KEYS.items():
        if old not in settings:
            continue
        where = settings.where(old)
        if new in settings:
            raise ConfigError(f"{where}: '{old}' is the old name of '{new}', which is here too. Leave '{old}' out.")
        settings[new], settings.lines[new] = settings.pop(old), settings.lines.pop(old)
        yield f"{where}: '{old}' is the old name of '{new}'."
