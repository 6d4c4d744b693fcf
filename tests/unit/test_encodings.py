"""In which encoding a delivery is read, what of it cannot be, and what is said when it might be another."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from kpi.ingest.contract import Dialect, Feed
from kpi.ingest.retention import Retention
from loading import Loader, contracts

HEADER = "id;huomio;yksikkö\n"
WORDS = ["Hämeenlinna", "Yksikkö", "Åbo svenska", "pöytä", "Öljy", "kyllä", "PÄIVÄ"]


def places(dialect: Dialect = Dialect()) -> Feed:  # noqa: B008
    """A feed of a key, a free text and a text that is none."""
    feed = contracts()["nps_responses"]
    text = next(column for column in feed.columns if column.name == "response_id")
    comment = next(column for column in feed.columns if column.name == "comment")
    columns = (
        replace(text, name="id", aliases=()),
        replace(comment, name="comment", aliases=("huomio",)),
        replace(text, name="unit", aliases=("yksikkö",), required=False),
    )
    feed = replace(feed, time_order=(), retention=Retention(None, ""), services_by="")
    return replace(feed, name="places", columns=columns, key=("id",), dialect=dialect)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path, [places()])


def rows(*words: str, comment: str = "", of: object = "") -> str:
    """Records of a file; `of` makes their keys its own, where files are loaded together."""
    return "".join(f"k{of}-{number};{comment};{word}\n" for number, word in enumerate(words, start=1))


def counts(loader: Loader, file: str = "%") -> tuple[str, int, int, int]:
    ((encoding, records, loaded, rejected),) = loader.ledger("encoding, records, rows_loaded, rows_rejected", file)
    assert records == loaded + rejected
    return encoding, records, loaded, rejected


def warnings(loader: Loader, file: str = "%") -> list[str]:
    return [warning for (message,) in loader.ledger("warnings", file) for warning in message or ()]


# --- What Finnish offices deliver


ENDINGS = ("\n", "\r\n", "\r")
# What is written, what it is read as, and whether that is in doubt.
CODECS = (
    ("utf-8", "utf-8", False),
    ("utf-8-sig", "utf-8", False),  # Excel's "CSV UTF-8"
    ("utf-16", "utf-16-le", False),  # Excel's "Unicode text"
    ("cp1252", "windows-1252", False),
    ("latin-1", "iso-8859-15", False),  # the letters of both are the same
    ("iso-8859-15", "iso-8859-15", False),
    ("cp850", "cp850", True),  # old systems
    ("cp437", "cp850", True),
    ("mac-roman", "mac-roman", True),
)


@pytest.mark.parametrize("named", ["", *dict.fromkeys(name for _, name, _ in CODECS)])
def test_words_are_read_as_they_were_written(tmp_path: Path, named: str) -> None:
    """Each codec with each line end, where the contract names no encoding and where it names this one."""
    loader = Loader(tmp_path, [places(Dialect(encoding=named))])
    cases = [(*one, ending) for one in CODECS if named in ("", one[1]) for ending in ENDINGS]
    for number, (codec, *_, ending) in enumerate(cases):
        text = (HEADER + rows(*words_in(codec), of=number)).replace("\n", ending)
        loader.deliver(f"{number}.csv", text.encode(codec))
    loader.load()
    for number, (codec, name, is_in_doubt, _) in enumerate(cases):
        file, words = f"{number}.csv", words_in(codec)
        assert loader.words("unit", file) == words, codec
        assert counts(loader, file) == (name, len(words), len(words), 0)
        assert bool(warnings(loader, file)) == (is_in_doubt and not named), codec
        if is_in_doubt and not named:
            assert "'Hämeenlinna'" in warnings(loader, file)[0]
            assert name in warnings(loader, file)[0]


def words_in(codec: str) -> list[str]:
    return [*WORDS, "–"] if codec == "cp1252" else WORDS


def test_a_gz_is_read_in_its_encoding_too(loader: Loader) -> None:
    loader.deliver("a.csv.GZ", gzip.compress(("\ufeff" + HEADER + rows(*WORDS)).encode("utf-16-be")))
    loader.load()
    assert [word for (word,) in loader.rows("unit")] == WORDS
    assert counts(loader)[0] == "utf-16-be"


# --- Records that cannot be decoded are rejects, and the others are as they were


STRAY = [
    b"\xe4",
    b"\xff",
    b"\x80",
    b"\x81",
    b"\xc3",
    b"\xe2\x82",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf5\x80\x80\x80",
    b"\xa0",
]


@pytest.mark.parametrize("place", ["comment", "unit", "between quotes", "key"])
def test_one_record_that_is_not_utf8_is_a_reject_and_the_others_are_as_they_were(loader: Loader, place: str) -> None:
    """Each stray byte, in a file with a byte order mark and in one without."""
    cases = [(stray, mark) for stray in STRAY for mark in (b"", b"\xef\xbb\xbf")]
    for number, (stray, mark) in enumerate(cases):
        key = f"k{number}-8".encode()
        bad = {
            "comment": key + b";M" + stray + b"d;A\n",
            "unit": key + b";ok;" + stray + b"\n",
            "between quotes": key + b';"a\nb;' + stray + b'";A\n',
            "key": stray + key + b";ok;A\n",
        }[place]
        good = (HEADER + rows(*WORDS, of=number)).encode()
        loader.deliver(f"{number:02}.csv", mark + good + bad + f"k{number}-9;ok;Oulu\n".encode())
    loader.load()
    assert loader.rejects() == [
        (f"{number:02}.csv", 8, ["holds bytes that are not utf-8"]) for number in range(len(cases))
    ]
    for number, case in enumerate(cases):
        assert counts(loader, f"{number:02}.csv") == ("utf-8", 9, 8, 1), case
        assert loader.words("unit", f"{number:02}.csv") == [*WORDS, "Oulu"], case


def test_the_file_that_one_stray_byte_garbled(loader: Loader) -> None:
    loader.deliver("b.csv", (HEADER + "v1;ok;Hämeenlinna\nv2;ok;Yksikkö\n").encode() + b"v3;ok;M\xe4d\n")
    report = loader.load()
    assert loader.rows("id, unit") == [("v1", "Hämeenlinna"), ("v2", "Yksikkö")]
    assert "places/b.csv: 1 of 3 records rejected, see raw.rejects." in report.warnings


@pytest.mark.parametrize(
    ("utf8", "others", "encoding", "loaded"), [(3, 1, "utf-8", 3), (2, 2, "utf-8", 2), (1, 3, "iso-8859-15", 3)]
)
def test_of_two_encodings_in_a_file_the_one_of_most_records_is_read(
    loader: Loader, utf8: int, others: int, encoding: str, loaded: int
) -> None:
    records = [f"u{number};;pää\n".encode() for number in range(utf8)]
    records += [f"l{number};;pää\n".encode("latin-1") for number in range(others)]
    loader.deliver("a.csv", b"id;comment;unit\n" + b"".join(records))
    loader.load()
    assert counts(loader) == (encoding, utf8 + others, loaded, utf8 + others - loaded)
    assert set(loader.rows("unit")) == {("pää",)}


@pytest.mark.parametrize(
    ("named", "letter", "is_read"),
    [
        ("", b"\x81", False),
        ("windows-1252", b"\x8d", False),
        ("windows-1252", b"\x90", False),
        ("windows-1252", b"\xe4", True),
        ("iso-8859-1", b"\x96", False),  # a control character, and a dash where it was written
        ("iso-8859-1", b"\xa4", True),
        ("iso-8859-15", b"\x80", False),
        ("utf-8", b"\xe4", False),
        ("cp850", b"\x81", True),
        ("mac-roman", b"\x8d", True),
    ],
)
def test_a_byte_without_a_meaning_is_a_reject(tmp_path: Path, named: str, letter: bytes, is_read: bool) -> None:
    loader = Loader(tmp_path, [places(Dialect(encoding=named))])
    loader.deliver("a.csv", b"id;comment;unit\nk1;;a\nk2;;" + letter + b"\nk3;;b\n")
    loader.load()
    assert counts(loader)[1:] == ((3, 3, 0) if is_read else (3, 2, 1))
    assert "\ufffd" not in str(loader.rows("unit"))


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_that_is_cut_or_has_half_a_letter_loses_only_that_record(loader: Loader, order: str) -> None:
    text = "\ufeff" + HEADER + rows("Hämeenlinna", "\ud83d", "😀")
    loader.deliver("a.csv", text.encode(order, "surrogatepass") + "k9;;Oulu".encode(order) + b"\n")
    loader.load()
    assert counts(loader) == (order, 4, 2, 2)
    assert [word for (word,) in loader.rows("unit")] == ["Hämeenlinna", "😀"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_read_when_the_contract_names_it(tmp_path: Path, order: str) -> None:
    content = (HEADER + rows(*WORDS)).encode(order)
    loader = Loader(tmp_path, [places()])
    loader.deliver("a.csv", content)
    loader.load()
    ((refused, records),) = loader.ledger("refused, records")
    assert (f"encoding: {order}" in refused, records) == (True, 0)
    loader = Loader(tmp_path, [places(Dialect(encoding=order))])
    loader.load()
    assert [word for (word,) in loader.rows("unit")] == WORDS


def test_a_mark_goes_before_the_contract_and_that_is_told(tmp_path: Path) -> None:
    loader = Loader(tmp_path, [places(Dialect(encoding="cp850"))])
    loader.deliver("a.csv", ("\ufeff" + HEADER + rows(*WORDS)).encode())
    loader.load()
    assert [word for (word,) in loader.rows("unit")] == WORDS
    assert warnings(loader) == ["read as utf-8, as its byte order mark says, though the contract says cp850"]


# --- What may be another encoding is a warning, with the words


DOUBTS = {
    "ISO-8859-15 or Windows-1252: Š": ("Šemik;Oulu".encode("iso-8859-15"), ["'Šemik' (or '¦emik'?)", "windows-1252"]),
    "ISO-8859-15 or Windows-1252: ½": ("½;Oulu".encode("cp1252"), ["'œ' (or '½'?)", "windows-1252"]),
    "ISO-8859-15 or Windows-1252: ´": ("D´Arc;Oulu".encode("cp1252"), ["'DŽArc' (or 'D´Arc'?)"]),
    "ISO-8859-15 or Windows-1252: €": ("€;Oulu".encode("iso-8859-15"), ["'€' (or '¤'?)"]),
    "CP850": ("pöytä;hää".encode("cp850"), ["cp850", "'pöytä' (or 'p”yt„'?)"]),
    "CP850, capitals alone": ("HÄMEENLINNA;PÄIVÄKESKUS;SÄHKÖ".encode("cp850"), ["cp850", "'HÄMEENLINNA'"]),
    "Mac Roman": ("pöytä;kyllä".encode("mac-roman"), ["mac-roman", "'pöytä' (or 'pšytŠ'?)"]),
    "a few words of CP850 in Windows-1252": (
        "pää;kylä;mäki;sää".encode("cp1252") + b";" + "kylä".encode("cp850"),
        ["windows-1252", "look like cp850", "'kyl„' (or 'kylä'?)"],
    ),
    "letters that no word has": (b"\xc3;Oulu", ["'Ã'"]),
    "UTF-8 that was taken for Windows-1252 before": (
        "HÃ¤meenlinna;YksikkÃ¶".encode(),
        ["'HÃ¤meenlinna' (or 'Hämeenlinna'?)"],
    ),
    "the same, in Windows-1252": ("HÃ¤meenlinna;sää;mäki".encode("cp1252"), []),
    "letters that were lost before": ("H\ufffdmeenlinna;Yksikkö".encode(), ["U+FFFD", "'H\ufffdmeenlinna'"]),
    "CP850 that was taken for Windows-1252 before": ("H„meenlinna;Yksikkö".encode(), ["'H„meenlinna'"]),
    "Mac Roman that was taken for Windows-1252 before": ("kyllŠ;Yksikkö".encode(), ["'kyllŠ'"]),
    "Windows-1252 that was taken for ISO-8859-1 before": (
        "a\x96b;Yksikkö".encode(),
        ["control characters", r"'a\x96b'"],
    ),
}


@pytest.mark.parametrize(("words", "message"), DOUBTS.values(), ids=DOUBTS.keys())
def test_what_is_in_doubt_is_told_with_its_words(loader: Loader, words: bytes, message: list[str]) -> None:
    lines = [b"k%d;;%s\n" % (number, word) for number, word in enumerate(words.split(b";"))]
    loader.deliver("a.csv", b"id;comment;unit\n" + b"".join(lines))
    report = loader.load()
    assert counts(loader)[1] == len(lines)
    said = "\n".join(warnings(loader))
    for part in message:
        assert part in said, said
    assert all(f"places/a.csv: {warning}." in report.warnings for warning in warnings(loader))
    assert said or loader.rejects()  # never in silence


@pytest.mark.parametrize(
    ("named", "codec", "other"),
    [
        ("cp850", "cp1252", "windows-1252"),
        ("windows-1252", "cp850", "cp850"),
        ("iso-8859-1", "mac-roman", "mac-roman"),
        ("mac-roman", "latin-1", "windows-1252"),
        ("windows-1252", "utf-8", "utf-8"),
        ("cp850", "utf-8", "utf-8"),
    ],
)
def test_a_contract_that_names_another_encoding_is_told(tmp_path: Path, named: str, codec: str, other: str) -> None:
    loader = Loader(tmp_path, [places(Dialect(encoding=named))])
    loader.deliver("a.csv", b"id;comment;unit\n" + rows("Hämeenlinna", "pöytä", "kyllä").encode(codec))
    loader.load()
    (said,) = warnings(loader)
    assert other in said.lower()
    assert "(or 'Hämeenlinna'?)" in said


def test_of_free_text_no_more_than_a_letter_and_its_neighbours_is_told(loader: Loader) -> None:
    for number, codec in enumerate(("cp850", "mac-roman", "iso-8859-15", "utf-8")):
        secret = "Šmäkisäälinnanen" if codec == "iso-8859-15" else "Mäkisäälinnanen"
        text = "id;comment;unit;laatija\nk1;MINE;Oulu;MINE\n".replace("MINE", secret)
        content = text.encode(codec) if codec != "utf-8" else text.encode().decode("cp1252").encode()
        loader.deliver(f"{number}.csv", content)
    report = loader.load()
    said = "\n".join([*warnings(loader), *report.warnings])
    assert len(warnings(loader)) == 4
    assert "'Mäk'" in said
    assert "linna" not in said
    assert "kis" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["ok", "Windows™", "3×2", "Božo", "Dušan", "”sana”", "don’t", "Øresund", "São", "naïve", "1–2", "…", "50 ‰"],
        ["ääkköset", "Šakki", "Ålesund", "élan", "õhtu", "München"],
    ],
)
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_what_is_written_as_it_should_be_is_in_no_doubt(loader: Loader, words: list[str], codec: str) -> None:
    loader.deliver("a.csv", (HEADER + rows(*words, "–")).encode(codec))
    loader.load()
    assert warnings(loader) == []
    assert [word for (word,) in loader.rows("unit")] == [*words, "–"]
