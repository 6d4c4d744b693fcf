"""Deliveries whose columns a mapping makes: expressions that fail, and keys that are made of the file's name."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

from kpi.ingest.contract import read_feed
from kpi.project.project import load_project
from loading import Loader
from small_project import write

MAPPED = """\
sources:
  - name: raw
    tables:
      - name: places
        config:
          meta:
            feed:
              key: [place]
              mappings:
                - name: other
                  files: ["*.csv", "*.csv.gz"]
                  reads: [name, day, note]
                  columns:
                    place: name
                    closed_on: "strftime(strptime(nullif(day, '9.9.9999'), '%d.%m.%Y'), '%Y-%m-%d')"
                    note: "note || '!'"
        columns:
          - {name: place, data_type: varchar, config: {meta: {required: true}}}
          - {name: closed_on, data_type: date}
          - {name: note, data_type: varchar, config: {meta: {free_text: mask}}}
"""


def test_a_record_on_which_the_expression_of_a_mapping_fails_is_a_reject(tmp_path: Path) -> None:
    """Of a column that may be missing it was taken for one that is: a place that closed stayed open."""
    write(tmp_path / "project", {"models/staging/places.yml": MAPPED})
    loader = Loader(tmp_path / "raw", [read_feed(one) for one in load_project(tmp_path / "project").sources][1:])
    loader.deliver("a.csv", "name;day;note\nA;5.3.2025;x\nB;tammikuu;x\nC;;\nD;9.9.9999;x\n;5.3.2025;x\n")
    loader.load()
    assert loader.rows("place, closed_on, note") == [
        ("A", date(2025, 3, 5), "x!"),
        ("C", None, None),
        ("D", None, "x!"),
    ]
    assert loader.rejects() == [
        ("a.csv", 2, ["closed_on: the expression of its mapping fails"]),
        ("a.csv", 5, ["place: missing"]),
    ]


def test_what_was_delivered_twice_does_not_count_twice(tmp_path: Path) -> None:
    """A key that is made of the file's name makes other rows of the same file under another name."""
    contract = MAPPED.replace("place: name", "place: \"file_name || '-' || record_number\"")
    write(tmp_path / "project", {"models/staging/places.yml": contract})
    loader = Loader(tmp_path / "raw", [read_feed(one) for one in load_project(tmp_path / "project").sources][1:])
    text = "name;day;note\nA;;\nB;;\n"
    loader.deliver("a.csv", text)
    loader.deliver("b.csv", text.replace("A", "C"))
    loader.load()
    assert loader.refused() == ""
    loader.deliver("c.csv.gz", gzip.compress(text.encode()))
    loader.load()
    message = (
        "places/c.csv.gz: holds the same as places/a.csv, and the rows of both would count. Take one of them away."
    )
    assert message in loader.refused()
    assert loader.refused(1) == ""
