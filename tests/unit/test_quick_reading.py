"""A file reads the same the quick way and the careful one, whatever blanks, quotes and line ends are in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from test_encodings import places

from kpi.ingest import csv_reader
from kpi.ingest.contract import SEPARATORS, Dialect
from loading import Loader, Row, contracts
from oracle_cells import MISSING
from oracle_text import split
from sampled import sampled

BLANKS = ("", "", "", " ", "\t", "\u00a0", " \t", "  ", "\u2009")
# What there is around a value, and what it may be: every piece alone and with others.
LAYOUTS = (
    "{}",
    "{}",
    '"{}"',
    '"{}"',
    ' "{}"',
    '"{}" ',
    '\t"{}"',
    '"{}"\t',
    '"{}',
    '{}"',
    '"{}"x',
    '""{}""',
    '"""{}"""',
)
VALUES = (
    "a",
    "b c",
    "-",
    "NULL",
    "",
    "ä",
    "0",
    "x\u00a0y",
    '""',
    "k,l",
    "m;n",
    "o\tp",
    "q|r",
    "s\nt",
    "u\r\nv",
    "w\rx",
)


def some_file(random: Random, separator: str, end: str) -> str:
    """A file of a few records in any layout; half of the files have no more than one thing that is odd."""
    is_odd = random.random() < 0.5
    letters = [value for value in VALUES if is_odd or not (set(value) & set("\r\n") or separator in value)]

    def cell(number: int) -> str:
        if random.random() < 0.4:
            return f"v{number}"
        layout = random.choice(LAYOUTS if is_odd else LAYOUTS[:4])
        inside = random.choice(BLANKS) + random.choice(letters) + random.choice(BLANKS)
        around = [random.choice(BLANKS).replace(separator, "") for _ in range(2)] if random.random() < 0.2 else ["", ""]
        return around[0] + layout.format(inside) + around[1]

    lines = [separator.join(("id", "comment", "unit"))]
    for number in range(random.randint(1, 6)):
        lines.append(separator.join((f"k{number}{random.choice(BLANKS)}", cell(number), cell(number))))
        lines += [random.choice(BLANKS).replace(separator, "")] * (random.random() < 0.1)
    return end.join(lines) + random.choice(("", end))


def oracle_rows(name: str, text: str, separator: str) -> list[Row]:
    """What the oracle's grammar makes of a file: records of three cells with a key that is not there yet."""
    rows: dict[str, Row] = {}
    for number, cells in enumerate([*split(text, separator)][1:], start=1):
        if len(cells) == 3 and cells[0] not in MISSING:
            rows.setdefault(cells[0], (name, number, cells[0], None if cells[2] in MISSING else cells[2]))
    return list(rows.values())


def content(loader: Loader, careful: bool) -> dict[str, list[Row]]:
    loader.load(careful=careful)
    return loader.content()


@pytest.mark.parametrize("window", [7, 1 << 18])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", list(SEPARATORS))
def test_a_file_reads_the_same_the_quick_way_and_the_careful_one(
    tmp_path: Path, separator: str, end: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "_WINDOW", window)
    random = Random(f"{separator}{end}{window}")
    feed = places(Dialect(separator=separator))
    # What a cell holds is compared here, so odd letters in it are no reason to reject it.
    columns = tuple(replace(one, rules=replace(one.rules, lookalikes="keep")) for one in feed.columns)
    feed = replace(feed, columns=columns)
    quick, careful = (Loader(tmp_path, [feed]) for _ in range(2))
    files = {f"{number:03}.csv": some_file(random, separator, end) for number in range(sampled(24, 150))}
    for name, text in files.items():
        quick.deliver(name, text)
    found, expected = content(quick, False), content(careful, True)
    for table, rows in expected.items():
        assert found[table] == rows
    assert quick.rows("_file, _record, id, unit", where="true") == [
        row for name, text in files.items() for row in oracle_rows(name, text, separator)
    ]


