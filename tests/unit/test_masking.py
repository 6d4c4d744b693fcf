"""The mask against oracles: python-stdnum says what an identity code is, phonenumbers what a telephone number is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import duckdb
import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.fi import hetu

from kpi.ingest import masking

CHECKS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
CODE, PHONE, EMAIL = "[henkilötunnus poistettu]", "[puhelinnumero poistettu]", "[sähköposti poistettu]"
MARKS = re.compile("|".join(map(re.escape, (CODE, PHONE, EMAIL))))


@cache
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def masked(*texts: str) -> list[str]:
    """What becomes of texts, in SQL; and in Python, which must be the same."""
    sql = f"select {masking.masked('text')} from (select unnest(?::varchar[]) as text)"
    found = [row[0] for row in connection().execute(sql, [list(texts)]).fetchall()]
    assert found == [masking.hidden(text) for text in texts]
    return found


def code(number: str, sign: str, individual: str) -> str:
    return f"{number}{sign}{individual}{CHECKS[int(number + individual) % 31]}"


codes = st.builds(
    lambda day, month, year, sign, individual: code(f"{day:02}{month:02}{year:02}", sign, f"{individual:03}"),
    st.integers(1, 28),
    st.integers(1, 12),
    st.integers(0, 99),
    st.sampled_from("+-YXWVUABCDEF"),
    st.integers(2, 899),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codes)
def test_what_stdnum_calls_an_identity_code_is_masked_however_it_is_written(one: str) -> None:
    # stdnum knows each sign, but not yet that the new signs of the 1900s go with every year, as they do.
    assert hetu.is_valid(one) or one[6] in "YXWVUBCDEF+"
    sign, dashes = one[6], "-‐‑‒–—―−﹣－" if one[6] == "-" else one[6]
    ways = [f"{one[:6]}{dash}{one[7:]}" for dash in dashes] + [
        one.lower(),
        f"{one[:6]} {sign} {one[7:]}",
        f"{one[:6]}\u00a0{sign}\u202f{one[7:]}",
        f"{one[:6]}{sign}{one[7:10]} {one[10]}",
        f"{one[:2]} {one[2:4]} {one[4:]}",
        f"{one[:2]}.{one[2:4]}.{one[4:]}",
        f"{one[:3]}\u200b{one[3:8]}\u2060{one[8:]}",
        one.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}),
        "".join(chr(ord(letter) + 0xFEE0) for letter in one),
    ]
    assert masked(*ways) == [CODE] * len(ways)
    assert masked(*(f"hetu{way}ja" for way in ways)) == [f"hetu{CODE}ja"] * len(ways)
    assert masked(f"{one}{one}", f"({one}/{one})", f'"{one}";{one}') == [
        CODE * 2,
        f"({CODE}/{CODE})",
        f'"{CODE}";{CODE}',
    ]
    in_utf8 = [f"x;a{way};y".encode() for way in ways[: len(dashes)]]
    assert all(map(masking.has_identity_code, in_utf8 if sign == "-" else in_utf8[:1]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(codes, st.integers(1, 30))
def test_what_stdnum_calls_none_stays(one: str, step: int) -> None:
    wrong = one[:10] + CHECKS[(CHECKS.index(one[10]) + step) % 31]
    if wrong[0] != "0":  # else it looks like a telephone number
        assert not hetu.is_valid(wrong)
        assert masked(f"viite {wrong}!") == [f"viite {wrong}!"]
    assert not masking.has_identity_code(wrong.encode())


def test_a_hash_is_no_identity_code() -> None:
    """Patient keys are hashes most often: nine digits and two letters of one fit together once in 2 000 or so."""
    number = next(
        code("010203", "a", f"{n:03}").lower() for n in range(999) if code("010203", "a", f"{n:03}")[10] == "F"
    )
    assert masking.has_identity_code(f"k{number}".encode())
    assert not masking.has_identity_code(f"9f8e7d6c5b4a{number}0f1e2d3c4b5a".encode())
    uuid = f"00{code('010203', '-', '123')[:6]}-{code('010203', '-', '123')[7:11].lower()}-4a4a-8b8b-0123456789ab"
    assert not masking.has_identity_code(uuid.encode())


def finnish_numbers() -> Sequence[phonenumbers.PhoneNumber]:
    starts = ("40", "41", "44", "45", "46", "50", "457", "9", "5", "2", "13", "16", "19", "8", "3")
    made = (f"+358{start}{'2345678901'[:length]}" for start in starts for length in range(5, 9))
    parsed = (phonenumbers.parse(text) for text in made)
    return [number for number in parsed if phonenumbers.is_valid_number(number)]


@pytest.mark.parametrize(
    "form",
    [
        phonenumbers.PhoneNumberFormat.E164,
        phonenumbers.PhoneNumberFormat.INTERNATIONAL,
        phonenumbers.PhoneNumberFormat.NATIONAL,
        phonenumbers.PhoneNumberFormat.RFC3966,
    ],
)
def test_what_phonenumbers_calls_a_number_is_masked_however_it_is_written(form: int) -> None:
    numbers = finnish_numbers()
    assert len(numbers) > 40
    ways = []
    for number in numbers:
        text = phonenumbers.format_number(number, form)
        some = [text] + [text.replace(" ", other) for other in ("", "-", "\u00a0", "\u2009", "–", " - ")]
        ways += some + [way.replace("+358", "00358") for way in some] + [f"{text[:5]}\u200b{text[5:]}"]
    for found, way in zip(masked(*(f"Soita {way}, kiitos" for way in ways)), ways, strict=True):
        assert not re.search(r"\d{3}", MARKS.sub("", found)), (way, found)
        assert found.endswith(f"{PHONE}, kiitos")


def test_no_number_that_phonenumbers_finds_in_free_text_is_left() -> None:
    ways = (
        *("(05) 234 5678", "(040) 123 4567", "040/1234567", "040.123.4567", "+358 (0)40 123 4567", "358401234567"),
        *("09 1234 567", "050-555 55 55", "+358.40.123.4567", "+46 8 123 456 78", "0401234567 0501234567"),
        *("040 123\u202f4567", "０４０１２３４５６７", "(+358) 40 1234567"),
    )
    around = [(before, after) for before in ("puh", "puh. ", "(", "a2 ") for after in ("", "!", "klo 5")]
    texts = [f"{before}{way}{after}" for way in ways for before, after in around]
    for text, found in zip(texts, masked(*texts), strict=True):
        assert PHONE in found, text
        assert not list(phonenumbers.PhoneNumberMatcher(found, "FI", leniency=phonenumbers.Leniency.POSSIBLE)), found


@pytest.mark.parametrize(
    "address",
    [
        "matti.mäkinen@example.fi",
        "matti.mäkinen@mäkinen.fi",
        "matti.ma\u0308kinen@ma\u0308kinen.fi",
        "matti+kela@example.fi",
        "o'brien@example.co.uk",
        '"matti meikäläinen"@example.fi',
        "matti@xn--mkinen-bua.fi",
        "иван@пример.рф",
        "ab@ex_ample.fi",
        "matti@[192.0.2.1]",
        "matti@localhost",
        "matti @ example.fi",
        "matti (at) example.fi",
        "matti[at]example.fi",
        "matti＠example.fi",
        "mat\u200bti@example\u2060.fi",
        "@mäkinen.fi",
    ],
)
def test_an_address_is_masked_whole(address: str) -> None:
    ways = {address: EMAIL, f"Osoite: {address}, kiitos": f"Osoite: {EMAIL}, kiitos", f"<{address}>": f"<{EMAIL}>"}
    ways[f"a;{address};b"] = f"a;{EMAIL};b"
    assert masked(*ways) == list(ways.values())


@pytest.mark.parametrize(
    "text",
    [
        "Odotin 45 minuuttia, 5.3.2025 klo 14.07",
        "05.03.2025 07:08:09",
        "05/03/2025",
        "05-03-2025 - 07-03-2025",
        "2025-03-05 07:08:09.123456",
        "2025-03-05T07:08:09+02:00",
        "klo 08.00-16.00 ja 09.15–10.30",
        "ma-pe 8-16, la 9–15",
        "01.04.-05.04.2025",
        "131052-308S",
        "viite 9131052-308T1",
        "Y-tunnus 0123456-7",
        "viite 20250305 000123",
        "tilaus 2025-1234567",
        "00100 Helsinki, 90100 Oulu",
        "1 234 567,89 €",
        "3 kpl @ 5.50",
        "nähdään @kahvila",
        "112",
        "K-12345/2025",
        "6f9619ff-8b86-4011-b42d-00c04fc964ff",
        "",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert masked(text) == [text]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.text("0123456789-–+.@/() \u00a0\u200baATt,;'\"ä４", max_size=30), max_size=20))
def test_sql_and_python_hide_the_same_and_nothing_is_found_twice(texts: list[str]) -> None:
    once = masked(*texts)
    assert all(MARKS.search(found) for text, found in zip(texts, once, strict=True) if found != text)


def test_a_null_stays_null_and_conditions_are_never_null() -> None:
    asked = ", ".join(ask("t") for ask in (masking.masked, masking.is_found, masking.is_masked))
    assert connection().execute(f"select {asked} from (select null::varchar as t)").fetchall() == [(None, False, False)]
