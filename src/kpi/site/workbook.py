"""Figures as an Excel workbook: a cover, contents, notes, and one marked-up table a sheet. No formula is in it.

Codes have their names in columns before those of the table, which are as the build has them. Cells are not merged, and
a sheet has nothing but its title and its table, so that a screen reader finds both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.presentation import presented, with_decimals, words
from kpi.site.dataset import Dataset, ExportTable
from kpi.sql import identifier

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.worksheet import Worksheet


WORKBOOK = "figures.xlsx"
LONGEST = 32_767  # characters of a cell
MOST_ROWS = 1_048_576 - 3  # of a sheet, below its title, its description and the header
_WIDTHS = {"name": 34, "text": 24, "number": 14}


def write_workbook(dataset: Dataset, folder: Path) -> None:
    """Write the workbook; the same bytes for the same build."""
    from xlsxwriter import Workbook

    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "in_memory": True}
    book = Workbook(str(folder / WORKBOOK), options)
    made_on = date.fromisoformat(dataset.origin.day)
    book.set_properties(
        {
            "title": dataset.says("title", _text(dataset, "title")),
            "author": dataset.says("publisher"),
            "company": dataset.says("publisher"),
            "keywords": dataset.says("keywords"),
            "comments": f"{_text(dataset, 'build')} {dataset.origin.build}",
            "created": datetime(made_on.year, made_on.month, made_on.day),
        }
    )
    writer = _Writer(book, dataset)
    sheets = _sheet_names(dataset)
    writer.cover()
    writer.contents(sheets)
    writer.notes()
    for name, table in dataset.tables.items():
        writer.table(sheets[name], table)
    book.close()


def _text(dataset: Dataset, key: str) -> str:
    return words("workbook").get(key, {}).get(dataset.lang, key)


def _sheet_name(dataset: Dataset, table: str) -> str:
    """What a table is called; its own name when it is none of a role."""
    return words("sheets").get(table.upper(), {}).get(dataset.lang, table)


def _sheet_names(dataset: Dataset) -> dict[str, str]:
    """A name for the sheet of each table: at most 31 characters, none of which Excel forbids, and no name twice."""
    found: dict[str, str] = {}
    taken = {_text(dataset, key).casefold() for key in ("cover", "contents", "notes")}
    for name in dataset.tables:
        plain = "".join(
            "_" if sign in "[]:*?/\\'" or not sign.isprintable() else sign for sign in _sheet_name(dataset, name)
        )
        sheet, number = plain[:31] or "_", 1
        while sheet.casefold() in taken:
            number += 1
            sheet = f"{plain[:27]} {number}"
        taken.add(sheet.casefold())
        found[name] = sheet
    return found


class _Writer:
    """Writes sheets into a workbook. Each has its title in A1, what it is in A2, and its table from A3."""

    def __init__(self, book: Workbook, dataset: Dataset) -> None:
        self.book, self.dataset = book, dataset
        self.title = book.add_format({"bold": True, "font_size": 14})
        self.header = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self.places = [book.add_format({"num_format": "#,##0" + ("." + "0" * n if n else "")}) for n in range(7)]

    def text(self, key: str) -> str:
        return _text(self.dataset, key)

    def cover(self) -> None:
        """Who publishes what, of which build."""
        dataset = self.dataset
        sheet = self._sheet(self.text("cover"), dataset.says("title", self.text("title")), dataset.says("report_lead"))
        lines = [(self.text("publisher"), dataset.says("publisher"))]
        region = " ".join(filter(None, (dataset.says("region_code"), dataset.says("region"))))
        contact = ", ".join(filter(None, (dataset.says("contact"), dataset.says("contact_url"))))
        licence = ", ".join(filter(None, (dataset.says("licence"), dataset.says("licence_url"))))
        lines += [(self.text("region"), region), (self.text("contact"), contact), (self.text("licence"), licence)]
        lines += [(self.text(name), dataset.says(name)) for name in ("frequency", "next_update")]
        lines += [(self.text("day"), dataset.origin.day), (self.text("build"), dataset.origin.build)]
        if dataset.origin.is_synthetic:
            lines.append(("", self.text("synthetic")))
        for row, (label, said) in enumerate([line for line in lines if line[1]], 3):
            self._write_text(sheet, row, 0, label, self.header)
            self._write_text(sheet, row, 1, said, self.wrapped)
        sheet.set_column(0, 0, 24)
        sheet.set_column(1, 1, 80)

    def contents(self, sheets: dict[str, str]) -> None:
        """The sheets, what each is, and how many rows it has."""
        sheet = self._sheet(self.text("contents"), self.text("contents"), "")
        rows = [(sheets[name], table.description, table.row_count) for name, table in self.dataset.tables.items()]
        header = [self.text("sheet"), self.text("about"), self.text("rows")]
        self._marked_up(sheet, "contents", header, rows, [24, 90, 10])

    def notes(self) -> None:
        """How to read the tables, and what each of their columns is."""
        dataset = self.dataset
        sheet = self._sheet(self.text("notes"), self.text("notes"), f"{self.text('empty')} {self.text('rounding')}")
        rows = [
            (_sheet_name(dataset, name), column.name, column.description)
            for name, table in dataset.tables.items()
            for column in table.columns
        ]
        header = [self.text("sheet"), self.text("column"), self.text("about")]
        self._marked_up(sheet, "notes", header, rows, [24, 28, 100])

    def table(self, name: str, table: ExportTable) -> None:
        """A table of the dataset, the names of its codes before its own columns. Rows beyond a sheet's are refused."""
        from kpi.errors import ConfigError

        if table.row_count > MOST_ROWS:
            raise ConfigError(
                f"{table.relation} has {table.row_count} rows, more than a sheet of Excel. Export it as csv."
            )
        sheet = self._sheet(name, name, table.description)
        names = self._names(table)
        header = [*(self.text(label) for label, _ in names), *(column.name for column in table.columns)]
        rows = [(*(name_of(row) for _, name_of in names), *row) for row in self.dataset.rows(table)]
        widths = [_WIDTHS["name"]] * len(names)
        widths += [_WIDTHS["number" if column.is_number else "text"] for column in table.columns]
        self._marked_up(sheet, table.name, header, rows, widths)
        if any(column.name == "value" and column.is_number for column in table.columns):
            self._values(sheet, table, len(names), rows)

    def _names(self, table: ExportTable) -> list[tuple[str, Callable[[Sequence[Any]], str]]]:
        """The columns that a table has before its own: what each is called, and its text of a row."""
        dataset, found = self.dataset, list[tuple[str, Callable[[Sequence[Any]], str]]]()
        place = {column.name: number for number, column in enumerate(table.columns)}
        if "figure_id" in place:
            figure = place["figure_id"]
            found.append(("figure", lambda row: _named(dataset.figures.get(row[figure]), row[figure])))
            if "service" in place:
                service = place["service"]
                found.append(
                    ("service", lambda row: dataset.services.get((row[figure], row[service])) or row[service] or "")
                )
            if "value" in place:
                found.append(("unit", lambda row: dataset.figures[row[figure]].unit_name if row[figure] else ""))
        if "basis" in place:
            basis = place["basis"]
            found.append(("basis", lambda row: dataset.code_name("basis", row[basis] or "")))
        return found

    def _values(self, sheet: Worksheet, table: ExportTable, before: int, rows: Sequence[Sequence[Any]]) -> None:
        """Write the values again, each with the decimals it is shown with, or why there is none."""
        at = before + [column.name for column in table.columns].index("value")
        hidden = (
            [column.name for column in table.columns].index("is_suppressed") if table.has("is_suppressed") else None
        )
        for number, (row, places) in enumerate(zip(rows, self._decimals(table), strict=True), 3):
            if _is_number(row[at]):
                sheet.write_number(number, at, row[at], self.places[min(places, 6)])
            else:
                is_hidden = hidden is not None and row[before + hidden]
                sheet.write_string(number, at, "[c]" if is_hidden else "[x]")

    def _decimals(self, table: ExportTable) -> list[int]:
        """With how many decimals each value is shown, so that no cell says 0 or 100 that is not exactly so."""
        figures = self.dataset.figures
        if not table.has("figure_id") or not figures:
            return [2] * table.row_count
        columns = ", ".join(identifier(column.name) for column in table.columns)
        names = "unnest($ids::varchar[]) as figure_id, unnest($decimals::varchar[]) as its_decimals"
        found = self.dataset.con.execute(
            f"select {presented('value', 'its_decimals', 'its_unit')}::varchar, its_decimals from {table.place}"
            f" left join (select {names}, unnest($units::varchar[]) as its_unit) using (figure_id) order by {columns}",
            {
                "ids": list(figures),
                "decimals": [one.decimals for one in figures.values()],
                "units": [one.unit for one in figures.values()],
            },
        ).fetchall()
        return [len(with_decimals(shown, places).partition(".")[2]) if shown else 0 for shown, places in found]

    def _sheet(self, name: str, title: str, about: str) -> Worksheet:
        sheet = self.book.add_worksheet(name)
        self._write_text(sheet, 0, 0, title, self.title)
        if about:
            self._write_text(sheet, 1, 0, about, None)
        sheet.hide_gridlines(0)
        return sheet

    def _marked_up(
        self, sheet: Worksheet, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]], widths: Sequence[int]
    ) -> None:
        """Write a table that Excel knows as one, from the third row on; one without rows has a row of blanks."""
        last = 2 + max(len(rows), 1)
        sheet.add_table(
            2,
            0,
            last,
            len(header) - 1,
            {
                "name": f"t_{''.join(sign if sign.isalnum() else '_' for sign in name)}",
                "columns": [{"header": text, "header_format": self.header} for text in _unlike(header)],
                "autofilter": False,
                "style": None,
            },
        )
        for number, row in enumerate(rows, 3):
            for place, value in enumerate(row):
                self._write(sheet, number, place, value)
        for place, width in enumerate(widths):
            sheet.set_column(place, place, width)

    def _write(self, sheet: Worksheet, row: int, column: int, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, str):
            self._write_text(sheet, row, column, value, None)
        elif isinstance(value, bool):
            sheet.write_boolean(row, column, value)
        elif _is_number(value):
            sheet.write_number(row, column, float(value) if isinstance(value, Decimal) else value)
        elif isinstance(value, datetime):
            sheet.write_datetime(row, column, value.replace(tzinfo=None), self.moment)
        elif isinstance(value, date):
            sheet.write_datetime(row, column, datetime(value.year, value.month, value.day), self.day)
        else:
            self._write_text(sheet, row, column, str(value), None)

    def _write_text(self, sheet: Worksheet, row: int, column: int, text: str, form: Any) -> None:
        """Write a text as a text, whatever it begins with; one that is too long for a cell ends in `…`."""
        if text:
            sheet.write_string(row, column, text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…", form)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _named(figure: Any, figure_id: str | None) -> str:
    return figure.name if figure else figure_id or ""


def _unlike(header: Sequence[str]) -> list[str]:
    """Names of columns that Excel takes for different ones."""
    found: list[str] = []
    taken: set[str] = set()
    for text in header:
        name, number = text[:250] or "_", 1
        while name.casefold() in taken:
            number += 1
            name = f"{text[:245]} {number}"
        taken.add(name.casefold())
        found.append(name)
    return found
