"""Where the header of a delivery is, what separates it, and what is said when it is not what the contract has.

What stands in a header that is not known may be the first record of a file without one: it is quoted nowhere.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from kpi.errors import ContractError
from kpi.ingest.contract import Dialect, Feed, read_feed
from kpi.project.project import load_project
from loading import Loader, contracts
from small_project import write

HEADER = "call_id;palvelulinja;saapumisaika"
ROW = "c1;oral_health;5.3.2025 klo 14.07"
FILE = f"{HEADER}\n{ROW}\n"
CODE = "131052-308T"


def calls(dialect: Dialect) -> Feed:
    return replace(contracts()["calls"], dialect=dialect)


def loaded(folder: Path, content: bytes, dialect: Dialect | None = None, name: str = "a.csv") -> Loader:
    loader = Loader(folder, [calls(dialect or Dialect())])
    loader.deliver(name, content)
    loader.load()
    return loader


def loaded_together(folder: Path, files: Mapping[str, bytes]) -> Loader:
    """Files that have nothing to do with each other, in one database and one load: most of its cost is not theirs."""
    loader = Loader(folder, [calls(Dialect())])
    for name, content in files.items():
        loader.deliver(name, content)
    loader.load()
    return loader


def refused(loader: Loader, file: str = "%") -> str:
    ((reason, records, rows, rejected),) = loader.ledger("refused, records, rows_loaded, rows_rejected", file)
    assert records == rejected
    assert rows == 0
    return str(reason)


# --- Files that are read


EXCEL = (
    *(("sep=;", ";"), ("SEP=;", ";"), ('"sep=;"', ";"), ("sep=;  ", ";")),
    *(("sep=,", ","), ("sep=\t", "\t"), ("sep=|", "|")),
)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_first_line_of_excel_names_the_separator(tmp_path: Path, codec: str) -> None:
    cases = list(product(EXCEL, ("\n", "\r\n", "\r")))
    files = {}
    for number, ((first, separator), ending) in enumerate(cases):
        text = f"{first}\n{FILE}\n".replace("c1;", f"c{number};").replace("\n", ending).replace(";", separator)
        files[f"{number}.csv"] = text.encode(codec)
    loader = loaded_together(tmp_path, files)
    for number, case in enumerate(cases):
        assert loader.rows("call_id, _record", where=f"_file = '{number}.csv'") == [(f"c{number}", 1)], case


def test_excels_separator_is_meant(tmp_path: Path) -> None:
    # By the names alone it would be the comma.
    content = 'sep=;\n"a,call_id,service_line";call_id;service_line;arrived_at\nx;c1;oral_health;2025-03-05 14:07\n'
    loader = loaded(tmp_path, content.encode())
    assert loader.rows("call_id") == [("c1",)]
    loader = loaded(tmp_path / "other", b"sep=^\n" + FILE.encode())
    assert "comma, semicolon, tab, pipe" in refused(loader)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_contract_names_the_separator_and_the_lines_above_the_header(tmp_path: Path, separator: str) -> None:
    above = 'Puhelut 2025, oma;raportti\t|\r\n"tulostettu\n\n'
    row = 'c1;oral_health;"2025-03-05 14:07";"SEP"\nc2;"oral_health";"x;y"\nc3;oral_health;2025-03-05 14:07;"a""b"\n'
    text = (HEADER + ";huom\n" + row).replace("SEP", ";").replace(";", separator)
    content = (above + text).encode()
    for careful in (False, True):
        loader = Loader(tmp_path / str(careful), [calls(Dialect(separator=separator, skip_lines=3))])
        loader.deliver("a.csv", content)
        loader.load(careful=careful)
        assert loader.rows("call_id, _record") == [("c1", 1), ("c3", 3)]
        assert loader.ledger("records, rows_loaded, rows_rejected") == [(3, 2, 1)]


def test_lines_are_skipped_below_what_excel_says_and_above_blank_ones(tmp_path: Path) -> None:
    loader = loaded(tmp_path, ("\ufeffsep=;\nraportti\n\n\n" + FILE).encode(), Dialect(skip_lines=2))
    assert loader.rows("call_id") == [("c1",)]
    loader = loaded(tmp_path / "few", b"a\nb\n", Dialect(skip_lines=2))
    assert refused(loader) == "the file has no header line"


@pytest.mark.parametrize("name", ["a.CSV", "a.Csv", "a.csv.gz", "a.CSV.GZ", "a.Csv.Gz"])
def test_the_ending_of_a_name_is_in_any_case(tmp_path: Path, name: str) -> None:
    content = gzip.compress(FILE.encode()) if name.lower().endswith("gz") else FILE.encode()
    assert loaded(tmp_path, content, name=name).rows("call_id") == [("c1",)]


SETTINGS = {
    "encoding: cp850": Dialect(encoding="cp850"),
    "separator: pipe": Dialect(separator="|"),
    "separator: '|'": Dialect(separator="|"),
    "separator: tab": Dialect(separator="\t"),
    "skip_lines: 3": Dialect(skip_lines=3),
    "encoding: latin-1": Dialect(encoding="iso-8859-1"),
    "encoding: CP1252": Dialect(encoding="windows-1252"),
    "encoding: utf8": Dialect(encoding="utf-8"),
    "encoding: macroman": Dialect(encoding="mac-roman"),
    "encoding: utf-16": Dialect(encoding="utf-16-le"),
    "encoding: windows-1251": "files are not read in the encoding 'windows-1251'. Did you mean 'windows-1252'?",
    "encoding: rot13": "files are not read in the encoding 'rot13'",
    "encoding: ebcdic": "files are not read in the encoding 'ebcdic'. There is: cp437, cp850,",
    "separator: '^'": "'separator' is one of comma, semicolon, tab, pipe",
    "skip_lines: -1": "'skip_lines' is a whole number",
    "skip_lines: true": "'skip_lines' is a whole number",
    "skip_lines: '2'": "'skip_lines' is a whole number",
}


@pytest.mark.parametrize(("setting", "expected"), SETTINGS.items(), ids=SETTINGS.keys())
@pytest.mark.parametrize("is_of_mapping", [False, True])
def test_what_a_contract_may_say(tmp_path: Path, setting: str, expected: Dialect | str, is_of_mapping: bool) -> None:
    mapping = "mappings: [{name: old, files: [old*], reads: [a], columns: {visit_id: a}%s}]"
    of_feed = mapping % f", {setting}" if is_of_mapping else f"{setting}, {mapping % ''}"
    yaml = (
        "sources:\n  - name: raw\n    tables:\n      - name: visits\n"
        f"        config: {{meta: {{feed: {{key: [visit_id], {of_feed}}}}}}}\n"
        "        columns: [{name: visit_id, data_type: varchar, config: {meta: {required: true}}}]\n"
    )
    project = load_project(write(tmp_path, {"models/staging/visits.yml": yaml}))
    (visits,) = (source for source in project.sources if source.name == "visits")
    if isinstance(expected, str):
        with pytest.raises(ContractError, match=re.escape(expected)):
            read_feed(visits)
        return
    feed = read_feed(visits)
    assert feed.mappings[0].dialect == expected
    assert feed.dialect == (Dialect() if is_of_mapping else expected)


# --- Files that are not CSV


def archive(*names: str, content: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name in names:
            zipped.writestr(name, content)
    return stream.getvalue()


OTHERS: dict[str, tuple[bytes, str]] = {
    "xlsx": (archive("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"), "an Excel workbook (xlsx)"),
    "ods": (archive("mimetype", content="application/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument sheet"),
    "docx": (archive("word/document.xml"), "a Word document"),
    "zip": (archive("a.csv"), "a zip archive"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel workbook"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document"),
    "gzip": (gzip.compress(FILE.encode()), "gzip: give it a name that ends in .csv.gz"),
    "parquet": (b"PAR1\x15\x04" + bytes(90) + b"PAR1", "a parquet file"),
    "duckdb": (bytes(8) + b"DUCK" + bytes(500), "a DuckDB database"),
    "sqlite": (b"SQLite format 3\x00" + bytes(100), "an SQLite database"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive"),
    "xz": (b"\xfd7zXZ\x00\x00", "xz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    "spss": (b"$FL2@(#) SPSS DATA FILE", "an SPSS file"),
    "stata": (b"<stata_dta><header><release>118", "a Stata file"),
    "rtf": (b"{\\rtf1\\ansi Puhelut}", "an RTF document"),
    "bzip2": (b"BZh91AY&SY\x00\x12", "bzip2"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture"),
    "html": (b"\xef\xbb\xbf\n <!DOCTYPE html>\n<html><body>Kirjaudu " + CODE.encode(), "an HTML page"),
    "a html table as xls": (b"<table border=1><tr><td>call_id</td></tr>", "an HTML page"),
    "xml": (b'<?xml version="1.0"?>\n<rows><row id="1"/></rows>', "XML"),
    "excel's xml": (
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
        "an Excel",
    ),
    "json": (b'[{"call_id": "c1"}]', "JSON"),
    "json lines": (b'{"call_id": "c1"}\n{"call_id": "c2"}\n', "JSON"),
    "sql": (b"INSERT INTO calls VALUES (1, 'a');\n", "SQL"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
    "an e-mail": (b"From: a@b.example\nSubject: data\n", "an e-mail"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n\nhQ", "an encrypted or signed file"),
    "utf-16 le without a mark": (FILE.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "utf-16 be without a mark": (FILE.encode("utf-16-be"), "UTF-16 without a byte order mark"),
    "utf-32": (FILE.encode("utf-32"), "UTF-32"),
    "bytes": (bytes(range(1, 200)) * 4, "no text"),
    "zeros": (bytes(1000), "no text"),
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """Each of them as it is, and packed."""
    plain = {f"{name}.csv": content for name, (content, _) in OTHERS.items()}
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in plain.items()}
    return loaded_together(tmp_path_factory.mktemp("others"), plain | packed)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_csv_is_refused_for_what_it_is(others: Loader, name: str, is_packed: bool) -> None:
    reason = refused(others, f"{name}.csv.gz" if is_packed else f"{name}.csv")
    assert OTHERS[name][1] in reason
    assert reason.isascii()
    assert reason.isprintable()
    assert CODE not in reason


def test_a_csv_named_gz_is_told_to_be_none(tmp_path: Path) -> None:
    reason = refused(loaded(tmp_path, f"{CODE};x\n".encode(), name="a.csv.gz"))
    assert "not compressed" in reason
    assert "13" not in reason


@pytest.mark.parametrize(
    "first", ["PAR1", "ORC_id", "BZh", "GIF87", "PK", "[x]", "{x}", "<x>", "<html>", "From: x", "$FL2@"]
)
def test_a_header_that_begins_oddly_is_a_header_when_its_other_names_are_known(tmp_path: Path, first: str) -> None:
    loader = loaded(tmp_path, f"{first};{HEADER}\n1;{ROW}\n".encode())
    assert loader.rows("call_id") == [("c1",)]


# --- Headers that are not known


HEADERLESS = {
    "semicolons": f"v1;2025-01-02 10:00:00;Matti Meikäläinen {CODE} soitti 040 123 4567\nv2;x;ok\n",
    "commas": f"v1,Matti Meikäläinen,{CODE},040 123 4567\nv2,a,b,c\n",
    "tabs": f"v1\tMatti Meikäläinen\t{CODE}\t040 123 4567\nv2\ta\tb\tc\n",
    "pipes": f"v1|Matti Meikäläinen|{CODE}|040 123 4567\nv2|a|b|c\n",
    "quoted": f'"v1";"Matti ""Meikäläinen"";\n{CODE}";"040 123 4567"\n"v2";"a";"b"\n',
    "one column": f"Matti Meikäläinen {CODE} 040 123 4567\nok\n",
    "one line": f"Matti Meikäläinen {CODE};040 123 4567",
    "a code beside a name": f"call_id {CODE};Matti Meikäläinen;040 123 4567\n",
    "a name of a column in it": f"call_id;Matti Meikäläinen {CODE};040 123 4567\n1;2;3\n",
    "escapes": f"\x1b[31mMatti Meikäläinen;{CODE};040 123 4567\n",
    "lines above": f"Matti Meikäläinen {CODE} 040 123 4567\n\n{FILE}",
}
SECRETS = ("Matti", "Meik", CODE, "123 4567", "040", "2025-01", "\x1b", "v1")


@pytest.mark.parametrize("codec", ["utf-8", "cp1252", "utf-16"])
def test_a_header_that_is_a_record_is_quoted_nowhere(tmp_path: Path, codec: str) -> None:
    loader = loaded_together(tmp_path, {f"{name}.csv": text.encode(codec) for name, text in HEADERLESS.items()})
    message = "\n".join([loader.refused(), *loader.load().warnings, str(loader.ledger("* exclude (feed, file)"))])
    assert [secret for secret in SECRETS if secret in message] == []
    for name in HEADERLESS:
        reason = refused(loader, f"{name}.csv")
        assert "required columns are missing: " in reason
        assert re.search("none of its [0-9] columns is known|its one column|of its [0-9] columns are known", reason)


def test_a_headerless_file_is_asked_for_its_header(tmp_path: Path) -> None:
    reason = refused(loaded(tmp_path, HEADERLESS["semicolons"].encode()))
    assert reason == (
        "required columns are missing: call_id, service_line, arrived_at;"
        " none of its 3 columns is known: the header line may be missing"
    )


NEAR = {
    "Call_ID;palvelulinja;saapumisaika": "column 1 (did you mean 'call_id'?)",
    "CALL ID;palvelulinja;saapumisaika": "column 1 (did you mean 'call_id'?)",
    "call_id;palvelu-linja;saapumisaika": "column 2 (did you mean 'palvelulinja'?)",
    "call_id;palvelulnija;saapumisaika": "column 2 (did you mean 'palvelulinja'?)",
    "call_id;palvelulinja;\u00a0saapumisaika": "column 3 (did you mean 'saapumisaika'?)",
    "call_id;palvelulinja;\u200bsaapumisaika": "column 3 (did you mean 'saapumisaika'?)",
    "call_id;palvelulinja;saapumisaika:": "column 3 (did you mean 'saapumisaika'?)",
    "CALL_ID;SERVICE_LINE;ARRIVED_AT": "column 1 (did you mean 'call_id'?), column 2 (did you mean 'service_line'?)",
    "call_id|service_line|arrived_at": "separator: pipe",
    "Puhelut 2025\n\ncall_id;service_line;arrived_at": "skip_lines: 2",
    "Puhelut;;\n2025;;\ncall_id|service_line|arrived_at": "skip_lines: 2, separator: pipe",
}


@pytest.mark.parametrize(("header", "hint"), NEAR.items())
def test_a_header_that_is_nearly_right_gets_a_hint(tmp_path: Path, header: str, hint: str) -> None:
    assert hint in refused(loaded(tmp_path, f"{header}\n1;2;3\n".encode()))


def test_the_settings_that_are_hinted_at_are_those_that_help(tmp_path: Path) -> None:
    text = f"Puhelut 2025\n\n{FILE}".replace(";", "|")
    assert "'skip_lines: 2, separator: pipe'" in refused(loaded(tmp_path, text.encode()))
    mended = loaded(tmp_path / "mended", text.encode(), Dialect(separator="|", skip_lines=2))
    assert mended.rows("call_id") == [("c1",)]


def test_unknown_columns_of_a_file_that_is_read_are_told_by_place(tmp_path: Path) -> None:
    names = f"{HEADER};Matti Meikäläinen;answered at;{CODE};" + ";".join(f"x{n}" for n in range(20))
    loader = loaded(tmp_path, f"{names}\n{ROW}{';' * 23}\n".encode())
    assert loader.rows("call_id") == [("c1",)]
    ((unknown,),) = loader.ledger("unknown_columns")
    assert unknown[:3] == ["column 4", "column 5 (did you mean 'answered_at'?)", "column 6"]
    assert len(unknown) == 23
    (message,) = (warning for warning in loader.load().warnings if "nobody asked for" in warning)
    assert message.endswith("column 11 and 15 more.") or message.endswith("column 11, and 15 more.")
    assert json.dumps(unknown).isascii()
