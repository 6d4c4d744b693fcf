"""One file as bytes: encoding, separator, header and where its records end."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import pytest

from kpi.ingest import csv_reader, encoding
from kpi.ingest.csv_reader import Form, Layout, Refusal, cut_records, decompress, form_of, read_layout, split_record

NAMES: Mapping[str, str] = {"id": "id", "tunniste": "id", "at": "at", "note": "note"}


def layout(text: str | bytes) -> Layout:
    return read_layout(text.encode() if isinstance(text, str) else text, NAMES)


def pieces(found: Layout, careful: bool = False) -> list[bytes]:
    """The pieces that the body is cut into, blank lines left out."""
    cut = cut_records(found, careful)
    starts = [found.start, *cut.ends[:-1]]
    return [found.body[a:b] for a, b, is_blank in zip(starts, cut.ends, cut.blank, strict=True) if not is_blank]


def form(text: str) -> Form:
    found = layout(text)
    return form_of(found, cut_records(found))


@pytest.mark.parametrize(
    ("content", "name", "note"),
    [
        ("id,note\n1,ä€\n".encode(), "utf-8", "ä€"),
        ("\ufeffid,note\n1,ä\n".encode(), "utf-8", "ä"),
        ("\ufeff\ufeffid,note\n1,ä\n".encode(), "utf-8", "ä"),  # one mark only; the other is a letter of the first name
        ("id,note\n1,Š€ä\n".encode("iso-8859-15"), "iso-8859-15", "Š€ä"),
        ("id,note\n1,”€ä\n".encode("windows-1252"), "windows-1252", "”€ä"),
        (b"id,note\n1,a\x81\x8d\x8f\x90\x9d\n", "windows-1252", "a" + 5 * "\ufffd"),
        (b"\xef\xbb\xbfid,note\n1,\xe4\n", "utf-8", "\ufffd"),
        ("\ufeffid,note\n1,ä€\n".encode("utf-16-le"), "utf-16-le", "ä€"),
        ("\ufeffid,note\n1,ä€\n".encode("utf-16-be"), "utf-16-be", "ä€"),
    ],
)
def test_encodings(content: bytes, name: str, note: str) -> None:
    found = layout(content)
    assert found.encoding == name
    assert pieces(found)[0].decode() == f"1,{note}\n"


def test_a_letter_of_utf8_may_lie_across_two_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 5)
    for text in ("id,note\n1,aä€😀ä\n", "id,note\n" + "äöå" * 7 + "\n"):
        assert layout(text).encoding == "utf-8"
        assert pieces(layout(text))[0].decode() == text.partition("\n")[2]
    assert layout("id,note\n1,ä".encode()[:-1]).encoding == "utf-8"  # cut in the middle of a letter


@pytest.mark.parametrize(
    ("content", "separator", "header"),
    [
        ("id,at;note\n", ",", ("id", "at;note")),  # two known names by either: the comma comes first
        ("id;at,note\n", ",", ("id;at", "note")),
        ("id;at;x,note\n", ";", ("id", "at", "x,note")),
        ("id\tat\tnote\n", "\t", ("id", "at", "note")),
        ("a;b\n", ",", ("a;b",)),
        (' id , "at" ,\tnote\n', ",", ("id", "at", "note")),
        ('"i""d","a\nt",note\n', ",", ('i"d', "a\nt", "note")),
        ("\n \t\r\n\r  id,at\n", ",", ("id", "at")),
        # A line of tabs is a record of a tab file, and so its header: it has no known name, and the comma comes first.
        ("\t\t\nid\tat\n", ",", ("id\tat",)),
        ("\t\t\nid,at\n", ",", ("id", "at")),
        ("  \nid\tat\n", "\t", ("id", "at")),
    ],
)
def test_the_separator_is_the_one_that_yields_most_known_names(
    content: str, separator: str, header: tuple[str, ...]
) -> None:
    found = layout(content)
    assert (found.separator, found.header) == (separator, header)


@pytest.mark.parametrize("content", ["", "\n", " \t\r\n\r", "\ufeff", "\ufeff\n", "\t\t\n", "   "])
def test_a_file_without_a_header_line_is_refused(content: str) -> None:
    with pytest.raises(Refusal, match="no header line"):
        layout(content)


def test_a_column_named_twice_is_told() -> None:
    found = layout("id,huom,tunniste,at,\n")
    assert found.twice == ("tunniste",)
    assert found.positions == {"id": 0, "at": 3}


CUTS = [
    ("1,2\n3,4\n", ["1,2\n", "3,4\n"]),
    ("1,2\r\n3,4", ["1,2\r\n", "3,4"]),
    ("1,2\r3,4\r", ["1,2\r", "3,4\r"]),
    ("1,2\r\r\n3,4\n\r5,6", ["1,2\r", "3,4\n", "5,6"]),  # CR, a blank line, and so on
    ("\n1,2\n \n\t \n3,4\n\n", ["1,2\n", "3,4\n"]),
    ('1,"a\nb"\n3,4\n', ['1,"a\nb"\n', "3,4\n"]),
    ('1,"a,""b"""\n3,4\n', ['1,"a,""b"""\n', "3,4\n"]),
    ('1, "a\n" \n3,4\n', ['1, "a\n" \n', "3,4\n"]),
    ('1,x"a\n3",4\n', ['1,x"a\n', '3",4\n']),  # a quote that does not enclose its whole cell is a letter
    ('1,"a\n3,4\n', ['1,"a\n', "3,4\n"]),
    ('1,"a"x\n3,4\n', ['1,"a"x\n', "3,4\n"]),
    ('1,"a\n"x,4\n', ['1,"a\n', '"x,4\n']),
    ('"\n"\n', ['"\n"\n']),
    ('1,"\n,",2\n', ['1,"\n,",2\n']),
    ('1,";"\n', ['1,";"\n']),
    ('1,""\n3,4\n', ['1,""\n', "3,4\n"]),
    ("1,\x0b\x0c\x1c\x85\u2028\n3,4\n", ["1,\x0b\x0c\x1c\x85\u2028\n", "3,4\n"]),  # none of these ends a line
    ("1,\x00\n3,4\n", ["1,\x00\n", "3,4\n"]),
]


