"""A KPI data warehouse, from raw deliveries to published indicators. What is counted is the project's.

In a notebook: `con = kpi.open()` gives a read-only connection to the published build, and `kpi.indicators(2025)` a
frame of one report year's figures; `kpi.explain(figure, service, year)` says where one of them comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpi.reader.change_report import why
    from kpi.reader.figures import explain, indicators
    from kpi.reader.figures import open_build as open

__all__ = ["explain", "indicators", "open", "why"]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    """What there is for a notebook, for completing names: what is imported only when asked for, too."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> object:
    # Importing kpi must stay cheap: the command line does it before it knows what it is asked for.
    if name == "why":
        from kpi.reader.change_report import why

        return why
    if name in __all__:
        from kpi.reader import figures

        return {"explain": figures.explain, "indicators": figures.indicators, "open": figures.open_build}[name]
    from kpi.errors import nearest

    raise AttributeError(f"module 'kpi' has no attribute {name!r}.{nearest(name, __all__)}")
