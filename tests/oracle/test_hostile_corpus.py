"""Hostile deliveries, one by one: what each of these files becomes is known, and nothing of it is lost or changed.

A case is a file and how many of its records are loaded and rejected; None means that the whole file is refused.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
from pathlib import Path

import pytest

from kpi.ingest import csv_reader
from kpi.ingest.raw_files import scan
from loading import Loader, compare_with_oracle, contracts

HEADER = "response_id,survey,channel,responded_at,score,comment\n"
Counts = tuple[int, int] | None
Case = tuple[str, str | bytes, Counts]


def row(number: int | str = 1, score: str = "9", comment: str = "", at: str = "2025-03-05 14:07:00") -> str:
    return f"k{number},health,sms,{at},{score},{comment}\n"


def encoded(codec: str, mark: bytes = b"") -> bytes:
    text = HEADER + row(comment="hyvä ä ö Å" + (" €" if codec != "cp850" else ""))
    return mark + text.encode(codec)


GOOD = HEADER + row()
HALF_A_PAIR = GOOD + row(2, comment="\ud83d")
UTF8_IN_1252 = (HEADER + row(1, comment="ä") + row(2, comment="ö")).encode("cp1252") + row(3, comment="ä").encode()
TWO_MEMBERS = b"".join(gzip.compress(text.encode(), mtime=0) for text in (HEADER + row(1), row(2)))
BACKWARDS = "comment,score,responded_at,channel,survey,response_id\n,9,2025-03-05 14:07,sms,health,k1\n"
QUOTED = '"' + GOOD.strip().replace(",", '","').replace("\n", '"\n"') + '"\n'
MISSING = HEADER + "".join(row(n, comment=text) for n, text in enumerate(("", "-", "NULL", "null", "NA", "n/a", " ")))
CASES: tuple[Case, ...] = (
    # Encodings
    ("utf8", encoded("utf-8"), (1, 0)),
    ("utf8 with a mark", encoded("utf-8", b"\xef\xbb\xbf"), (1, 0)),
    ("windows-1252", encoded("cp1252"), (1, 0)),
    ("iso-8859-15", encoded("iso-8859-15"), (1, 0)),
    ("cp850", encoded("cp850"), (1, 0)),
    ("mac roman", encoded("mac-roman"), (1, 0)),
    ("utf16 le with a mark", encoded("utf-16-le", b"\xff\xfe"), (1, 0)),
    ("utf16 be with a mark", encoded("utf-16-be", b"\xfe\xff"), (1, 0)),
    ("utf16 le without a mark", encoded("utf-16-le"), None),
    ("utf16 be without a mark", encoded("utf-16-be"), None),
    ("utf16 with a byte too many", encoded("utf-16-le", b"\xff\xfe") + b"x", (1, 1)),
    ("utf16 with half a surrogate pair", b"\xff\xfe" + HALF_A_PAIR.encode("utf-16-le", "surrogatepass"), (1, 1)),
    ("utf8 and windows-1252", (HEADER + row(1, comment="ä")).encode() + row(2, comment="ä").encode("cp1252"), (1, 1)),
    ("utf8 in windows-1252", UTF8_IN_1252, (2, 1)),
    ("half a letter of utf8 at the end", (HEADER + row(comment="ä")).encode()[:-2], (0, 1)),
    ("bytes without a meaning in windows-1252", GOOD.encode() + b"k2,health,sms,2025-03-05 14:07,9,\x81\n", (1, 1)),
    # Separators and layout
    ("semicolons", GOOD.replace(",", ";"), (1, 0)),
    ("tabs", GOOD.replace(",", "\t"), (1, 0)),
    ("pipes", GOOD.replace(",", "|"), None),
    ("header with commas, rows with semicolons", HEADER + row().replace(",", ";"), (0, 1)),
    ("a comma too many", HEADER + row(comment="a,b"), (0, 1)),
    ("a field too few", HEADER + "k1,health,sms,2025-03-05 14:07:00,9\n", (0, 1)),
    ("carriage returns", GOOD.replace("\n", "\r"), (1, 0)),
    ("line ends of three kinds", HEADER + row(1).replace("\n", "\r\n") + row(2).replace("\n", "\r") + row(3), (3, 0)),
    ("blank lines all over", "\n\n" + HEADER + "\n \n" + row(1) + "\n\n" + row(2) + "\n\n", (2, 0)),
    ("columns in another order", BACKWARDS, (1, 0)),
    ("columns nobody knows", GOOD.replace("comment\n", "comment,x,y\n").replace("9,\n", "9,,1,2\n"), (1, 0)),
    # Headers
    ("empty", b"", None),
    ("header only", HEADER, (0, 0)),
    ("header only, no line end", HEADER.strip(), (0, 0)),
    ("blank lines only", "\n\n \n", None),
    ("no header", row(1) + row(2), None),
    ("header twice", HEADER + HEADER + row(), (1, 1)),
    ("header again in the middle", HEADER + row(1) + HEADER + row(2), (2, 1)),
    ("a column twice", GOOD.replace("comment\n", "score\n"), None),
    ("a required column missing", "response_id,survey,channel,score\nk1,health,sms,9\n", None),
    ("a required column misspelt", GOOD.replace("responded_at", "respnded_at"), None),
    # Quotes
    ("an unterminated quote", HEADER + row(1) + row(2, comment='"never closed') + row(3), (3, 0)),
    ("an unterminated quote that runs over a column", HEADER + 'k1,health,"sms,2025-03-05 14:07:00,9,\n', (0, 1)),
    ("a separator between quotes", HEADER + row(comment='"a,b"'), (1, 0)),
    ("a line end between quotes", HEADER + row(1, comment='"a\nb"') + row(2), (2, 0)),
    ("quotes within quotes", HEADER + row(comment='"he said ""no"""'), (1, 0)),
    ("quotes within a cell", HEADER + row(comment='5" putki'), (1, 0)),
    ("text after a closing quote", HEADER + row(comment='"a"b'), (1, 0)),
    ("everything between quotes", QUOTED, (1, 0)),
    # Bytes that do not belong
    ("a nul byte in a text", HEADER + row(comment="a\0b"), (1, 0)),
    ("a nul byte in a number", HEADER + row(score="9\0"), (0, 1)),
    ("a form feed and an escape", HEADER + row(comment="a\f\x1b[31m"), (1, 0)),
    ("an end-of-file letter", GOOD + "\x1a", (1, 1)),
    ("zeros to the end, as after a crash", GOOD.encode() + b"\0" * 4096, (1, 1)),
    ("not a table at all", bytes(range(256)) * 8, None),
    ("a line of three megabytes", HEADER + row(1, comment="x" * 3_000_000) + row(2), (2, 0)),
    ("a line of three megabytes that is a reject", HEADER + row(1, score="x" * 3_000_000) + row(2), (1, 1)),
    # Compression
    ("gz", gzip.compress(GOOD.encode(), mtime=0), (1, 0)),
    ("gz in two members", TWO_MEMBERS, (2, 0)),
    ("gz cut short", gzip.compress(GOOD.encode() * 50, mtime=0)[:-20], None),
    ("gz that is none", GOOD, None),
    ("gz with rubbish after it", gzip.compress(GOOD.encode(), mtime=0) + b"rubbish", None),
    # Values that other readers take
    ("formulas", HEADER + row(1, comment="=cmd()") + row(2, comment="@SUM(1)") + row(3, comment="+1-1"), (3, 0)),
    ("sql", HEADER + row("'); drop table raw.calls; --", comment="'; delete from x"), (1, 0)),
    ("a number with a grouping underscore", HEADER + row(score="1_0"), (0, 1)),
    ("a hexadecimal number", HEADER + row(score="0x0A"), (0, 1)),
    ("no number", HEADER + row(1, score="NaN") + row(2, score="Infinity") + row(3, score="1e1"), (0, 3)),
    ("a number with a fraction", HEADER + row(1, score="9.5") + row(2, score='"9,5"'), (0, 2)),
    ("a number out of range", HEADER + row(1, score="-1") + row(2, score="11") + row(3, score="9" * 40), (0, 3)),
    ("digits of other scripts", HEADER + row(score="٩"), (0, 1)),
    ("years of two and five digits", HEADER + row(1, at="5.3.25 14:07") + row(2, at="20255-03-05 14:07"), (0, 2)),
    ("days that are not", HEADER + row(1, at="2025-02-29 10:00") + row(2, at="31.4.2025 10:00"), (0, 2)),
    ("hours that are not", HEADER + row(1, at="2025-03-05 24:00") + row(2, at="2025-03-05 14:60"), (0, 2)),
    ("month before day", HEADER + row(at="03/05/2025 14:07"), (0, 1)),
    ("a date far ahead", HEADER + row(at="2100-01-01 00:00"), (0, 1)),
    ("a date before all", HEADER + row(at="1899-12-31 00:00"), (0, 1)),
    ("a code nobody knows", HEADER + row().replace("sms", "fax"), (0, 1)),
    ("a key twice", HEADER + row(1) + row(1), (1, 1)),
    ("no key", HEADER + row().replace("k1", ""), (0, 1)),
    ("missing values in every way", MISSING, (7, 0)),
)  # fmt: skip
NAMES = (
    "it's.csv",
    'a "quoted" name.csv',
    "two\nlines.csv",
    "'); drop table raw.rejects; --.csv",
    "tähti ☆.csv",
    "100%_of*[a].csv",
    "$files.csv",
    "-rf.csv",
)


