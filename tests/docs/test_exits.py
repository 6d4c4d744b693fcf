"""How a command ends: one table of exit codes, and the page that is written from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import exit_code_page
from kpi import errors
from kpi.errors import EXITS, KpiError, exit_of, problems_of

PAGE = Path(__file__).parents[2] / "docs/reference/exit-codes.md"


def kinds(base: type[KpiError] = KpiError) -> list[type[KpiError]]:
    return [base, *(one for kind in base.__subclasses__() for one in kinds(kind))]


def test_every_kind_of_error_has_its_exit_in_the_table() -> None:
    import kpi.build_record  # has a kind of its own

    assert kpi.build_record.RecordError in kinds()
    assert {kind.exit_code for kind in kinds()} <= set(EXITS)
    assert all(code == one.code for code, one in EXITS.items())
    failures = [one for one in EXITS.values() if one.code not in (0, 10, 11, 12, errors.INTERRUPTED)]
    assert all(one.remedy and one.meaning for one in failures)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 3),
        (PermissionError(13, "Permission denied"), 3),
        (errors.LockHeld("x"), 8),
        (OSError(28, "No space left on device"), 9),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
        (SystemExit(77), 1),
    ],
)
def test_any_error_ends_in_one_of_the_ways(error: BaseException, code: int) -> None:
    assert exit_of(error) is EXITS[code]


def test_the_page_is_written_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == exit_code_page()


def test_what_is_restricted_is_shown_to_who_runs_it_and_to_nobody_else() -> None:
    place = errors.Place("m.sql", 3, 5)
    problem = errors.Problem("x", "is wrong.", place, "Mend it.", "is wrong: 010190-123A.", "one")
    assert str(problem) == "one (m.sql:3:5): is wrong: 010190-123A. Mend it."
    assert str(problem.public()) == "one (m.sql:3:5): is wrong. Mend it."
    unexpected = problems_of(ValueError("010190-123A"))
    assert [str(one.public()) for one in unexpected] == ["ValueError, which kpi did not expect."]


def test_an_error_of_several_has_the_problems_of_each() -> None:
    several = errors.BuildErrors(
        [errors.BuildError("a", "fails", place=errors.Place("a.sql")), errors.BuildError("b", "fails", restricted="y")],
        ["a (a.sql): fails", "b: y", "c: skipped, because a failed."],
    )
    assert [(one.subject, str(one.place), one.public().restricted) for one in several.problems] == [
        ("a", "a.sql", ""),
        ("b", "", ""),
    ]
    assert "c: skipped" in errors.error_text(several)
    failed = errors.BuildError(
        "t", "Conversion Error", place=errors.Place("t.sql", 1), restricted="Conversion Error: x"
    )
    assert errors.error_text(failed) == "t (t.sql:1): Conversion Error: x"
    settings = errors.ConfigErrors(
        [errors.ConfigError("x", errors.Place("p.yml", 2)), errors.CompileError("m", 1, "y")]
    )
    assert str(settings) == "p.yml:2: x\nm:1: y"
    assert [(one.message, one.place.line) for one in settings.problems] == [("x", 2), ("y", 1)]
