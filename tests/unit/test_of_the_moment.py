"""A model that would yield something else tomorrow from the same tables has a note: it is not built again for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import CACHE, compiled
from small_project import write

MODEL = "models/marts/moment.sql"
SELECTS = {
    "select current_date as d": "current_date",
    "select date_diff('day', arrived_on, current_date) as days from {{ ref('stg_calls') }}": "current_date",
    "select now()::date as d": "now",
    "select NOW ( ) as d": "now",
    "select today() as d": "today",
    "select random() as r": "random",
    "select uuid() as r": "uuid",
    "select current_timestamp at time zone 'UTC' as t": "current_timestamp",
    "select line from {{ ref('stg_calls') }} using sample 5": "sample",
    "select line from {{ ref('stg_calls') }} tablesample 10%": "tablesample",
    "select 1 as current_date": "",
    "select 'now()' as word -- random()": "",
    'select q."current_date" from (select 1 as "current_date") as q': "",
    "with today as (select 1 as a) select today.a from today": "",
    "select waited_seconds as random from {{ ref('stg_calls') }}": "",
}


@pytest.mark.parametrize("select", SELECTS)
def test_what_moves_by_itself_is_a_note(select: str, tmp_path: Path) -> None:
    root = write(tmp_path, {MODEL: f"-- a comment\n{select}\n"})
    notes = [note for note in compiled(root).graph.notes if note.startswith(MODEL)]
    word = SELECTS[select]
    assert [note.split(" is of the time")[0] for note in notes] == ([f"{MODEL}:2: {word}"] if word else [])


def test_a_model_that_begins_to_move_has_the_note_too(tmp_path: Path) -> None:
    root = write(tmp_path, {MODEL: "select date '2025-01-01' as d\n"})
    assert not compiled(root).graph.notes
    assert (root / CACHE).exists()
    write(root, {MODEL: "select current_date as d\n"})
    assert len(compiled(root).graph.notes) == 1
