"""Personal data planted in every place of a delivery stands in no file that a run writes, and in nothing it tells."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from conftest import copy_project
from kpi.cli.main import main
from small_project import FILES, write

CODE, PHONE, EMAIL = "131052-308T", "040 765 4321", "aino.esimerkki@mäkinen.example"
MARKERS = (CODE, PHONE, EMAIL, "131052–308T", "0407654321", "aino.esimerkki")
ALL = f"{CODE} {PHONE} {EMAIL}"
SECRET, WORD = "Salainensana", "Sukunimensalaisuus"
HEADER = "visit_id;line;waited_seconds;visited_on;arrived_at;left_at;urgent;comment"
ROW = "{id};health;5;2025-03-05;2025-03-05 14:07:09;2025-03-05 14:10:00;true;{comment}"
VISITS = """\
sources:
  - name: raw
    tables:
      - name: visits
        config: {meta: {feed: {key: [visit_id], time_order: [arrived_at, left_at]}}}
        columns:
          - {name: visit_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: line, data_type: varchar, config: {meta: {codes: [health, social]}}}
          - {name: waited_seconds, data_type: bigint, config: {meta: {min: 0}}}
          - {name: visited_on, data_type: date}
          - {name: arrived_at, data_type: timestamp}
          - {name: left_at, data_type: timestamp}
          - {name: urgent, data_type: boolean}
          - {name: comment, data_type: varchar, config: {meta: {free_text: mask}}}
      - name: patients
        config: {meta: {feed: {key: [patient_key]}}}
        columns:
          - {name: patient_key, data_type: varchar, config: {meta: {required: true, pseudonym: true}}}
          - {name: note, data_type: varchar, config: {meta: {free_text: reject}}}
models:
  - name: stg_visits
    columns:
      - {name: visit_id, data_tests: [unique]}
      - {name: comment, data_tests: [{accepted_values: {values: [ok], severity: warn}}]}
