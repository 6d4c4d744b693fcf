"""What both engines are asked, and whether they answer the same: all columns, all rows, without tolerance.

DuckDB answers here. Spark, or Sail, answers in a process of its own environment (`side.py`), over Parquet of the tables
of a build: each model from what DuckDB made of the models before it, so one that differs is named by itself.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from benchmarks.cluster import end_group
from kpi.engine.adapter import reading
from kpi.engine.compile import Compiled
from kpi.engine.graph import Node, UnitTest
from kpi.engine.runner import DuckAdapter
from kpi.engine.spark_sql import SETTINGS, to_spark_in_steps
from kpi.engine.test_runner import by_table, count_of, scan
from kpi.engine.unit_tests import run_unit_tests
from kpi.sql import Columns, identifier, literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE
from spark.odd_values import ODD, OF_TIMES, QUESTIONS
from spark.refusal_cases import CASES, IN_HELSINKI
from with_spark import SAIL, SPARK, environment, needed

SIDE = Path(__file__).with_name("side.py")
IN_ZONE = {"spark.sql.session.timeZone": "Europe/Helsinki"}
# What Spark does not take without one of SETTINGS: when it does, the setting can go.
WITHOUT = {"what is there, in a union": {"spark.sql.optimizer.excludedRules": ""}}
KINDS = ("odd_values", "models", "data_tests", "scans", "unit_tests")  # methods of Asker
MINUTES = 30  # for all that an engine is asked; a machine with two quiet cores needs a third of it
EVERY = 50  # answers between two lines of progress
BATCH = 20  # data tests in one statement: they are counts
_BUILD = re.compile(r"getvariable\('kpi_build'\)")


@dataclass(frozen=True)
class Question:
    """One SELECT: `sql` is DuckDB's, `columns` what its binder knows, `kind` what it comes from.

    `settings` are those of Spark's session that are other than SETTINGS.
    """

    id: str
    kind: str
    name: str
    sql: str
    columns: Columns
    expected: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def statement(self) -> dict[str, object]:
        """What Spark is asked, as `side.py` reads it."""
        parts, sql = to_spark_in_steps(self.sql, dict(self.columns), f"part_of_{self.id}")
        return {"id": self.id, "sql": sql, "parts": parts, "settings": {**SETTINGS, **self.settings}}


@dataclass
class Answers:
    """What came of questions on one engine."""

    engine: str
    questions: Sequence[Question]
    seconds: float
    refused: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def line(self, kind: str) -> str:
        """How many of a kind are equal, as the table says it."""
        ids = [question.id for question in self.questions if question.kind == kind]
        wrong = sum(one in self.refused or one in self.other for one in ids)
        refused = sum(one in self.refused for one in ids)
        took = sum(self.took.get(one, 0) for one in ids) / 2  # two at a time
        more = f", {refused} refused" if refused else ""
        return f"{self.engine:<10} {kind:<10} {len(ids) - wrong} of {len(ids)} equal{more}, {took:.0f} s"

    @property
    def table(self) -> str:
        """How many of each kind are equal, and the seconds they took."""
        kinds = dict.fromkeys(question.kind for question in self.questions)
        return "\n".join([*map(self.line, kinds), f"{self.engine:<10} {'all':<10} {self.seconds:.0f} s of wall time"])

    @property
    def message(self) -> str:
        """What is other or refused, each with its name."""
        names = {question.id: f"{question.kind}: {question.name}" for question in self.questions}
        wrong = [f"{names[one]} is refused: {why}" for one, why in self.refused.items()]
        return "\n".join([*wrong, *(f"{names[one]} is other: {what}" for one, what in self.other.items())])

    def of_names(self, ids: Iterable[str]) -> list[str]:
        """The names of questions, sorted."""
        names = {question.id: question.name for question in self.questions}
        return sorted(names[one] for one in ids)


class Asker:
    """Questions, with DuckDB's answers as Parquet in a folder, and the tables that they are about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables: list[tuple[str, str]] = []
        self.places: dict[tuple[str, str], str] = {}
        self._numbers = 0
        folder.mkdir(parents=True)
        self.con = duckdb.connect()
        self.con.execute("set TimeZone = 'UTC'")

    def read_build(self, root: Path, project: Compiled) -> None:
        """Write the tables of the published build as Parquet; what is asked then is about them."""
        self.graph = project.graph
        build = Warehouse(root / "warehouse").folder().resolve()
        self._build = literal(build.name)
        self.con.execute(f"attach {literal(str(build / DATABASE))} as build (read_only)")
        self.con.execute("use build")
        for node in self.graph.nodes.values():
            if node.kind in ("source", "seed", "model", "snapshot") and node.relation.schema and self._is_there(node):
                self._add(node)

    def _is_there(self, node: Node) -> bool:
        try:
            self.con.execute(f"describe {node.relation}")
        except duckdb.Error:
            return False
        return True

    def _add(self, node: Node) -> None:
        relation = node.relation
        place = f"{relation.schema}__{relation.name}"
        if (relation.schema, relation.name) not in self.places:
            columns = self.con.execute(f"describe {relation}").fetchall()
            self.places[relation.schema, relation.name] = place
            self.tables.append((place, str(self.write(f"select * from {relation}", [row[:2] for row in columns]))))

    def write(self, sql: str, columns: Iterable[Sequence[str]], con: duckdb.DuckDBPyConnection | None = None) -> Path:
        """Write rows as Parquet, which has no HUGEINT. The connection may be one that writes no files."""
        self._numbers += 1
        path = self.folder / f"{self._numbers}.parquet"
        casts = ", ".join(
            f"cast({identifier(name)} as decimal(38, 0)) as {identifier(name)}"
            if kind == "HUGEINT"
            else identifier(name)
            for name, kind in columns
        )
        rows = (con or self.con).sql(f"select {casts} from (\n{sql}\n)").to_arrow_table()
        pq.write_table(rows, path)
        return path

    def question(
        self,
        kind: str,
        name: str,
        sql: str,
        settings: Mapping[str, str] | None = None,
        con: duckdb.DuckDBPyConnection | None = None,
    ) -> Question:
        """A SELECT with DuckDB's answer."""
        described = (con or self.con).execute(f"describe {sql}").fetchall()
        columns = tuple((str(row[0]), str(row[1])) for row in described)
        expected = self.write(sql, columns, con)
        return Question(str(self._numbers), kind, name, reading(sql, self.places), columns, expected, settings or {})

    def models(self, names: Sequence[str] = ()) -> Iterator[Question]:
        """Every model, or those of some names, that stands in the build."""
        for node in self.graph.nodes.values():
            is_there = node.kind == "model" and (node.relation.schema, node.relation.name) in self.places
            if is_there and (not names or node.name in names):
                yield self.question("models", node.name, _BUILD.sub(self._build, node.sql))

    def odd_values(self) -> Iterator[Question]:
        """What is made of odd values, those of times also in the zone of Helsinki."""
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            for name, sql in ODD.items():
                con.execute(f"create table {name} as {sql}")
                columns = [row[:2] for row in con.execute(f"describe {name}").fetchall()]
                self.tables.append((name, str(self.write(f"from {name}", columns, con))))
            for name, sql in QUESTIONS.items():
                yield self.question("odd values", name, sql, con=con)
                if name in OF_TIMES:
                    yield self.question("odd values", f"{name} in Helsinki", sql, IN_ZONE, con)

    def refused(self) -> Iterator[Question]:
        """What is refused for Spark, asked all the same: the answers are to differ."""
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            for name, sql in ODD.items():
                con.execute(f"create table {name} as {sql}")
            for rule, sql in CASES.items():
                yield self.question("refusals", rule, sql, IN_ZONE if rule in IN_HELSINKI else None, con)
            for name, settings in WITHOUT.items():
                yield self.question("refusals", f"{name}, without what SETTINGS say", QUESTIONS[name], settings, con)

    def data_tests(self) -> Iterator[Question]:
        """The number of failing rows of every data test, many in a statement."""
        tests = list(self.graph.tests())
        for start in range(0, len(tests), BATCH):
            counts = [
                f"select {literal(test.name)} as test, count(*) as failing"
                f" from (\n{_BUILD.sub(self._build, test.sql)}\n) as failures"
                for test in tests[start : start + BATCH]
            ]
            name = f"{tests[start].name} and {len(counts) - 1} more"
            yield self.question("data tests", name, "\nunion all ".join(counts))

    def scans(self) -> Iterator[Question]:
        """What the tests of a table share, one statement each, as a refresh asks Spark."""
        counts = {test.id: count for test in self.graph.tests() if (count := count_of(test))}
        for table, members in by_table(counts).items():
            yield self.question("scans", table, scan(table, [counts[one] for one in members], has_subqueries=False))

    def unit_tests(self, every: int = 1) -> Iterator[Question]:
        """What the model of every n-th unit test yields of the rows that it gives."""
        found: list[Question] = []
        asker, tested = self, ""

        class Recorder(DuckAdapter):
            """Notes each SELECT of a unit test, and lets DuckDB answer."""

            def rows_here(self, node: Node, sql: str) -> str:
                found.append(asker.question("unit tests", tested, _BUILD.sub(asker._build, sql), con=self.con))
                return sql

        def one_by_one() -> Iterator[UnitTest]:
            nonlocal tested
            for test in list(self.graph.unit_tests)[::every]:
                tested = test.name
                yield test

        results = run_unit_tests(self.graph, one_by_one(), Recorder)
        assert len(found) == len(results), [result.message for result in results if result.error][:3]
        yield from found

    def ask(
        self,
        engine: str,
        questions: Sequence[Question],
        minutes: float = MINUTES,
        emit: Callable[[str], None] = lambda line: None,
    ) -> Answers:
        """Let an engine answer, for at most so many minutes. Its environment is set up by make spark.

        How far it is goes to `emit`. None of its processes is left, however it ends.
        """
        folder = self.folder / re.sub(r"\W+", "_", engine)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        work = {
            "settings": {**SETTINGS},
            "tables": self.tables,
            "statements": [question.statement for question in questions],
        }
        (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
        answers, began = Answers(engine, questions, 0), time.monotonic()
        kinds = {question.id: question.kind for question in questions}
        left = Counter(kinds.values())
        for done in _lines(folder, engine, minutes):
            answers.took[done["id"]] = done["seconds"]
            answers.seconds = time.monotonic() - began
            if done["refused"]:
                answers.refused[done["id"]] = done["refused"]
            kind = kinds[done["id"]]
            left[kind] -= 1
            if left[kind] % EVERY == 0:
                progress = f"{left[kind]} of {kind} left, {len(answers.took)} of {len(questions)} answered"
                emit(f"{engine}: {progress} after {answers.seconds:.0f} s")
        for question in questions:
            if question.id not in answers.took:
                answers.refused[question.id] = f"no answer within {minutes:g} minutes"
            elif question.id not in answers.refused:
                difference = self._difference(question, folder / f"out/{question.id}.parquet")
                if difference:
                    answers.other[question.id] = difference
        return answers

    def _difference(self, question: Question, answer: Path) -> str:
        """What differs between an answer and DuckDB's; nothing when they are equal."""
        one, other = (f"read_parquet({literal(str(path))})" for path in (question.expected, answer))
        kinds = [self.con.execute(f"describe from {table}").fetchall() for table in (one, other)]
        if [row[:2] for row in kinds[0]] != [row[:2] for row in kinds[1]]:
            return f"{question.name}: columns {kinds[0]} and {kinds[1]}"
        for first, second, what in ((one, other, "DuckDB"), (other, one, "the other")):
            rows = self.con.execute(f"from {first} except all from {second}").fetchmany(3)
            if rows:
                return f"{question.name}: of {what} alone {rows}"
        return ""


def _lines(folder: Path, engine: str, minutes: float) -> Iterator[dict[str, Any]]:
    """What `side.py` says, line by line, until it ends or the minutes are over. It and its Java are ended by then."""
    python = needed(SAIL if engine == "sail" else SPARK)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, SIDE, folder, engine],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        is_over = threading.Event()

        def end() -> None:
            is_over.set()
            end_group(process)

        timer = threading.Timer(minutes * 60, end)
        timer.start()
        try:
            yield from map(json.loads, process.stdout)
            assert process.wait() == 0 or is_over.is_set(), (folder / "log").read_text(errors="replace")[-3000:]
        finally:
            timer.cancel()
            end_group(process)
