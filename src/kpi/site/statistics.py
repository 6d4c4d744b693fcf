"""Figures and months as statistical offices exchange them: SDMX-CSV 2.0 with its structure, and JSON-stat 2.0.

SDMX-CSV has a structure file (SDMX-JSON 2.0) beside it that a reader needs. One dataflow holds figures of a year (FREQ
A) and of a month (M). An identifier of SDMX is of letters, digits, `_`, `@`, `$` and `-`: a code with any other sign
has it replaced and a checksum added, and is written out in its code list. JSON-stat is a dense dataset for each family,
and a collection that lists them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kpi.presentation import words
from kpi.site.dataset import SCHEMA, SYNTHETIC, Dataset, Observation, Role
from kpi.site.figure_data import MONTHS, relation

DATA, STRUCTURE = "sdmx.csv", "sdmx-structure.json"
FLOW = "FIGURES"
MONTH = "month"
_DIMENSIONS = ("FREQ", "REF_AREA", "FIGURE", "SERVICE", "BASIS")
_ATTRIBUTES = ("UNIT_MEASURE", "UNIT_MULT", "DECIMALS", "OBS_STATUS", "CONF_STATUS")
_CODED = (*_DIMENSIONS, "UNIT_MEASURE", "OBS_STATUS", "CONF_STATUS")
_URN = "urn:sdmx:org.sdmx.infomodel"


def write_sdmx(dataset: Dataset, folder: Path) -> None:
    """Write the data and their structure."""
    rows = list(_rows(dataset))
    with (folder / DATA).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["STRUCTURE", "STRUCTURE_ID", "ACTION", *_DIMENSIONS, "TIME_PERIOD", "OBS_VALUE", *_ATTRIBUTES])
        agency, version = _agency(dataset)
        flow = f"{agency}:{FLOW}({version})"
        writer.writerows(["dataflow", flow, "R", *row] for row in rows)
    text = json.dumps(_structure(dataset, rows), indent=1, ensure_ascii=False) + "\n"
    (folder / STRUCTURE).write_text(text, encoding="utf-8")


def code_of(text: str) -> str:
    """Return a text as an identifier of SDMX; itself when it is one."""
    if re.fullmatch(r"[A-Za-z0-9_@$-]+", text):
        return text
    checksum = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_@$-]', '_', text)[:40]}_{checksum}"


def _rows(dataset: Dataset) -> Iterator[Sequence[object]]:
    area = code_of(dataset.says("region_code", "_Z"))
    for one in dataset.observations():
        status = one.status or _status(one.value, one.is_suppressed, one.is_provisional, one.has_break)
        key = ("A", area, code_of(one.figure_id), code_of(one.service), code_of(one.basis or "_Z"))
        yield [
            *key,
            one.report_year,
            _number(one.value),
            *_unit(dataset, one.figure_id),
            status,
            "C" if one.is_suppressed else "F",
        ]
    for figure_id, service, year, month, value, is_hidden, is_full, is_break in _months(dataset):
        status = _status(value, is_hidden, not is_full, is_break)
        key = ("M", area, code_of(figure_id), code_of(service), MONTH)
        yield [
            *key,
            f"{year}-{month:02}",
            _number(value),
            *_unit(dataset, figure_id),
            status,
            "C" if is_hidden else "F",
        ]


def _months(dataset: Dataset) -> list[tuple[Any, ...]]:
    if Role.SERIES not in dataset.tables:
        return []
    series = relation(dataset.con, f"{SCHEMA}.{Role.SERIES}", MONTHS)
    return dataset.con.execute(
        "select figure_id, service, report_year, month, case when isfinite(value) then value end,"
        " coalesce(is_suppressed, false), coalesce(is_full_month, true), coalesce(is_break, false)"
        f" from {series} where month between 1 and 12 and figure_id is not null and service is not null order by all"
    ).fetchall()


def _status(value: float | None, is_hidden: bool, is_provisional: bool, has_break: bool) -> str:
    if value is None:
        return "Q" if is_hidden else "O"
    return "P" if is_provisional else "B" if has_break else "A"


def _number(value: float | None) -> str:
    """A value as SDMX-CSV has it; NaN is one that is missing on purpose."""
    if value is None:
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _unit(dataset: Dataset, figure_id: str) -> tuple[object, ...]:
    figure = dataset.figures[figure_id]
    return code_of(figure.unit_code or figure.unit or "_Z"), 0, figure.places


def _agency(dataset: Dataset) -> tuple[str, str]:
    """The agency that maintains the structure, and its version."""
    agency = re.sub(r"[^A-Za-z0-9_-]", "_", dataset.says("publisher_id", "KPI")).upper()
    version = dataset.says("version", "1.0.0")
    return agency if agency[:1].isalpha() else f"A{agency}", version if re.fullmatch(r"\d+(\.\d+)*", version) else "1.0"


def _structure(dataset: Dataset, rows: Sequence[Sequence[object]]) -> Mapping[str, Any]:
    (agency, version), concepts = _agency(dataset), words("sdmx_concepts")
    own = {"agencyID": agency, "version": version, "isExternalReference": False}
    title = {"name": dataset.says("title", FLOW), "names": {dataset.lang: dataset.says("title", FLOW)}}
    lists = {name: codes for name, codes in _lists(dataset, rows).items() if codes}
    return {
        "meta": {
            "id": f"{FLOW}_{code_of(dataset.origin.build)}",
            "prepared": f"{dataset.origin.day}T00:00:00Z",
            "test": dataset.origin.is_synthetic,
            "sender": {"id": agency},
            "schema": "https://raw.githubusercontent.com/sdmx-twg/sdmx-json/master/structure-message/tools/schemas/2.0.0"
            "/sdmx-json-structure-schema.json",
        },
        "data": {
            "codelists": [
                {"id": f"CL_{name}", **_named(concepts[name][dataset.lang], dataset.lang), **own,
                 "codes": [{"id": code, **_named(text, dataset.lang)} for code, text in codes.items()]}
                for name, codes in lists.items()
            ],
            "conceptSchemes": [
                {"id": "CS_FIGURES", **title, **own,
                 "concepts": [{"id": name, **_named(text[dataset.lang], dataset.lang)}
                              for name, text in concepts.items()]}
            ],
            "dataStructures": [
                {"id": FLOW, **title, **own, "dataStructureComponents": _components(f"{agency}:", version, lists)}
            ],
            "dataflows": [
                {"id": FLOW, **title, **own,
                 "structure": f"{_URN}.datastructure.DataStructure={agency}:{FLOW}({version})"}
            ],
        },
    }  # fmt: skip


def _components(agency: str, version: str, lists: Mapping[str, object]) -> Mapping[str, Any]:
    """The dimensions, the measure and the attributes, each with its concept and its code list or its type."""

    def component(name: str, kind: str = "String") -> dict[str, Any]:
        code_list = f"{_URN}.codelist.Codelist={agency}CL_{name}({version})"
        return {
            "id": name,
            "conceptIdentity": f"{_URN}.conceptscheme.Concept={agency}CS_FIGURES({version}).{name}",
            "localRepresentation": {"enumeration": code_list} if name in lists else {"format": {"dataType": kind}},
        }

    integer_attributes = dict.fromkeys(("UNIT_MULT", "DECIMALS"), "Integer")
    return {
        "dimensionList": {
            "id": "DimensionDescriptor",
            "dimensions": [component(name) | {"position": place} for place, name in enumerate(_DIMENSIONS)],
            "timeDimension": component("TIME_PERIOD", "ObservationalTimePeriod"),
        },
        "measureList": {"id": "MeasureDescriptor", "measures": [component("OBS_VALUE", "Double")]},
        "attributeList": {
            "id": "AttributeDescriptor",
            "attributes": [
                component(name, integer_attributes.get(name, "String"))
                | {"usage": "mandatory", "attributeRelationship": {"observation": {}}}
                for name in _ATTRIBUTES
            ],
        },
        "groups": [],
    }


def _lists(dataset: Dataset, rows: Sequence[Sequence[object]]) -> Mapping[str, Mapping[str, str]]:
    """The codes that are used, by concept, with their names in the language."""
    there = {name: {str(row[place]) for row in rows} for place, name in enumerate(_DIMENSIONS)}
    there["UNIT_MEASURE"] = {str(row[len(_DIMENSIONS) + 2]) for row in rows}
    units = {code_of(one.unit_code or one.unit or "_Z"): one.unit_name or one.unit for one in dataset.figures.values()}
    names: dict[str, Mapping[str, str]] = {
        "FREQ": _in(dataset, "sdmx_frequencies"),
        "REF_AREA": {code_of(dataset.says("region_code", "_Z")): dataset.says("region", "_Z")},
        "FIGURE": {code_of(figure_id): one.name for figure_id, one in dataset.figures.items()},
        "SERVICE": {code_of(service): name for (_, service), name in dataset.services.items()},
        "BASIS": {
            **{code_of(basis): dataset.code_name("basis", basis) for basis in dataset.names.codes.get("basis", {})},
            MONTH: words("sdmx_concepts")["TIME_PERIOD"][dataset.lang],
        },
        "UNIT_MEASURE": units,
        "OBS_STATUS": _in(dataset, "sdmx_statuses"),
        "CONF_STATUS": _in(dataset, "sdmx_confidentiality"),
    }
    for concept, codes in there.items():
        known = {code: name for code, name in names[concept].items() if code in codes}
        names[concept] = known | {code: code for code in sorted(codes - set(known))}
    return names


def _in(dataset: Dataset, group: str) -> Mapping[str, str]:
    return {code: text[dataset.lang] for code, text in words(group).items()}


def _named(text: str, lang: str) -> Mapping[str, object]:
    return {"name": text, "names": {lang: text}}


COLLECTION = "json-stat.json"
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
                "label": words("json_stat")[axis][dataset.lang],
                "category": {
                    "index": {code: place for place, code in enumerate(codes)},
                    "label": labels[axis],
                    **({"unit": {code: _unit_label(dataset, code) for code in codes}} if axis == "figure" else {}),
                },
            }
            for axis, codes in axes.items()
        },
        "value": values,
        **({"status": status} if status else {}),
        "extension": {**_extension(dataset), "unit_codes": {code: _unit_code(dataset, code) for code in figures}},
    }


def _unit_label(dataset: Dataset, figure_id: str) -> Mapping[str, object]:
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