TAB_IN_QUOTES = {
    "no cell is padded": '"c1"\t"oral_health"\t"2025-03-05 10:00"\t"k\t"\n"c2\t"\toral_health\t2025-03-05 10:00\t"k"\n',
    "another cell is": '"c1"\t"oral_health"\t"2025-03-05 10:00"\t"k\t"\n"c2\t"\toral_health\t2025-03-05 10:00\t k\n',
    "tabs alone": '"c1"\t"oral_health"\t"2025-03-05 10:00"\t"\t"\n"\tc2"\toral_health\t2025-03-05 10:00\t"\t\t"\n',
    "quotes in quotes": '"c1"\toral_health\t2025-03-05 10:00\tk\n"\t""c3""\t"\toral_health\t2025-03-05 10:00\t"\tk"\n',
}


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("text", TAB_IN_QUOTES.values(), ids=TAB_IN_QUOTES.keys())
def test_a_tab_within_quotes_is_layout_in_a_tab_file(tmp_path: Path, text: str, careful: bool) -> None:
    loader = Loader(tmp_path, [contracts()["chats"]])
    loader.deliver("a.csv", "chat_id\tservice_line\tstarted_at\tresolved_without_visit\n" + text)
    loader.load(careful=careful)
    assert loader.ledger("records, rows_loaded, rows_rejected") == [(2, 2, 0)]
    assert loader.rows("chat_id") in ([("c1",), ("c2",)], [("c1",), ('"c3"',)])


# --- Cells that hold records

HEADER = "id;comment;unit\n"
HIDING = {
    "two lone quotes": (HEADER + 'v1;";A\nv2;ok;A\nv3;ok;A\nv4;";A\nv5;ok;A\n', [1], 2),
    "two lone quotes in neighbouring records": (HEADER + 'v1;";A\nv2;";A\nv3;ok;A\n', [1], 2),
    "twice": (HEADER + 'v1;";A\nv2;";A\nv3;ok;A\nv4;";A\nv5;";A\n', [1, 3], 3),
    "in the last column": (HEADER + 'v1;ok;"\nv2;ok;A\nv3;ok;"\n', [1], 1),
    "in the first column": (HEADER + '";ok;A\nv2;ok;A\n";ok;A\n', [1], 1),
    "carriage returns": (HEADER.strip() + '\rv1;";A\rv2;";A\rv3;ok;A', [1], 2),
    "both": (HEADER.strip() + '\r\nv1;";A\r\nv2;";A\r\nv3;ok;A\r\n', [1], 2),
    "blank lines before": (HEADER + '\n\nv0;ok;A\n\nv1;";A\nv2;";A\n', [2], 2),
    "up to the end": (HEADER + 'v0;ok;A\nv1;";A\nv2;";A', [2], 2),
    "in a record that is a reject": (HEADER + ';";A\nv2;";A\nv3;ok;A\n', [1], 2),
    "a table pasted into a comment": (HEADER + 'v1;"a;b;c\nd;e;f";A\nv2;ok;A\n', [1], 2),
    "line ends alone": (HEADER + 'v1;"a\nb\nc";A\nv2;ok;A\n', [], 2),
    "separators alone": (HEADER + 'v1;"a;b;c;d";A\nv2;ok;A\n', [], 2),
    "line ends and separators in two cells": (HEADER + 'v1;"a\nb";"c;d;e;f"\nv2;ok;A\n', [], 2),
    "a line end and a separator": (HEADER + 'v1;"a;b\nc";A\nv2;ok;A\n', [], 2),
    "a quote that is never closed": (HEADER + 'v1;";A\nv2;ok;A\nv3;ok;A\n', [], 3),
    "one column": ('id\n"a\nb"\nc\n', [], 2),
}


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("separator", list(SEPARATORS))
def test_a_cell_that_may_hide_records_is_told(tmp_path: Path, separator: str, careful: bool) -> None:
    loader = Loader(tmp_path, [places(Dialect(separator=separator))])
    for name, (text, _, _) in HIDING.items():
        loader.deliver(f"{name}.csv", text.replace("v", name).replace(";", separator))  # keys of its own
    report = loader.load(careful=careful)
    for name, (_, suspects, count) in HIDING.items():
        found = loader.ledger("records, rows_loaded, rows_rejected, warnings", f"{name}.csv")
        ((records, loaded, rejected, message),) = found
        assert records == count == loaded + rejected, name
        if not suspects:
            assert not message, name
            continue
        named = f"record{'s' if len(suspects) > 1 else ''} {', '.join(map(str, suspects))}"
        assert message == [
            f"a cell holds line ends and as many separators as a record has, in {named}:"
            " there may be records in it, between two quotes that are letters"
        ], name
        assert f"places/{name}.csv: {message[0]}." in report.warnings
