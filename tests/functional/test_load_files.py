"""What is said of whole files: too many rejects, dates in the future, odd names, odd content, changes meanwhile."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from kpi.errors import BuildError, ContractError
from kpi.files import read_regular
from kpi.ingest import raw_table
from kpi.ingest.contract import read_feed
from kpi.ingest.raw_files import RawFile, RawFolder, scan
from kpi.project.project import load_project
from loading import Loader, compare_with_oracle, contracts
from sampled import sampled
from small_project import write

CALLS = "call_id,service_line,arrived_at,answered_at,ended_at\n"
NPS = "response_id,survey,channel,responded_at,score,comment\n"


def call(number: int | str, day: int = 5) -> str:
    return f"c{number},oral_health,2025-03-{day:02} 14:00:00,2025-03-{day:02} 14:02:00,2025-03-{day:02} 14:05:00\n"


@pytest.fixture
def calls(tmp_path: Path) -> Loader:
    return Loader(tmp_path, [contracts()["calls"]])


# --- What is said of files


def test_too_many_rejects_fail_with_the_ten_commonest_reasons(calls: Loader) -> None:
    bad = "".join(f"c{n},oral_health,x,,\n" for n in range(10))
    calls.deliver("good.csv", CALLS + "".join(map(call, range(100, 110))) + bad)
    calls.load()
    assert calls.refused() == ""  # ten are always allowed
    assert "good.csv: 10 of 20 records rejected; allowed are 4." in calls.refused(0.2)
    calls.deliver("bad.csv", CALLS + "".join(map(call, range(5000, 6000))) + bad + ",dentist,5.3.25,,2025-03-05\n")
    calls.load()
    assert calls.refused().splitlines() == [
        "Deliveries worse than their contract allows:",
        "  calls/bad.csv: 11 of 1011 records rejected; allowed are 10.",
        "            10 x arrived_at: not a date and time",
        "             1 x arrived_at: not a date and time: the year has two digits",
        "             1 x call_id: missing",
        "             1 x ended_at: not a date and time: the time of day is missing",
        "             1 x service_line: not one of its codes",
        "The rejected rows are in raw.rejects of the failed build. Mend the files, or let them through once with"
        " --max-reject-share; refused files only with a share of 1.",
    ]
    assert calls.refused(0.5) == ""


def test_no_more_than_ten_reasons_are_told(tmp_path: Path) -> None:
    rows = "".join(f"{n},,,,,\n" for n in range(20)) + ",x,y,z,99,\n,x,y,z,-1,\n,x,y,z,1.5,\n"
    nps = Loader(tmp_path, [contracts()["nps_responses"]])
    nps.deliver("a.csv", NPS + rows)
    nps.load()
    message = nps.refused().splitlines()[2:-1]
    assert len(message) == 10
    assert message[:4] == [
        f"            20 x {name}: missing" for name in ("channel", "responded_at", "score", "survey")
    ]


def test_a_refused_file_is_a_share_of_one_however_small(calls: Loader) -> None:
    calls.deliver("a.csv", "nothing\nof use\n")
    calls.deliver("b.csv.gz", b"no gz")
    calls.load()
    for share in (None, 0.99):
        said = calls.refused(share)
        assert "calls/a.csv: refused with its 1 record: required columns are missing" in said
        assert "calls/b.csv.gz: refused with its 0 records: the gz file cannot be read" in said
    assert calls.refused(1.0) == ""


def test_the_threshold_is_that_of_the_contract(tmp_path: Path) -> None:
    feed = replace(contracts()["calls"], reject_share=0.5, reject_rows=0)
    calls = Loader(tmp_path, [feed])
    calls.deliver("a.csv", CALLS + call(1) + "x\n")
    calls.deliver("b.csv", CALLS + call(2) + "x\ny\n")
    calls.load()
    assert "a.csv" not in calls.refused()
    assert "b.csv: 2 of 3 records rejected; allowed are 1." in calls.refused()


def test_rows_dated_after_the_day_of_the_refresh_load_and_are_told(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1, day=5) + call(2, day=6) + call(3, day=7))
    assert calls.load(date(2025, 3, 5)).warnings == ("calls/a.csv: 2 rows dated after the day of the refresh.",)
    assert len(calls.rows()) == 3
    # The day moves on and the file stays.
    assert calls.load(date(2025, 3, 6)).warnings == ("calls/a.csv: 1 row dated after the day of the refresh.",)
    assert calls.load(date(2025, 3, 7)).warnings == ()
    assert calls.load(date(2025, 3, 4)).warnings == ("calls/a.csv: 3 rows dated after the day of the refresh.",)


def test_what_is_not_read_is_told(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1))
    for name in ("readme.txt", "B.CSVX", ".hidden.csv", ".DS_Store"):
        calls.deliver(name, CALLS + call(2))
    calls.deliver("x.csv", "1\n", feed="calls/older")
    calls.deliver("x.csv", "1\n", feed="callz")
    (calls.raw / "notes.txt").write_text("nothing to say of this")
    assert calls.load().warnings == (
        "callz/: no feed has this name, its files are not read. Did you mean 'calls'?",
        *(
            f"calls/{name}: hidden, or not a .csv or .csv.gz file; not read."
            for name in (".hidden.csv", "B.CSVX", "older", "readme.txt")
        ),
    )
    assert len(calls.rows()) == 1


def test_a_file_delivered_again_with_much_less_in_it_is_told(calls: Loader) -> None:
    """An export that failed takes the place of a good one: its rows go, and nothing else would say so."""
    for count, told in (
        (10, []),
        (9, []),
        (4, ["holds 4 records; it held 9 before, which are gone."]),
        (4, []),
        (0, ["holds no records.", "holds 0 records; it held 4 before, which are gone."]),
    ):
        calls.deliver("a.csv", CALLS + "".join(map(call, range(count))))
        assert [one.partition(": ")[2] for one in calls.load().warnings if ": holds " in one] == told


def test_keys_that_lost_the_zeros_at_their_front_are_told(calls: Loader) -> None:
    """A correction that went through a spreadsheet replaces nothing then, and its rows count beside the first ones."""
    calls.deliver("a.csv", CALLS + "".join(call(key).replace("c", "", 1) for key in ("00123", "0045", "777", "0")))
    calls.deliver("b.csv", CALLS + "".join(call(key).replace("c", "", 1) for key in ("778", "0")) + call("0123"))
    assert [one for one in calls.load().warnings if "zeros" in one] == []
    calls.deliver("c.csv", CALLS + "".join(call(key).replace("c", "", 1) for key in ("123", "45", "777", "46")))
    message = "calls/c.csv: 2 rows with a call_id that stands in calls/a.csv with zeros at the front"
    assert [one.partition(": did")[0] for one in calls.load().warnings if "zeros" in one] == [message]
    calls.remove("a.csv")
    assert [one for one in calls.load().warnings if "zeros" in one] == []


# --- Odd files


NAMES = (
    "a'b.csv",
    'a"b.csv',
    "a*[b]?.csv",
    "a;b,c.csv",
    "a\nb.csv",
    "a\\b.csv",
    "{1}.csv",
    "%s $1 {{ x }}.csv",
    "--.csv",
)


def test_any_name_of_a_file(calls: Loader) -> None:
    for number, name in enumerate(NAMES):
        calls.deliver(name, CALLS + call(number) + "bad\n")
    calls.load()
    assert {row[0] for row in calls.rows("_file")} == {row[0] for row in calls.rejects()} == set(NAMES)
    compare_with_oracle(calls)


ODD = {
    "a trailing separator": call(1).replace("\n", ",\n"),
    "one field too few and one too many": call(1).replace("c1,", "c1") + call(2).replace("c2", "c2,"),
    "too many fields": "c1" + "," * 5000 + "\n" + call(2),
    "a lone CR": call(1) + call(2).replace("\n", "\r") + call(3),
    "a CR in a cell": 'c1,oral_health,2025-03-05 14:00,,"\r"\n' + call(2),
    "blank lines": call(1) + "\n\r\n  \n\t\n" + call(2) + "\n\n",
    "a NUL": "c\x001,oral_health,2025-03-05 14:00,,\n" + call(2).replace("2025", "20\x0025"),
    "a line of 3 MB": "c1,oral_health,2025-03-05 14:00,,"
    + "x" * 3_000_000
    + '\n"'
    + "y\n" * 1_500_000
    + '",,,,\n'
    + call(3),
    "a quote never closed": call(1) + '"c2,oral_health,2025-03-05 14:00,,\n' + call(3),
    "quotes in the middle": 'c"1",oral_health,2025-03-05 14:00,,\n"c"2,oral_health,2025-03-05 14:00,,\n',
    "a key in quotes and not": call(1) + '" c1 ",oral_health,2025-03-05 14:00,,\n',
    "no line end": call(1) + call(2).rstrip(),
    "a comment": "#" + call(1) + "\\N,oral_health,2025-03-05 14:00,,\n",
    "nothing after the header": "",
}


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_odd_files(calls: Loader, body: str, careful: bool) -> None:
    calls.deliver("lf.csv", CALLS + body)
    # A long line is as long with any separator, and the oracle reads it letter by letter.
    if sampled(len(body) < 1_000_000, True):
        calls.deliver("crlf.csv", (CALLS + body).replace("\n", "\r\n"))
        calls.deliver("semicolon.csv", (CALLS + body).replace(",", ";"))
        calls.deliver("tab.csv", (CALLS + body).replace(",", "\t"))
    calls.load(careful=careful)
    compare_with_oracle(calls)


def test_a_bad_separator_or_header_in_many_files_at_once(calls: Loader) -> None:
    """Files of one form are loaded together, others apart; each keeps its own records and rejects."""
    for number in range(12):
        text = (CALLS + call(number) + "bad\n" + call(number + 50) + call(number)).replace(",", ",;\t"[number % 3])
        calls.deliver(f"{number:02}.csv", ("\n" * (number % 4) + text).encode(("utf-8", "utf-8-sig")[number % 2]))
    calls.load()
    compare_with_oracle(calls)
    assert calls.ledger("distinct records, rows_loaded, rows_rejected") == [(4, 2, 2)]


def test_a_file_that_changes_while_it_is_loaded(calls: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.deliver("a.csv", CALLS + call(1) + call(1))
    read, turn = read_regular, itertools.count()

    def read_bytes(path: Path) -> bytes:
        if path.name == "a.csv" and next(turn) == 1:  # the second look, for the text of the repeated record
            path.write_text(CALLS + call(2))
        return read(path)

    monkeypatch.setattr(raw_table, "read_regular", read_bytes)
    monkeypatch.setattr(raw_table, "HELD", 0)  # else it is in memory still
    with pytest.raises(BuildError, match=r"a\.csv changed while it was loaded"):
        calls.load()


def test_a_file_that_goes_before_it_is_loaded(calls: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.deliver("a.csv", CALLS + call(1))
    seen = scan(calls.raw)
    calls.remove("a.csv")
    monkeypatch.setattr("loading.scan", lambda raw: seen)
    with pytest.raises(BuildError, match=r"a\.csv cannot be read: No such file"):
        calls.load()
    os.mkfifo(calls.raw / "calls/a.csv")  # nobody writes to it: whoever read it would wait for ever
    with pytest.raises(BuildError, match=r"a\.csv cannot be read: not a file"):
        calls.load()


def test_a_scan_tells_content_and_size(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls/a.csv").write_bytes(b"abc")
    (tmp_path / "calls/b.csv.gz").write_bytes(b"abc")
    (tmp_path / "stray.csv").write_bytes(b"abc")
    found = scan(tmp_path)
    assert [(file.path, file.size) for file in found.files] == [("calls/a.csv", 3), ("calls/b.csv.gz", 3)]
    assert found.files[0].content_hash == found.files[1].content_hash
    renamed = RawFolder((replace(found.files[0], name="c.csv"), found.files[1]), ())
    # What is passed over is one thing more that a run tells of.
    same = replace(found, ignored=())
    assert len({one.digest() for one in (found, same, renamed)}) == 3
    assert same.digest() == RawFolder(found.files, ()).digest()
    assert scan(tmp_path / "none") == RawFolder((), ())
    assert isinstance(found.files[0], RawFile)


# --- What looks like a record, in feeds whose keys are texts


PLACES = """\
sources:
  - name: raw
    tables:
      - name: places
        config: {meta: {feed: {key: [place]}}}
        columns:
          - {name: place, data_type: varchar, config: {meta: {required: true, aliases: [Kunta]}}}
          - {name: contacts, data_type: varchar, config: {meta: {aliases: [Yhteydenotot]}}}