@pytest.fixture
def answers(tmp_path: Path) -> Loader:
    return Loader(tmp_path / "raw", [contracts()["nps_responses"]])


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) + len(NAMES) >= 60
    assert len({case[0] for case in CASES}) == len(CASES)


@pytest.mark.parametrize(("name", "content", "counts"), CASES, ids=[case[0] for case in CASES])
def test_what_becomes_of_a_file(answers: Loader, name: str, content: str | bytes, counts: Counts) -> None:
    answers.deliver("a.csv.gz" if name.startswith("gz") else "a.csv", content)
    answers.load()
    ((refused, records, loaded, rejected),) = answers.ledger("refused is not null, records, rows_loaded, rows_rejected")
    assert (None if refused else (loaded, rejected)) == counts
    assert loaded + rejected == records
    compare_with_oracle(answers)


def test_a_text_is_never_changed_by_its_encoding(answers: Loader) -> None:
    for codec, mark in (("utf-8", b""), ("utf-8", b"\xef\xbb\xbf")):
        answers.deliver("a.csv", encoded(codec, mark))
        answers.load()
        assert answers.rows("comment") == [("hyvä ä ö Å €",)]
    answers.deliver("a.csv", encoded("cp1252"))
    answers.load()
    assert answers.rows("comment") == [("hyvä ä ö Å €",)]


