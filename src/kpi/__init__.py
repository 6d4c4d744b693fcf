"""A KPI data warehouse, from raw deliveries to published indicators. What is counted is the project's.

In a notebook: `con = kpi.open()` gives a read-only connection to the published build, `kpi.indicators(2025)` a frame of
one report year's figures, `kpi.series(figure, service)` one of a figure by month and `kpi.plot` a chart of it;
`kpi.explain(figure, service, year)` says where one of them comes from. `kpi.builds()` lists the builds, and
`%load_ext kpi` brings `%%sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpi.provenance.explain import explain
    from kpi.reader.change_report import why
    from kpi.reader.figures import open_build as open
    from kpi.reader.notebook import builds, indicators, plot, series

__all__ = ["builds", "explain", "indicators", "open", "plot", "series", "why"]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    """What there is for a notebook, for completing names: what is imported only when asked for, too."""
    return [*__all__, "__version__"]


_PLACES = {
    "builds": ("kpi.reader.notebook", "builds"),
    "explain": ("kpi.provenance.explain", "explain"),
    "indicators": ("kpi.reader.notebook", "indicators"),
    "open": ("kpi.reader.figures", "open_build"),
    "plot": ("kpi.reader.notebook", "plot"),
    "series": ("kpi.reader.notebook", "series"),
    "why": ("kpi.reader.change_report", "why"),
}


def __getattr__(name: str) -> object:
    # Importing kpi must stay cheap: the command line does it before it knows what it is asked for.
    from importlib import import_module

    if name in _PLACES:
        module, function = _PLACES[name]
        return getattr(import_module(module), function)
    from kpi.errors import nearest

    raise AttributeError(f"module 'kpi' has no attribute {name!r}.{nearest(name, __all__)}")


def load_ipython_extension(shell: object) -> None:
    """Give IPython `%%sql` (`%load_ext kpi`)."""
    from kpi.reader.notebook import load_magic

    load_magic(shell)


def unload_ipython_extension(shell: object) -> None:
    """Take `%%sql` away again."""
    from kpi.reader.notebook import unload_magic

    unload_magic(shell)
