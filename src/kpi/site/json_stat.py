"""Figures as JSON-stat 2.0: a dense dataset for each family, and a collection that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kpi.site.dataset import Dataset, Observation
from kpi.site.flat_files import SYNTHETIC

COLLECTION = "json-stat.json"
_LABELS = {
    "region": {"en": "Region", "fi": "Alue", "sv": "Område"},
    "figure": {"en": "Figure", "fi": "Luku", "sv": "Tal"},
    "service": {"en": "Service", "fi": "Palvelu", "sv": "Tjänst"},
    "year": {"en": "Year", "fi": "Vuosi", "sv": "År"},
    "basis": {"en": "Basis", "fi": "Jakso", "sv": "Period"},
}
_HIDDEN = "c"  # confidential


def write_json_stat(dataset: Dataset, folder: Path) -> None:
    """Write the collection, and beside it a dataset for each family that has a figure."""
    families: dict[str, list[Observation]] = {}
    for one in dataset.observations():
        families.setdefault(dataset.figures[one.figure_id].family, []).append(one)
    items = []
    for name, (family, observations) in zip(_file_names(families), families.items(), strict=True):
        title = dataset.figures[observations[0].figure_id].family_name or family or dataset.says("title")
        _write(folder / name, _dataset(dataset, title, observations))
        items.append({"class": "dataset", "href": name, "label": title})
    _write(
        folder / COLLECTION,
        {
            "version": "2.0",
            "class": "collection",
            "label": dataset.says("title"),
            "updated": dataset.origin.day,
            "link": {"item": items},
            "extension": _extension(dataset),
        },
    )


def _file_names(families: Iterable[str]) -> list[str]:
    """A file's name for each family, whatever it is called: of two that would have one name, each has its number."""
    plain = ["".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in family) for family in families]
    return [
        f"json-stat-{name or 'figures'}{'' if plain.count(name) == 1 else f'-{place}'}.json"
        for place, name in enumerate(plain, 1)
    ]


def _dataset(dataset: Dataset, title: str, observations: Sequence[Observation]) -> Mapping[str, Any]:
    figures = _once(one.figure_id for one in observations)
    services = _once(one.service for one in observations)
    years = sorted({str(one.report_year) for one in observations})
    bases = _once(one.basis for one in observations)
    region = dataset.says("region_code")
    axes: dict[str, Sequence[str]] = {"region": [region]} if region else {}
    axes |= {"figure": figures, "service": services, "year": years, "basis": bases}
    names = {one.service: dataset.services[one.figure_id, one.service] for one in reversed(observations)}
    labels = {
        "region": {region: dataset.says("region", region)},
        "figure": {figure: dataset.figures[figure].name for figure in figures},
        "service": {service: names[service] for service in services},
        "year": {year: year for year in years},
        "basis": {basis: dataset.code_name("basis", basis) for basis in bases},
    }
    values: list[float | None] = [None] * (len(figures) * len(services) * len(years) * len(bases))
    status: dict[str, str] = {}
    for one in observations:
        place = figures.index(one.figure_id)
        for of_axis, code in ((services, one.service), (years, str(one.report_year)), (bases, one.basis)):
            place = place * len(of_axis) + of_axis.index(code)
        values[place] = one.value
        if one.is_suppressed:
            status[str(place)] = _HIDDEN
    return {
        "version": "2.0",
        "class": "dataset",
        "label": title,
        "source": dataset.says("publisher"),
        "updated": dataset.origin.day,
        **({"note": [SYNTHETIC]} if dataset.origin.is_synthetic else {}),
        "id": list(axes),
        "size": [len(codes) for codes in axes.values()],
        "role": {"time": ["year"], "metric": ["figure"], **({"geo": ["region"]} if region else {})},
        "dimension": {
            axis: {
                "label": _LABELS[axis][dataset.lang],
                "category": {
                    "index": {code: place for place, code in enumerate(codes)},
                    "label": labels[axis],
                    **({"unit": {code: _unit(dataset, code) for code in codes}} if axis == "figure" else {}),
                },
            }
            for axis, codes in axes.items()
        },
        "value": values,
        **({"status": status} if status else {}),
        "extension": {**_extension(dataset), "unit_codes": {code: _unit_code(dataset, code) for code in figures}},
    }


def _unit(dataset: Dataset, figure_id: str) -> Mapping[str, object]:
    figure = dataset.figures[figure_id]
    return {"label": figure.unit_name, "decimals": figure.places}


def _unit_code(dataset: Dataset, figure_id: str) -> str:
    figure = dataset.figures[figure_id]
    return figure.unit_code or figure.unit


def _extension(dataset: Dataset) -> Mapping[str, object]:
    """What JSON-stat has no property for: the build, and what the publication says of itself."""
    said = {
        name: dataset.says(name)
        for name in ("publisher", "contact", "contact_url", "licence", "licence_url", "frequency", "next_update")
    }
    return {"build": dataset.origin.build, **{name: text for name, text in said.items() if text}}


def _once(codes: Iterable[str]) -> list[str]:
    """The codes in the order in which they come first."""
    return list(dict.fromkeys(codes))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
