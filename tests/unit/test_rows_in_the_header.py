"""Records that stand in the header line: of a file whose line ends are none, or behind a quote that the header opens.

They are counted nowhere, so the file is refused: as a file without records it would take the rows of its old form away.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loading import Loader, contracts

HEADER = "response_id,survey,channel,responded_at,score,comment\n"
LINE_ENDS = {
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "line tabulation": "\x0b",
    "form feed": "\x0c",
    "file separator": "\x1c",
    "group separator": "\x1d",
    "record separator": "\x1e",
    "null": "\0",
}


def row(number: int, comment: str = "") -> str:
    return f"k{number},health,sms,2025-03-05 14:07:00,9,{comment}\n"


@pytest.fixture
def answers(tmp_path: Path) -> Loader:
    return Loader(tmp_path, [contracts()["nps_responses"]])


def refused(answers: Loader, text: str | bytes) -> str:
    answers.deliver("a.csv", text)
    answers.load()
    ((reason, loaded),) = answers.ledger("refused, rows_loaded")
    assert loaded == 0
    assert answers.refused()  # it stops the build
    return str(reason)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize(("name", "sign"), LINE_ENDS.items(), ids=LINE_ENDS)
def test_a_sign_that_others_take_for_a_line_end_is_named(answers: Loader, name: str, sign: str, end: str) -> None:
    reason = refused(answers, (HEADER + row(1) + row(2)).replace("\n", sign) + end)
    assert f"U+{ord(sign):04X} ({name})" in reason
    assert "line ends are LF, CRLF or CR" in reason
    assert reason.isascii()
    assert "k1" not in reason
    # The header alone says as little of how many records there were.
    assert f"U+{ord(sign):04X}" in refused(answers, HEADER.strip() + sign)


@pytest.mark.parametrize("sign", [b"\x85", b" ", b"", b"|", b"\\n", "\u2424".encode()])
def test_a_file_of_one_line_is_known_by_the_dates_in_it(answers: Loader, sign: bytes) -> None:
    reason = refused(answers, (HEADER + row(1) + row(2)).encode().replace(b"\n", sign))
    assert "dates stand in its header line" in reason
    assert "2025" not in reason


SWALLOWED = {
    "all of them": HEADER.replace("comment", '"comment') + row(1, '""') + row(2, '"'),
    "the first": HEADER.replace("comment", '"comment') + row(1, '"') + row(2),
    "with a line end of another kind": HEADER.replace("comment\n", '"comment\r') + row(1, '"') + row(2),
    "behind a name nobody knows": HEADER.replace("\n", ',"more\n') + row(1, ',"') + row(2, ","),
}


@pytest.mark.parametrize("text", SWALLOWED.values(), ids=SWALLOWED)
def test_a_quote_that_the_header_opens_and_a_record_closes(answers: Loader, text: str) -> None:
    reason = refused(answers, text)
    assert "a quote in the header closes in a later line: there are records in it" in reason
    assert "k1" not in reason


GOOD = {
    "a header alone": HEADER,
    "a header alone with names nobody knows": HEADER.replace("\n", ",2025,03/2025,Aika (s),1,x y z\n"),
    "a name of two lines": HEADER.replace("\n", ',"aika,\nsekuntia"\n'),
    "a name of two lines and nothing more": '"huom\r\n2",' + HEADER,
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_header_without_records_in_it_is_one(answers: Loader, text: str) -> None:
    answers.deliver("a.csv", text)
    answers.load()
    assert answers.ledger("refused, records") == [(None, 0)]


def test_signs_and_dates_in_the_header_of_a_file_with_records_are_names_nobody_knows(answers: Loader) -> None:
    answers.deliver("a.csv", HEADER.replace("\n", ",huom\x0b2,2025-03-05\n") + row(1, ",x,y"))
    answers.load()
    assert answers.ledger("refused, rows_loaded") == [(None, 1)]