def test_names_of_files_are_only_names(answers: Loader) -> None:
    for number, name in enumerate(NAMES):
        answers.deliver(name, HEADER + row(number))
    answers.load()
    assert {file for file, *_ in answers.ledger("file")} == set(NAMES)
    assert len(answers.rows()) == len(NAMES)
    answers.remove(NAMES[3])
    answers.load()
    assert len(answers.rows()) == len(NAMES) - 1


def test_what_is_no_file_of_its_own_is_passed_over_and_told(answers: Loader, tmp_path: Path) -> None:
    answers.deliver("good.csv", GOOD)
    folder = answers.raw / "nps_responses"
    (tmp_path / "outside.csv").write_text(HEADER + row(2))
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    (folder / "dangling.csv").symlink_to(tmp_path / "nowhere.csv")
    (folder / "inside.csv").symlink_to(folder / "good.csv")
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    os.symlink("/dev/zero", folder / "zero.csv")
    found = scan(answers.raw)
    passed_over = {"link.csv", "dangling.csv", "folder.csv", "pipe.csv", "zero.csv"}
    assert set(found.ignored) == {f"nps_responses/{name}" for name in passed_over}
    report = answers.load()
    assert [file for (file,) in answers.ledger("file")] == ["good.csv", "inside.csv"]
    for name in passed_over:
        assert any(name in warning for warning in report.warnings)


def test_a_feed_folder_that_leads_elsewhere_is_passed_over(answers: Loader, tmp_path: Path) -> None:
    answers.raw.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.csv").write_text(GOOD)
    (answers.raw / "nps_responses").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert scan(answers.raw).files == ()
    assert scan(answers.raw).ignored == ("nps_responses",)


def test_a_gz_bomb_is_refused_before_it_is_unpacked(answers: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "LARGEST_FILE", 1 << 20)
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb") as stream:
        for _ in range(64):
            stream.write(b"\n" * (1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.deliver("bomb.csv.gz", bomb.getvalue())
    answers.load()
    assert answers.ledger("refused is not null, rows_loaded") == [(True, 0)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_three_hundred_thousand_rejects_keep_every_reason_and_little_memory(answers: Loader) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.deliver("a.csv", HEADER + "".join(f"k{n},health,fax,2025-03-05 14:07,{n},\n" for n in range(300_000)))
    answers.load()
    assert answers.ledger("records, rows_loaded, rows_rejected") == [(300_000, 0, 300_000)]
    reasons = "select count(*), sum(len(reasons)) from raw.rejects"
    # The first eleven have a score that can be.
    assert answers.con.execute(reasons).fetchall() == [(300_000, 600_000 - 11)]
    assert "a.csv" in answers.refused()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # kB