"""
PROJECT: Mapping[str, str | None] = {
    "models/staging/visits.yml": VISITS,
    "models/staging/stg_visits.sql": "select visit_id, line, comment from {{ source('raw', 'visits') }}\n"
    "where not _is_superseded\n",
    "models/marts/public_visits.sql": "{{ config(tags=['public']) }}\n"
    "select count(*) as visit_count from {{ ref('stg_visits') }}\n",
}


def visits(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


# Every place of a delivery. What is planted in a key that is loaded is data like another, so there it is of a reject.
PLACES: Mapping[str, str] = {
    "visits/comment.csv": visits(ROW.format(id="a", comment=ALL), ROW.format(id="b", comment=f'"{ALL}"')),
    "visits/number.csv": visits(ROW.format(id="c", comment="ok").replace(";5;", f";{ALL};")),
    "visits/date.csv": visits(ROW.format(id="d", comment="ok").replace(";2025-03-05;", f";{ALL};")),
    "visits/time.csv": visits(ROW.format(id="e", comment="ok").replace("2025-03-05 14:07:09", ALL)),
    "visits/truth.csv": visits(ROW.format(id="f", comment="ok").replace("true", ALL)),
    "visits/code.csv": visits(ROW.format(id="g", comment="ok").replace("health", ALL)),
    "visits/key.csv": visits(ROW.format(id=ALL, comment="ok").replace(";5;", ";-5;")),
    "visits/too_many.csv": visits(ROW.format(id="h", comment=f"{CODE};{PHONE};{EMAIL}")),
    "visits/header.csv": visits(ROW.format(id="i", comment=f"ok;{SECRET}")).replace("comment\n", f"comment;{ALL}\n"),
    "visits/twice.csv": visits(ROW.format(id="j", comment=f"ok;{ALL}")).replace("comment\n", "comment;comment\n"),
    "visits/no_header.csv": ROW.format(id="k", comment=ALL) + "\n" + ROW.format(id="l", comment=ALL) + "\n",
    # What was a header would be quoted; a first record, where there is no header, never is.
    "visits/secret_no_header.csv": ROW.format(id="m", comment=WORD) + "\n" + ROW.format(id=WORD, comment="ok") + "\n",
    "visits/only_a_line.csv": f"{ALL}\n",
    "visits/binary.csv.gz": f"{ALL}\n",
    "patients/key.csv": f"patient_key;note\np1;ok\n{CODE};ok\n",
    "patients/dashed.csv": f"patient_key;note\np1;ok\nx{CODE.replace('-', '–')};ok\n",
    "patients/note.csv": f"patient_key;note\np2;{ALL}\n",
    f"visits/{PHONE} {EMAIL}.txt": "not read",
    f"visits/.{PHONE}.csv": "not read",
    f"aino.esimerkki@mäkinen.example/{PHONE}.csv": "not read",
}


@pytest.fixture(params=["all in one", "stewards"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    settings = FILES["dbt_project.yml"]
    if request.param == "stewards":
        kept = "vars:\n  kpi_warehouse:\n    stewards_schemas: [raw, staging]\n"
        settings = settings.replace("vars:\n", kept)
    return write(tmp_path / "project", {**PROJECT, "dbt_project.yml": settings})


def deliver(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / "warehouse/raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if not name.endswith(".gz") else gzip.compress(text.encode()))


@dataclass(frozen=True)
class RunResult:
    """A command that ran as from a shell, but in this process: to start one costs more than what it does."""

    code: int
    told: str


def kpi(root: Path, *command: str) -> RunResult:
    message = io.StringIO()
    sys.argv, argv = ["kpi", *command, "--project-dir", str(root)], sys.argv
    try:
        with redirect_stdout(message), redirect_stderr(message):
            main()
    except SystemExit as error:
        return RunResult(int(error.code or 0), message.getvalue())
    finally:
        sys.argv = argv
    return RunResult(0, message.getvalue())


def written(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that a run wrote, not those that were delivered; and what is in tables, uncompressed."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).parts
            if not path.is_file() or inside[:2] == ("warehouse", "raw"):
                continue
            yield path, path.read_bytes()
            if path.suffix == ".duckdb":
                with duckdb.connect(path, read_only=True) as con:
                    tables = con.execute(
                        "select database_name, schema_name, table_name from duckdb_tables()"
                    ).fetchall()
                    for names in tables:
                        rows = con.execute(f"""from "{'"."'.join(names)}" """).fetchall()
                        yield path / ".".join(names), str(rows).encode()


def places_of(markers: tuple[str, ...], message: str, *folders: Path) -> list[str]:
    """Say where any of the markers stands. Names of files that were delivered are theirs who deliver."""
    found = [f"{marker} is told" for marker in markers if marker in message]
    for path, content in written(*folders):
        found += [f"{marker} in {path}" for marker in markers if marker.encode() in content]
        found += [f"{marker} in {path}" for marker in markers if json.dumps(marker)[1:-1].encode() in content]
    return found


def test_what_is_planted_in_a_delivery_stands_nowhere(root: Path, tmp_path: Path) -> None:
    deliver(root, PLACES)
    for extra in (("--no-expectations",), ("--log-format", "json", "--store-failures", "--full-refresh")):
        ran = kpi(root, "refresh", "--as-of", "2026-03-05", "--max-reject-share", "1", *extra)
        assert ran.code in (0, 4), ran.told
        assert places_of(MARKERS, ran.told, root) == []
    message = [
        kpi(root, *command) for command in (("runs",), ("runs", "show"), ("builds",), ("doctor",), ("freshness",))
    ]
    message += [kpi(root, "query", sql) for sql in ("from raw.rejects", "from raw.deliveries", "from raw.visits")]
    message.append(kpi(root, "publish", "--public", str(tmp_path / "public")))
    assert places_of(MARKERS, "".join(one.told for one in message), root, tmp_path / "public") == []
    # No word of a delivery is told, whatever it is: it stands in the lines of rejects and nowhere else.
    held = places_of((WORD,), "".join(one.told for one in message[:5]), root)
    assert all(".duckdb" in place for place in held), held
    with duckdb.connect(
        next(root.glob("warehouse/builds/*/stewards/*.duckdb"), root / "warehouse/current/kpi.duckdb")
    ) as con:
        rejects = dict(con.execute("select file, any_value(reasons) from raw.rejects group by file").fetchall())
    assert "[henkilötunnus poistettu] [puhelinnumero poistettu] [sähköposti poistettu]" in str(rejects["number.csv"])
    assert set(rejects) >= {Path(place).name for place in PLACES if place.startswith("visits/") and "." in place} - {
        *("comment.csv", "header.csv", "only_a_line.csv", "binary.csv.gz"),
        *(f"{PHONE} {EMAIL}.txt", f".{PHONE}.csv"),
    }


def test_a_file_whose_name_is_an_identity_code_is_refused_without_naming_it(root: Path) -> None:
    deliver(root, {"visits/a.csv": PLACES["visits/comment.csv"]})
    assert kpi(root, "refresh", "--as-of", "2026-03-05").code == 0
    deliver(root, {f"visits/visits-{CODE}.csv": PLACES["visits/comment.csv"]})
    ran = kpi(root, "refresh", "--as-of", "2026-03-05")
    assert ran.code == 4
    assert "visits/visits-[henkilötunnus poistettu].csv: the name of this file holds an identity code" in ran.told
    assert places_of((CODE,), ran.told + kpi(root, "doctor").told, root) == []


def test_what_an_error_of_the_database_quotes_is_masked(root: Path) -> None:
    """Text that was delivered in a key fails in a model: DuckDB says which value it could not read."""
    write(
        root, {**PROJECT, "models/marts/public_visits.sql": "select visit_id::int as n from {{ ref('stg_visits') }}\n"}
    )
    deliver(root, {"visits/a.csv": visits(ROW.format(id=CODE, comment="ok"), ROW.format(id=PHONE, comment="ok"))})
    ran = kpi(root, "refresh", "--as-of", "2026-03-05")
    assert ran.code == 6
    assert "poistettu]" in ran.told
    logs = root / "warehouse/runs"
    assert places_of(MARKERS, ran.told, logs) == []
    message = [path.read_text() for path in root.glob("warehouse/builds/*/*.json")]
    assert not [text for text in message if CODE in text or PHONE in text]
    assert CODE not in (root / "warehouse/builds/ledger.jsonl").read_text()


def test_the_countys_own_project_tells_nothing_either(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "county")
    header, row = "response_id,survey,channel,responded_at,score,comment", "{},health,sms,2025-01-01 10:00,{},{}"
    rows = [
        row.format("a", 9, f"{CODE} tai {PHONE} tai {EMAIL}"),
        row.format(CODE, "x", PHONE),
        row.format("b", CODE, EMAIL),
    ]
    deliver(root, {"nps_responses/a.csv": "\n".join((header, *rows)) + "\n"})
    manual = "report_year;figure_id;service;value;entered_on;source_note\n"
    manual += f"2025;anything;{PHONE};15,0;2026-01-26;{ALL}\n{CODE};anything;x;16,0;2026-01-26;x\n"
    deliver(root, {"manual_figures/a.csv": manual})
    ran = kpi(root, "refresh", "--as-of", "2026-03-05", "--max-reject-share", "1", "--publish-despite-checks", "a test")
    assert ran.code in (0, 7), ran.told
    # What was entered by hand as a code is data; it may not leave the house (test_public.py).
    held = [place for place in places_of(MARKERS, ran.told, root) if PHONE not in place]
    assert held == []
