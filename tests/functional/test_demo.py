"""The synthetic deliveries: the same bytes from the same seed, every form of file, labelled, never over anything.

The published figures at full volume are tested by running the pipeline; here the oracle computes those of the smaller
feeds, and the volumes behind the others are added up.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest

import oracle
import oracle_figures
from demo import calls as demo_calls
from demo import deliver as demo
from demo import nps as demo_nps
from demo import safety as demo_safety
from demo.deliver import DemoReport, write_demo
from demo.feeds import FEEDS as FEED_PIECES
from kpi import database
from kpi.errors import ConfigError
from kpi.ingest.contract import is_feed, read_feed
from kpi.project.project import load_project
from oracle_sheet import round_half_away

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("deliveries")]  # they are written once

PROJECT = Path(__file__).parents[2]
ROOT = Path(__file__).parents[2]
SCALE = 0.02
FEEDS = set(oracle.CONTRACTS)
LARGE = {"calls", "callbacks", "helpline_contacts", "nps_responses", "experience_answers", "rescue_missions"} | {
    "care_queue",
    "care_visits",
}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoReport]:
    raw = tmp_path_factory.mktemp("demo") / "warehouse" / "raw"
    return raw, write_demo(raw, seed=11, scale=SCALE)


def contents(raw: Path) -> dict[str, bytes]:
    return {str(path.relative_to(raw)): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}


def unpacked(raw: Path) -> dict[str, bytes]:
    return {
        name: gzip.decompress(data) if name.endswith(".gz") else data
        for name, data in contents(raw).items()
        if name != demo.LABEL_NAME
    }


def text(data: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252" if any(0x80 <= byte <= 0x9F for byte in data) else "iso-8859-15"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("no encoding fits")


def records(data: bytes) -> Iterator[list[str]]:
    whole = text(data)
    separator = max(",;\t", key=whole.split("\n", 1)[0].count)
    return (row for row in csv.reader(io.StringIO(whole, newline=""), delimiter=separator) if row)


def test_writes_the_feeds_and_a_label_and_nothing_else(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    assert {path.name for path in raw.iterdir()} == FEEDS | {"README.txt"}
    for feed in FEEDS:
        assert all(path.is_file() and path.name.endswith((".csv", ".csv.gz")) for path in (raw / feed).iterdir())
    label = (raw / "README.txt").read_text(encoding="utf-8")
    assert "eivät sisällä tietoja yhdestäkään oikeasta ihmisestä" in label
    assert "SYNTHETIC DATA" in label
    assert "no data of any real person" in label
    assert all(feed in label for feed in FEEDS)


def test_report_is_what_lies_on_disk(delivered: tuple[Path, DemoReport]) -> None:
    raw, report = delivered
    files = unpacked(raw)
    counted = {feed: 0 for feed, _ in report.rows}
    for name, data in files.items():
        counted[name.split("/")[0]] += sum(1 for _ in records(data)) - 1
    assert report.files == len(files)
    assert report.bytes == sum(len(data) for name, data in contents(raw).items() if name != demo.LABEL_NAME)
    assert dict(report.rows) == counted
    assert report.records == sum(counted.values())
    assert report.seed == 11


def test_other_seed_other_bytes(delivered: tuple[Path, DemoReport], tmp_path: Path) -> None:
    raw, _ = delivered
    write_demo(tmp_path, seed=12, scale=SCALE)
    ours, theirs = contents(tmp_path), contents(raw)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours if name.startswith("calls/calls_2023-0"))


def test_same_seed_same_bytes_on_one_thread_too(
    delivered: tuple[Path, DemoReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, report = delivered
    scratch = database.scratch
    monkeypatch.setattr(database, "scratch", lambda settings: scratch({**settings, "threads": "1"}))
    assert write_demo(tmp_path, seed=11, scale=SCALE) == report
    assert contents(tmp_path) == contents(raw)


def test_every_form_of_file_is_there(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    files = unpacked(raw)
    heads = {name: text(data).split("\n", 1)[0] for name, data in files.items()}
    latin = [data for data in files.values() if not _is_utf8(data)]
    assert any(0x80 <= byte <= 0x9F for data in latin for byte in data)
    assert any(not any(0x80 <= byte <= 0x9F for byte in data) for data in latin)
    assert any(data.startswith(b"\xef\xbb\xbf") for data in files.values())
    assert {max(",;\t", key=head.count) for head in heads.values()} == {",", ";", "\t"}
    assert any("päättymisaika" in head for head in heads.values())
    assert any("huomautus" in head for head in heads.values())
    assert any(" klo " in text(data) for data in files.values())
    assert any("T" in row[2] for row in records(files["calls/calls_2023-11.csv"]))
    assert any(b"\r\n\r\n" in data for data in files.values())
    packed = [name for name in contents(raw) if name.endswith(".gz")]
    assert 20 < len(packed) < len(files)
    assert all(contents(raw)[name][4:8] == b"\0\0\0\0" for name in packed)
    assert "\u00a0" in text(files["care_contacts/kontaktit_2023.csv"])
    assert "\u202f" in text(files["care_contacts/kontaktit_2025.csv"])
    assert "2\u00a0412,5" in text(files["manual_figures/kasin_syotetyt_2025.csv"])
    said = {
        cell for name, data in files.items() if name.startswith("decisions/") for row in records(data) for cell in row
    }
    assert {"true", "false", "kyllä", "ei", "1", "0"} <= said
    assert 150 <= len(files) <= 200


def test_comments_hold_separators_quotes_and_line_breaks(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    comments = [
        row[5]
        for name, data in unpacked(raw).items()
        if name.startswith("nps_responses/")
        for row in records(data)
        if len(row) >= 6
    ]
    assert any("\n" in comment for comment in comments)
    assert any('"helpot";' in comment for comment in comments)
    assert any("€" in comment for comment in comments)


def test_flaws_are_few_and_of_every_kind(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    files = unpacked(raw)
    rows = {name: list(records(data)) for name, data in files.items()}
    short = {name: sum(len(row) != len(table[0]) for row in table) for name, table in rows.items()}
    twice = {name: len(table) - len({tuple(row) for row in table}) for name, table in rows.items()}
    assert any(short.values())
    assert any(twice.values())
    assert all(short[name] + twice[name] <= 10 for name in rows)
    assert any(row[1] == "terveysasema" for row in rows["calls/calls_2023-09.csv"])
    assert any(row[4] == "11" for row in rows["nps_responses/nps_sms_2023-q2.csv"])


def test_corrections_sort_after_what_they_correct_and_change_it(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    files = unpacked(raw)
    pairs = (
        ("calls/calls_2024-03.csv", "calls/calls_2024-03_korjaus.csv"),
        ("callbacks/callbacks_2025-q2.csv", "callbacks/callbacks_2025-q2_tavoitetut.csv"),
        ("nps_invitations/nps_kutsut_2024.csv", "nps_invitations/nps_kutsut_2024_korjaus.csv"),
        ("nps_responses/nps_sms_2024-q1.csv", "nps_responses/nps_sms_2024-q1_korjaus.csv"),
        ("rescue_missions/tehtavat_2024.csv", "rescue_missions/tehtavat_2024_tarkistetut.csv"),
        ("care_queue/jono_2025-12-31.csv", "care_queue/jono_2025-12-31_uusittu.csv"),
        ("chats/chatit_2024-h1.csv", "chats/chatit_2024-h1_korjaus.csv"),
        ("helpline_contacts/paivystysapu_2024-q4.csv", "helpline_contacts/paivystysapu_2024-q4_korjaus.csv"),
        ("experience_answers/kokemus_2025-h1.csv", "experience_answers/kokemus_2025-h1_korjaus.csv"),
        ("feedback/palautteet_2025.csv", "feedback/palautteet_2025_korjaus.csv"),
        ("feedback_labels/palautteiden_sisalto_2024.csv", "feedback_labels/palautteiden_sisalto_2024_taydennys.csv"),
        ("care_visits/hoitoonpaasy_2024-h2_odottavat.csv", "care_visits/hoitoonpaasy_2025-h1.csv.gz"),
        ("housing_placements/asumishakemukset_2023.csv", "housing_placements/asumishakemukset_2024.csv"),
        ("decisions/paatokset_2023-h1.csv", "decisions/paatokset_2023-h2.csv"),
        ("safety_incidents/vaaratapahtumat_2023.csv", "safety_incidents/vaaratapahtumat_2023_arvioidut.csv"),
        ("digital_users/kayttajat_2024.csv", "digital_users/kayttajat_2024_uusittu.csv"),
        ("digital_care_paths/hoitopolut_2023.csv", "digital_care_paths/hoitopolut_2025.csv"),
        ("care_contacts/kontaktit_2023.csv", "care_contacts/kontaktit_2023_korjaus.csv"),
        ("manual_figures/kasin_syotetyt_2025.csv", "manual_figures/kasin_syotetyt_2025_korjaus.csv"),
    )
    for first, later in pairs:
        assert os.fsencode(first) < os.fsencode(later)
        shown, corrected = (list(records(files[name]))[1:] for name in (first, later))
        assert corrected
        assert [row for row in corrected if row not in shown]


def test_published_volumes_add_up() -> None:
    calls = {(line, year): (number, answered, quick) for line, _, year, number, answered, quick, *_ in demo_calls.CALLS}
    health_2023 = [value for (line, year), value in calls.items() if year == 2023 and line != "social_advice"]
    assert sum(number for number, _, _ in health_2023) == 536_831
    assert calls["emergency_helpline", 2023][0] == 91_983
    assert (calls["social_advice", 2023][0], calls["social_advice", 2025][0]) == (23_039, 18_466)
    share = 100 * sum(quick for _, _, quick in health_2023) / sum(answered for _, answered, _ in health_2023)
    assert 59.5 <= share < 60.5
    answered = {(survey, year): row[0] for survey, channel, year, *row in demo_nps.RESPONSES if channel == "sms"}
    assert (answered["health", 2025], answered["social_advice", 2025]) == (29_714, 1_919)
    missions = {
        (kind, year): sum(row[3] for row in demo_safety.MISSIONS if row[:2] == (kind, year))
        for kind, year, *_ in demo_safety.MISSIONS
    }
    assert (missions["rescue", 2025], missions["ems", 2025], missions["rescue", 2024]) == (2_949, 8_971, 3_223)


ALIASES = {
    feed.name: {column.finnish: column.name for column in feed.columns if column.finnish != column.name}
    for feed in FEED_PIECES
}


def test_every_feed_has_the_columns_and_the_finnish_headers_of_its_contract() -> None:
    sources = [source for source in load_project(PROJECT).sources if is_feed(source)]
    contracts = {feed.name: feed for feed in map(read_feed, sources)}
    assert contracts.keys() == {feed.name for feed in FEED_PIECES} == oracle.CONTRACTS.keys()
    for feed in FEED_PIECES:
        columns = contracts[feed.name].columns
        assert [column.name for column in feed.columns] == [column.name for column in columns]
        assert all(ours.finnish in contract.aliases for ours, contract in zip(feed.columns, columns, strict=True))


def test_rejects_are_few_in_every_file_and_some_in_most_feeds(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    rejected = Counter[str]()
    for feed, result in oracle.read_feeds(raw, ALIASES).items():
        assert result.rows
        for file in result.files:
            assert file.refused is None
            assert file.rejected <= max(10, 0.01 * file.records), file.name
            rejected[feed] += file.rejected
    assert len([feed for feed, count in rejected.items() if count]) >= 20


@pytest.fixture(scope="module")
def small_feeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, oracle.FeedResult]:
    """The feeds of up to a hundred thousand rows, at the full volume, read by the oracle."""
    raw = tmp_path_factory.mktemp("small")
    write_demo(raw, seed=3, feeds=[feed for feed in FEED_PIECES if feed.name not in LARGE])
    return oracle.read_feeds(raw, ALIASES)


def test_published_figures_of_the_small_feeds_come_out(small_feeds: dict[str, oracle.FeedResult]) -> None:
    figures = oracle.figures(small_feeds)
    compared = Counter[bool]()
    with (PROJECT / "seeds" / "published_figures.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            key = (row["figure_id"], row["service"], int(row["report_year"]), row["basis"])
            if found := figures.get(key):
                assert found.value is not None
                assert is_reproduced(found.value, row), (key, float(found.value))
            compared[found is not None] += 1
    assert compared == {True: 39, False: 53}


def test_a_year_no_report_covers_fits_the_changes_printed_later(small_feeds: dict[str, oracle.FeedResult]) -> None:
    values = {key: row.value for key, row in oracle.figures(small_feeds).items()}
    assert values["feedback_received", "all_services", 2024, "calendar_year"] == 1502
    disability = [
        values["disability_decisions_on_time_share", "disability_services", year, "calendar_year"] or 0
        for year in (2024, 2025)
    ]
    assert disability[0] > disability[1]


def test_labels_are_more_than_the_items_that_carry_them(small_feeds: dict[str, oracle.FeedResult]) -> None:
    items = {row["feedback_id"] for row in small_feeds["feedback"].rows}
    carried = Counter(row["feedback_id"] for row in small_feeds["feedback_labels"].rows)
    labels = [count for item, count in carried.items() if str(item).startswith("P23-")]
    assert (len(labels), sum(labels), max(labels)) == (457, 497, 3)
    assert [item for item in carried if item not in items] == ["P24-90001"]


def test_the_largest_group_of_digital_users_is_60_to_79(small_feeds: dict[str, oracle.FeedResult]) -> None:
    bands = {
        int(str(row["age_from"])): int(str(row["registered_users"]))
        for row in small_feeds["digital_users"].rows
        if row["census_date"] == date(2025, 12, 31)
    }
    assert sorted(bands, key=lambda age: bands[age])[-2:] == [70, 60]


def test_decisions_fall_on_the_last_day_in_time_and_on_the_next(small_feeds: dict[str, oracle.FeedResult]) -> None:
    found = Counter[tuple[str, int]]()
    for row in small_feeds["decisions"].rows:
        begun, decided = row["initiated_on"], row["decided_on"]
        if isinstance(begun, date) and isinstance(decided, date):
            _, _, last_day = oracle_figures.PROCESS_FIGURES[str(row["process"])]
            found[str(row["process"]), (decided - last_day(begun)).days] += 1
    assert all(found[process, days] >= 10 for process in oracle_figures.PROCESS_FIGURES for days in (0, 1))


def test_published_figures_of_the_visits_helpline_and_experience_come_out(tmp_path: Path) -> None:
    feeds = {feed.name: feed for feed in FEED_PIECES}
    with demo._scratch(tmp_path, 3, 1.0) as con:
        for name in ("care_visits", "helpline_contacts", "experience_answers"):
            con.execute(feeds[name].sql)
        assert shares(con, "care_visits", "visited_on <= need_assessed_on + 14", "service = 'primary_care'") == [
            71,
            74,
            83,
        ]
        assert shares(
            con, "care_visits", "visited_on <= need_assessed_on + interval 3 month", "service = 'oral_health'"
        ) == [78, 81, 85]
        old = "service = 'primary_care' and age_years >= 23"
        limit = "interval (if(need_assessed_on < date '2025-01-01', 14, 0)) day"
        limit = f"{limit} + interval (if(need_assessed_on < date '2025-01-01', 0, 3)) month"
        assert shares(con, "care_visits", f"visited_on <= need_assessed_on + {limit}", old)[2] == 100
        assert shares(con, "helpline_contacts", "outcome = 'resolved'")[2] == 50
        assert shares(con, "helpline_contacts", "outcome = 'emergency_department'")[2] == 33
        assert shares(con, "helpline_contacts", "advice_sufficient", "advice_sufficient is not null")[2] == 90
        means = con.execute(
            "select count(*), list(mean order by mean) from ("
            "select statement, round(avg(score), 2) as mean from experience_answers"
            " where year(answered_at) = 2023 group by statement having count(*) = 6656)"
        ).fetchone()
        assert means == (7, [4.65, 4.65, 4.66, 4.69, 4.73, 4.74, 4.78])


def shares(con: duckdb.DuckDBPyConnection, feed: str, condition: str, scope: str = "true") -> list[int]:
    """The percent of the rows of a scope that meet a condition, by year from 2023."""
    day = {"care_visits": "visited_on", "helpline_contacts": "contacted_at"}[feed]
    rows = con.execute(
        f"select round(100 * count(*) filter ({condition}) / count(*)) from {feed}"
        f" where {scope} and {day} is not null group by year({day}) order by year({day})"
    ).fetchall()
    return [int(share) for (share,) in rows]


def is_reproduced(value: Fraction, published: dict[str, str]) -> bool:
    """Whether a value is what was published, at its printed precision and with its qualifier."""
    printed = Fraction(published["value"])
    if published["qualifier"] == "about":
        return abs(value - printed) <= printed / 20
    if published["qualifier"] == "more_than":
        return value > printed
    factor = 10 ** int(published["decimals"])
    return Fraction(round_half_away(value * factor), factor) == printed


def test_more_is_written_at_a_larger_scale(delivered: tuple[Path, DemoReport], tmp_path: Path) -> None:
    _, report = delivered
    smaller = write_demo(tmp_path, seed=11, scale=0.0005)
    assert 0 < smaller.records < report.records / 5


def test_refuses_its_own_second_run(delivered: tuple[Path, DemoReport]) -> None:
    raw, _ = delivered
    before = contents(raw)
    with pytest.raises(ConfigError, match="already holds deliveries"):
        write_demo(raw, seed=11, scale=SCALE)
    assert contents(raw) == before


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
