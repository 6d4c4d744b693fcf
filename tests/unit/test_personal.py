"""Personal data in deliveries is masked, rejected or refused, counted, and never kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpi import database
from kpi.ingest import loader, masking
from kpi.ingest.contract import Feed, is_feed, read_feed
from kpi.ingest.raw_files import scan
from kpi.project.project import load_project

ROOT = Path(__file__).parents[2]
CHECKS = "0123456789ABCDEFHJKLMNPRSTUVWXY"


def code(day: int, month: int, year: int, sign: str, number: int) -> str:
    digits = f"{day:02}{month:02}{year:02}"
    return f"{digits}{sign}{number:03}{CHECKS[int(f'{digits}{number:03}') % 31]}"


def masked(text: str) -> str:
    with duckdb.connect() as con:
        return str(con.execute(f"select {masking.masked('t')} from (select ?::varchar as t)", [text]).fetchall()[0][0])


@pytest.mark.parametrize("sign", "+-YXWVUABCDEF")
def test_every_century_sign(sign: str) -> None:
    one = code(1, 1, 90, sign, 900)
    assert masked(f"Tunnus {one}, kiitos") == "Tunnus [henkilötunnus poistettu], kiitos"
    assert masking.has_identity_code(f"a;{one};b".encode())


@pytest.mark.parametrize(
    "text",
    [
        "Odotin 45 minuuttia, 5.3.2025 klo 14.07",
        "131052-308S",  # the wrong check character
        "321052-308T",  # no such day
        "viite 9131052-308T1",  # inside a longer word
        "2025-03-05",
        "soitin 3 kertaa, numero 12345",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert masked(text) == text
    assert not masking.has_identity_code(text.encode())


@pytest.mark.parametrize("number", ["040 123 4567", "0401234567", "+358 40 1234567", "05-1234567", "00358401234567"])
def test_telephone_numbers(number: str) -> None:
    assert masked(f"Soita {number}!") == "Soita [puhelinnumero poistettu]!"


def test_several_hits_in_one_text() -> None:
    message = masked(f"{code(2, 3, 44, '-', 901)} ja {code(2, 3, 44, 'A', 902)}: a.b@example.com, 040 1234567")
    assert message == (
        "[henkilötunnus poistettu] ja [henkilötunnus poistettu]: [sähköposti poistettu], [puhelinnumero poistettu]"
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 28), st.integers(1, 12), st.integers(0, 99), st.sampled_from("+-YXWVUABCDEF"), st.integers(2, 999)
)
def test_any_right_code_is_found_and_any_other_check_character_is_not(
    day: int, month: int, year: int, sign: str, number: int
) -> None:
    right = code(day, month, year, sign, number)
    wrong = right[:10] + CHECKS[(CHECKS.index(right[10]) + 1) % 31]
    assert masking.has_identity_code(right.encode())
    assert not masking.has_identity_code(wrong.encode())
    assert masked(f"x {right} {wrong}").startswith("x [henkilötunnus poistettu] ")


@pytest.fixture(scope="module")
def feeds() -> dict[str, Feed]:
    return {source.name: read_feed(source) for source in load_project(ROOT).sources if is_feed(source)}


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with database.building(tmp_path / "kpi.duckdb", tmp_path) as connection:
        yield connection


def deliver(raw: Path, feed: str, *lines: str) -> None:
    (raw / feed).mkdir(parents=True)
    (raw / feed / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_comment_is_masked_and_counted_and_so_is_the_line_of_a_reject(
    feeds: dict[str, Feed], con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    one = code(1, 1, 90, "Y", 900)
    header = "response_id,survey,channel,responded_at,score,comment"
    rows = (f"a,health,sms,2025-01-01 10:00,9,olen {one}", "b,health,sms,2025-01-01 10:00,9,hyvä")
    deliver(tmp_path / "raw", "nps_responses", header, *rows, f"c,health,sms,2025-01-01 10:00,11,olen {one}")
    report = loader.load(con, [feeds["nps_responses"]], tmp_path / "raw", scan(tmp_path / "raw"), date(2026, 1, 1))
    assert con.execute("select comment from raw.nps_responses order by response_id").fetchall() == [
        ("olen [henkilötunnus poistettu]",),
        ("hyvä",),
    ]
    assert con.execute("select rows_loaded, rows_masked from raw.deliveries").fetchall() == [(2, 1)]
    assert con.execute("select line_text from raw.rejects").fetchall() == [
        ("c,health,sms,2025-01-01 10:00,11,olen [henkilötunnus poistettu]",)
    ]
    assert not any(one in warning for warning in report.warnings)


def test_a_patient_key_that_is_an_identity_code_refuses_the_file(
    feeds: dict[str, Feed], con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    one = code(1, 1, 90, "-", 900)
    header = "census_date,patient_key,specialty,need_confirmed_on"
    rows = ("2025-12-31,p1,surgery,2025-11-01", f"2025-12-31,{one},surgery,2025-11-01")
    deliver(tmp_path / "raw", "care_queue", header, *rows)
    loader.load(con, [feeds["care_queue"]], tmp_path / "raw", scan(tmp_path / "raw"), date(2026, 1, 1))
    assert con.execute("select records, rows_loaded, rows_rejected, refused from raw.deliveries").fetchall() == [
        (2, 0, 2, "patient_key looks like a personal identity code, which must not be delivered")
    ]
    assert one not in str(con.execute("select * from raw.rejects").fetchall())
