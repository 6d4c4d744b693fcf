"""What a run was asked, as templates may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invocation:
    """The command, in dbt's word for it, and those of its options that templates see.

    `is_partial` says that only some of the nodes are selected: which, is not known before everything is compiled.
    """

    which: str = "build"
    full_refresh: bool = False
    store_failures: bool = False
    is_partial: bool = False

    def flags(self) -> dict[str, object]:
        """The `flags` of templates, for the settings that mean something here."""
        return {
            "FULL_REFRESH": self.full_refresh,
            "STORE_FAILURES": self.store_failures,
            "WHICH": self.which,
            "INVOCATION_COMMAND": f"kpi {self.which}",
            **{"EMPTY": False, "FAIL_FAST": False, "DEBUG": False, "QUIET": False, "CACHE_SELECTED_ONLY": False},
        }