@pytest.mark.parametrize("window", [1, 3, 7, 1 << 18])
@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(("text", "expected"), CUTS)
def test_where_records_end(
    text: str, expected: list[str], careful: bool, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "_WINDOW", window)
    found = layout("id,at\n" + text)
    assert [piece.decode() for piece in pieces(found, careful)] == expected


def test_a_line_of_tabs_is_a_record_of_a_tab_file() -> None:
    assert pieces(layout("id\tat\n\t\n \n\t\t")) == [b"\t\n", b"\t\t"]
    assert pieces(layout("id,at\n\t\n \n\t\t")) == []


@pytest.mark.parametrize(
    ("rows", "quotes", "has_padding", "has_returns"),
    [
        ("1,2025-03-05 14:07\n2,x y\n", "none", False, False),
        ("1,2\r\n", "none", False, True),
        ("1, 2\n", "none", True, False),
        ("1,2 \n", "none", True, False),
        (" 1,2\n", "none", True, False),
        ("1,2\t", "none", True, False),
        ('1," 2"\n', "plain", True, False),
        ('1,"2 "\r', "plain", True, True),
        ('"1","2"', "plain", False, False),
        ('"1",""\n3,4', "plain", False, False),
        ('1,"2,3"\n', "odd", False, False),
        ('1,"2\n3"\n', "odd", False, False),
        ('1,"2""3"\n', "odd", False, False),
        ('1,2"3"\n', "odd", False, False),
        ('1,"2" \n', "odd", True, False),
        ('1,"2\n', "odd", False, False),
        ("", "none", False, False),
    ],
)
def test_the_form_of_a_file_tells_what_there_is_to_do(
    rows: str, quotes: str, has_padding: bool, has_returns: bool
) -> None:
    found = form("id,at\n" + rows)
    assert (found.quotes, found.has_padding, found.has_returns) == (quotes, has_padding, has_returns)
    # A quote in the header says nothing of the records.
    assert form('"id","at"\n' + rows) == found


def test_padding_is_seen_after_a_header_that_alone_ends_with_a_carriage_return() -> None:
    assert form("id,at\r abc,de").has_padding
    assert not form("id,at\rabc,d e").has_padding


def test_padding_is_seen_at_the_edge_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for window in range(1, 9):
        monkeypatch.setattr(csv_reader, "_PADDING_WINDOW", window)
        assert form("id,at\nabc,d e\nabc, de\n").has_padding
        assert form("id,at\nabc,d e\nabc ,de\n").has_padding
        assert not form("id,at\nabc,d e\na  c,d\te\n").has_padding


def test_cells_lose_blanks_and_enclosing_quotes() -> None:
    cells = split_record(' a ,"b , c",\t" d ""e"" ",f"g,"h"i,,""\r\n', ",")
    assert cells == ["a", "b , c", 'd "e"', 'f"g', '"h"i', "", ""]


def test_a_gz_is_read_to_its_end() -> None:
    packed = gzip.compress(b"id,at\n1,2\n", mtime=0)
    assert decompress(packed, "a.csv.gz") == b"id,at\n1,2\n"
    assert decompress(packed + gzip.compress(b"3,4\n", mtime=0), "a.csv.gz") == b"id,at\n1,2\n3,4\n"
    assert decompress(packed + bytes(100), "a.csv.gz") == b"id,at\n1,2\n"
    assert decompress(packed, "a.csv") == packed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"id,at\n1,2\n",
        gzip.compress(b"id,at\n1,2\n", mtime=0)[:-1],
        gzip.compress(b"id,at\n1,2\n", mtime=0)[:12],
        gzip.compress(b"id,at\n1,2\n", mtime=0)[:-8] + bytes(8),
        gzip.compress(b"id,at\n1,2\n", mtime=0) + b"garbage",
    ],
)
def test_a_gz_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match="the gz file"):
        decompress(data, "a.csv.gz")


def test_a_gz_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "LARGEST_FILE", 1000)
    with pytest.raises(Refusal, match="more than 1000 bytes"):
        decompress(gzip.compress(bytes(1001), mtime=0), "a.csv.gz")


def test_a_gz_that_unpacks_to_many_times_its_size_is_refused_while_it_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_reader, "LARGE", 100_000)
    monkeypatch.setattr(csv_reader, "_CHUNK", 1000)
    assert len(decompress(gzip.compress(bytes(100_000), mtime=0), "a.csv.gz")) == 100_000
    with pytest.raises(Refusal, match="more than 50 times its own size"):
        decompress(gzip.compress(bytes(1_000_000), mtime=0), "a.csv.gz")