"""


def test_neither_a_header_again_nor_a_line_of_totals_is_a_record(tmp_path: Path) -> None:
    """Two files joined to one, whatever names the second has; and what a report writes below its rows."""
    write(tmp_path / "project", {"models/staging/places.yml": PLACES})
    loader = Loader(tmp_path / "raw", [read_feed(one) for one in load_project(tmp_path / "project").sources][1:])
    again = ("place;contacts", "Kunta;Yhteydenotot", "place;Yhteydenotot", '"place";"contacts"')
    for number, line in enumerate((*again, "YHTEENSÄ;12", "Total;")):
        loader.deliver(f"{number}.csv", f"place;contacts\nKotka {number};7\n{line}\nKouvola {number};5\n")
    loader.load()
    assert loader.ledger("records, rows_loaded, rows_rejected") == [(3, 2, 1)] * 6
    assert [reasons for *_, reasons in loader.rejects()] == [["it is the header line again"]] * 4 + [
        ["place: it looks like a line of totals"]
    ] * 2


def test_words_of_totals_say_nothing_of_a_key_that_is_no_text(tmp_path: Path) -> None:
    contract = PLACES.replace("key: [place]", "key: [place, contacts], total_words: [Kaikki]")
    write(tmp_path, {"models/staging/places.yml": contract.replace("{aliases: [Y", "{required: true, aliases: [Y")})
    with pytest.raises(ContractError, match="'total_words' says nothing where the key is not one text"):
        [read_feed(one) for one in load_project(tmp_path).sources]


def test_a_file_in_which_columns_change_places_is_refused(calls: Loader) -> None:
    """Two files joined to one, each with its own order: what follows would load as the time of something else."""
    other = "call_id,service_line,arrived_at,ended_at,answered_at\n"
    times = ("2025-03-05 14:00", "2025-03-05 14:05", "2025-03-05 14:02")
    calls.deliver("good.csv", CALLS + call(1) + CALLS + call(2))
    calls.deliver("swapped.csv", CALLS + call(3) + "\n" + other + f"c4,oral_health,{','.join(times)}\n" + call(5))
    calls.deliver("tabs.csv", (CALLS + call(6) + other + call(6)).replace(",", "\t"))
    calls.deliver(
        "illegible.csv", (CALLS + call(7)).encode() + other.encode() + b"c\xff,x,,,\n" + "c\u00e4,x,,,\n".encode()
    )
    calls.load()
    again = "is the header line again, with its columns in another order"
    assert calls.ledger("file, refused, records, rows_loaded, rows_rejected") == [
        ("good.csv", None, 3, 2, 1),
        ("illegible.csv", f"record 2 {again}", 4, 0, 4),
        ("swapped.csv", f"record 2 {again}", 4, 0, 4),
        ("tabs.csv", f"record 2 {again}", 3, 0, 3),
    ]
    assert f"calls/swapped.csv: refused with its 4 records: record 2 {again}" in calls.refused()
    assert len(calls.rejects()) == 12


@pytest.mark.parametrize(("words", "loaded"), [("[Kaikki, 'I alt']", "Yhteensä 5"), ("[]", "Yhteensä I ALT kaikki 5")])
def test_a_contract_names_the_words_of_a_line_of_totals(tmp_path: Path, words: str, loaded: str) -> None:
    contract = PLACES.replace("key: [place]", f"key: [place], total_words: {words}")
    write(tmp_path / "project", {"models/staging/places.yml": contract})
    loader = Loader(tmp_path / "raw", [read_feed(one) for one in load_project(tmp_path / "project").sources][1:])
    loader.deliver("a.csv", "place;contacts\nYhteensä;7\nI ALT;5\nkaikki;1\n5;1\n")
    loader.load()
    assert " ".join(place for (place,) in loader.rows("place")) == loaded


def test_a_record_whose_key_is_the_name_of_a_column_is_one(tmp_path: Path) -> None:
    write(tmp_path / "project", {"models/staging/places.yml": PLACES})
    loader = Loader(tmp_path / "raw", [read_feed(one) for one in load_project(tmp_path / "project").sources][1:])
    loader.deliver("a.csv", "place;contacts\nKotka;7\nKunta;5\n")
    loader.load()
    assert loader.ledger("records, rows_loaded, rows_rejected") == [(2, 2, 0)]


def test_a_header_again_has_no_reason_more_where_another_rejects_it(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1) + CALLS + call(2))
    calls.load()
    ((_, record, reasons),) = calls.rejects()
    assert (record, "it is the header line again" in reasons) == (2, False)


def test_a_delivery_beside_the_folders_of_feeds_is_missed(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1))
    for name in ("stray.csv", "calls_2025.CSV.GZ", "README.txt"):
        (calls.raw / name).write_text(CALLS + call(2))
    assert scan(calls.raw).ignored == ("calls_2025.CSV.GZ", "stray.csv")
    warned = [one for one in calls.load().warnings if "in no feed's folder; not read. Move it" in one]
    assert [one.partition(":")[0] for one in warned] == ["calls_2025.CSV.GZ", "stray.csv"]
