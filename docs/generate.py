"""Write the reference pages that the program and the project know themselves: `make docs`.

Commands come from click's own tree, settings and their defaults from the modules that read them, figures and marts from
the project's seeds and YAML; words that no program knows stand in descriptions.yml beside this file.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.graph import RESERVED_TABLES
from kpi.engine.lint import SPARK_RULES as REFUSED
from kpi.engine.nodes import compile_project
from kpi.engine.spark_sql import RULES as TRANSLATED
from kpi.engine.spark_sql import SETTINGS
from kpi.errors import EXITS
from kpi.ingest.contract import (
    CONTRACT_COLUMN_SETTINGS,
    CONTRACT_SETTINGS,
    GRACE,
    KINDS,
    MAPPING_SETTINGS,
    Feed,
    FeedColumn,
    is_feed,
    read_feed,
)
from kpi.ingest.ledger import OWN
from kpi.project import properties
from kpi.project.project import Project, load_project
from kpi.project.properties import Column, Properties, Source
from kpi.settings import ENGINE_KEY, KEY, REPORT_COLUMNS, TABLES_KEY, EngineSettings, ReportTables, WarehouseSettings
from kpi.yaml_loader import Items, Section

DOCS = Path(__file__).parent
ROOT = DOCS.parent
DESCRIPTIONS = DOCS / "descriptions.yml"
Words = Mapping[str, Mapping[str, str]]
_WRITTEN = "<!-- Written by `make docs`. Edit {what} instead. -->"
_KINDS = {
    "model": properties.MODEL_CONFIGS,
    "seed": properties.SEED_CONFIGS,
    "snapshot": properties.SNAPSHOT_CONFIGS,
    "data test": properties.TEST_CONFIGS,
    "source": properties.SOURCE_CONFIGS,
}


def _kinds(columns: Mapping[str, str]) -> str:
    """Columns with what they hold, for a cell."""
    return ", ".join(f"{name}{'' if kind == 'text' else f' ({kind})'}" for name, kind in columns.items()).replace(
        "*", r"\*"
    )


def exit_code_page() -> str:
    """Return the page of what commands end with."""
    rows = [
        f"| {one.code} | {one.outcome} | {one.meaning} | {one.readers} | {one.remedy} |".replace("|  |", "| |")
        for one in EXITS.values()
    ]
    return "\n".join(
        (
            "# Exit codes",
            "",
            _WRITTEN.format(what="EXITS in src/kpi/errors.py"),
            "",
            "What a command ends with, the word that `kpi runs` has for it, and what to do.",
            "",
            "| exit code | outcome | meaning | what readers see | what to do |",
            "|---|---|---|---|---|",
            *rows,
            "",
        )
    )


def commands_page() -> str:
    """Every command with its arguments, options and defaults, as `kpi --help` has them."""
    top = click.Context(cli, info_name="kpi")
    commands = [*_commands(cli, top)]
    shown = [(command, context) for command, context in commands if not _is_hidden(command, context)]
    lines = [
        "# Commands",
        _WRITTEN.format(what="the help texts in src/kpi/cli"),
        "Every command takes `--help`, and looks for the project in the folder of `--project-dir`, of the variable"
        " `KPI_PROJECT_DIR`, or above the folder it is called in. What each ends with: [exit codes](exit-codes.md).",
        _table(
            ("command", "what it does"),
            (
                (f"[`{context.command_path}`](#{_slug(context.command_path)})", _first(command))
                for command, context in shown
            ),
        ),
    ]
    for command, context in shown:
        lines += [f"## {context.command_path}", *_about(command, context)]
    lines += [
        "## Commands of dbt",
        "Typed as with dbt, these say which command of kpi does it; more in [dbt](dbt.md#what-a-dbt-user-types).",
        _table(
            ("typed", "answer"),
            (_answer(command, context) for command, context in commands if _is_hidden(command, context)),
        ),
    ]
    return _page(lines)


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in sorted(group.commands):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        yield command, inner
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _is_hidden(command: click.Command, context: click.Context | None) -> bool:
    return command.hidden or (context is not None and context.parent is not None and context.parent.command.hidden)


def _first(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")


def _about(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"    {usage}"
    yield inspect.cleandoc(command.help or "")
    options = [option for option in command.params if isinstance(option, click.Option)]
    yield _table(("option", "unless given", "what"), (_option(option, context) for option in options))


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    form = "" if option.is_flag else f" `{option.make_metavar(context)}`"
    usual = option.get_default(context)
    is_value = isinstance(usual, str | int | float) and not isinstance(usual, bool) and usual != ""
    several = " May be given several times." if option.multiple else ""
    return names + form, f"`{usual}`" if is_value else "", f"{option.help}{several}"


def _answer(command: click.Command, context: click.Context) -> tuple[str, str]:
    """What is typed, and what kpi says to it: the words of its error, or those of its help."""
    typed = f"`{context.command_path}`"
    if [parameter.name for parameter in command.params] != ["words"]:
        return typed, _first(command)
    said = CliRunner().invoke(cli, [str(command.name)]).output
    return typed, said.rpartition("Error: ")[2].strip()


def settings_page(words: Words) -> str:
    """Every setting that the program knows, with its default. Raises ValueError when it and the words differ."""
    feed, usual = _usual_feed(), WarehouseSettings()
    # 0 threads is how the settings say that none were set.
    warehouse = {field.name: getattr(usual, field.name) for field in fields(WarehouseSettings)} | {"threads": None}
    engine = {field.name: getattr(EngineSettings(), field.name) for field in fields(EngineSettings)} | {"config": None}
    with_default = ("setting", "unless set", "what")
    lines = [
        "# Settings",
        _WRITTEN.format(what="docs/descriptions.yml"),
        "A setting or a value that is not known is an error with file and line, and the nearest name. Of models and"
        " their like that holds in a project with house rules; in any other it is a note, as dbt passes over it.",
        "## The warehouse",
        "In `dbt_project.yml`, where dbt takes them for a variable like any other:",
        f"    vars:\n      {KEY}:\n        keep_published: 7\n        memory_limit: 4GB",
        _table(with_default, _rows("warehouse", words, warehouse)),
        "`--memory-limit`, `--threads` and `--temp-directory` of a run win.",
        "## The engine",
        "What computes models and tests, under `engine:` of `kpi_warehouse`; `--engine`, `--master` and `--remote` of a"
        " run win. Deliveries are loaded by DuckDB, and a build is one DuckDB file, whatever computed it"
        " ([when one machine is not enough](../guides/more-than-one-machine.md)).",
        f"    vars:\n      {KEY}:\n        {ENGINE_KEY}: {{type: spark, remote: 'sc://spark.example:15002'}}",
        _table(with_default, _rows("engine", words, engine)),
        "## The tables that the engine knows",
        "In `dbt_project.yml` too, each as schema.name; a name that no model or seed has is an error with its line."
        " A table that is not there at all is empty.",
        f"    vars:\n      {TABLES_KEY}:\n        indicators: reports.yearly_figures",
        _table(with_default, _rows("report_tables", words, ReportTables().names())),
        "What is read of them, each column a text unless it says otherwise; a name that ends in `*` is one in each"
        " language (`_fi`, `_sv`, `_en`), of which one is enough. In a project with feeds a table without a column that"
        " it must have, or with something else in one, is an error. All other columns are yours.",
        _table(
            ("table", "must have", "may have"),
            ((f"`{key}`", *map(_kinds, columns)) for key, columns in REPORT_COLUMNS.items()),
        ),
        "## The contract of a feed",
        "In the YAML of its source, under `config: meta: feed:` of the table. What each means for a file:"
        " [the contract](feed-contract.md).",
        _table(with_default, _rows("contract", words, _contract_defaults(feed))),
        f"Of a column, under `config: meta:` beside its `data_type`, which is one of {_listed(KINDS)}:",
        _table(with_default, _rows("contract_column", words, _column_defaults(feed))),
        "Of one of the `mappings`:",
        _named("setting", "mapping", words, MAPPING_SETTINGS),
        *_node_settings(words),
        "## Meta",
        "What kpi reads of `meta`; all else in it is yours.",
        _named("key", "meta", words, words["meta"]),
        "## Environment",
        _named("variable", "environment", words, words["environment"]),
    ]
    return _page(lines)


def _node_settings(words: Words) -> list[str]:
    """The settings of models, seeds, snapshots, sources and data tests, with which of them each is of."""
    of_kind: dict[str, list[str]] = {}
    for kind, names in _KINDS.items():
        for name in names:
            if name not in properties.NO_EFFECT or (kind, name) == ("source", "freshness"):
                of_kind.setdefault(name, []).append(kind)
    rows = _rows("node", words, dict.fromkeys(of_kind))
    return [
        "## Models",
        "And seeds, snapshots, sources and data tests: in `config()`, in the `config:` of their YAML, or by folder in"
        " `dbt_project.yml`, with dbt's rules for which goes before which.",
        _table(
            ("setting", "of a", "what"), ((name, ", ".join(of_kind[name.strip("`")]), what) for name, _, what in rows)
        ),
        "Known to dbt and without effect here, so that a project that has them still builds: "
        f"{_listed(sorted(properties.NO_EFFECT))}.",
    ]


def _named(head: str, group: str, words: Words, names: Iterable[str]) -> str:
    """The table of a group of settings that have no defaults."""
    return _table((head, "what"), ((name, what) for name, _, what in _rows(group, words, dict.fromkeys(names))))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rows(group: str, words: Words, known: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """A row for each setting: its name, its default, and what is said of it. Raises ValueError when they differ."""
    said = words[group]
    if wrong := sorted(set(known) ^ set(said)):
        raise ValueError(f"{DESCRIPTIONS.name}, {group}: said and known settings differ in {', '.join(wrong)}.")
    return [(f"`{name}`", _shown(usual), said[name]) for name, usual in known.items()]


def _shown(value: object) -> str:
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    return "" if value in (None, "", ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _usual_feed() -> Feed:
    """A feed whose contract says no more than it must, so that all else in it is a default."""
    nothing = Section(Path("feed.yml"), 1)
    contract, required = Section(nothing.file, 1), Section(nothing.file, 1)
    contract["feed"] = Section(nothing.file, 1)
    contract["feed"]["key"] = Items(["id"], [1])
    required["required"] = True
    columns = (Column("id", "text", "", required, 1), Column("other", "text", "", nothing, 1))
    about = Properties("feed", "", columns, (), {}, nothing.file, 1)
    return read_feed(Source("raw", "feed", "raw", "feed", (), about, contract))


def _contract_defaults(feed: Feed) -> dict[str, object]:
    late, very_late = zip(*GRACE.values(), strict=True)
    found = {
        "time_zone": feed.time_zone,
        "reject_threshold": f"{{share: {feed.reject_share}, rows: {feed.reject_rows}}}",
        "expected_every": feed.expected_every,
        "late_after_days": ", ".join(map(str, late)),
        "very_late_after_days": ", ".join(map(str, very_late)),
        "skip_lines": feed.dialect.skip_lines,
        "newer_by": feed.newer_by,
        "lookalikes": feed.columns[1].rules.lookalikes,
        "total_words": ", ".join(feed.total_words),
    }
    return {name: found.get(name) for name in CONTRACT_SETTINGS}


def _column_defaults(feed: Feed) -> dict[str, object]:
    column = feed.columns[1]
    own = {"min": column.minimum, "max": column.maximum, "lookalikes": None, "format": column.rules.formats}
    return {
        name: own[name] if name in own else getattr(column, name, getattr(column.rules, name, None))
        for name in CONTRACT_COLUMN_SETTINGS
    }


def spark_page() -> str:
    """What is translated for Spark, what is refused for it and the settings of the session."""
    rules = {rule.name: rule for rule in TRANSLATED}
    lines = [
        "# SQL on Spark",
        _WRITTEN.format(what="RULES in src/kpi/engine/spark_sql.py and spark_refusals.py"),
        "Models and tests are written in DuckDB's SQL. For Spark ([when one machine is not"
        " enough](../guides/more-than-one-machine.md)) they are translated so that every row and cell is the same, or"
        " refused before anything runs: `kpi compile --engine spark` looks at the whole project and needs no Spark;"
        " with a MODEL it prints what Spark gets. The tests ask both engines all of it (`make parity`).",
        "## Translated",
        "sqlglot spells SQL in Spark's words; these are rewritten because the words mean something else there.",
        _table(("rule", "in DuckDB", "in Spark"), ((one.name, one.duckdb, one.spark) for one in rules.values())),
        "## Refused",
        "Spark would take most of it without a word and yield other numbers. So would what is outside the portable"
        " subset of the house rules, which is refused as well. A model is let off one rule by"
        ' `meta: {allow: {<rule>: "<reason>"}}`; data tests are let off `double_sum`.',
        _table(
            ("rule", "what", "why", "instead"),
            ((name, rule.construct, rule.difference, rule.instead) for name, rule in REFUSED.items()),
        ),
        "## What the session must be set to",
        "Spark's defaults yield other numbers. `kpi refresh --engine spark` sets them.",
        _table(("setting", "value"), ((f"`{name}`", f"`{value}`") for name, value in SETTINGS.items())),
        "## What remains",
        "A DOUBLE of more than fifteen digits has other last places as a DECIMAL. An average of whole numbers is the"
        " same as long as their sum is below 2^53. A number that overflows fails in Spark where a HUGEINT holds it in"
        " DuckDB; Sail 0.7 counts on below zero instead, so what runs there is no proof for big sums. A division by"
        " zero fails in Spark and is infinite in DuckDB: write nullif, as the house rules ask.",
    ]
    return _page(lines)


def figures_page(words: Words) -> str:
    """Every figure of the project's seeds, and every mart and raw table with its columns as YAML describes them."""
    figures, services = _seed("figures"), _seed("figure_services")
    head = ("figure", "name", "what it counts", "unit", "basis", "better", "since", "of")
    lines = [
        "# Figures and marts",
        _WRITTEN.format(what="the seeds figures and figure_services, and the YAML of the marts"),
        "[What a figure is](../concepts/what-a-figure-is.md) explains the columns; `kpi show FIGURE` prints"
        " the values.",
        "## Figures",
    ]
    for family in dict.fromkeys(figure["family"] for figure in figures):
        of_family = (_figure(figure, services) for figure in figures if figure["family"] == family)
        lines += [f"### {family.replace('_', ' ')}", _table(head, of_family)]
    project = load_project(ROOT)
    return _page([*lines, *_marts(project), *_raw_tables(project, words)])


def _marts(project: Project) -> Iterator[str]:
    """The marts in order of their names; columns that an earlier one has as well are not listed again."""
    yield "## Marts"
    yield "What readers open in the schema `marts`, each table with the grain that its description names."
    nodes = compile_project(project).nodes.values()
    marts = [node for node in nodes if node.kind == "model" and node.relation.schema == "marts"]
    first: dict[str, str] = {}
    for node in sorted(marts, key=lambda node: node.name):
        rows = [(f"`{column.name}`", column.data_type, column.description) for column in node.columns]
        columns = _table(("column", "type", "what"), rows)
        same = first.setdefault(columns, node.name)
        yield f"### {node.name}"
        yield _line(node.description)
        yield columns if same == node.name else f"Its columns are those of [`{same}`](#{_slug(same)})."
    names = ", ".join(f"`{name}`" for name in RESERVED_TABLES)
    yield (
        f"kpi itself writes {names}: the results of the [validation](validation.md), why"
        " [released figures](../guides/release-a-year.md) differ, and the [runs](../concepts/builds.md#runs)."
    )


def _raw_tables(project: Project, words: Words) -> Iterator[str]:
    """The raw tables that are no feed's, in the words of the project's YAML, or in ours where it has none."""
    yield "## Raw tables"
    yield (
        "Besides one table a [feed](feeds.md), with the columns of its contract and"
        " [those that kpi adds](feed-contract.md#raw-tables):"
    )
    described = {source.name: source.properties for source in project.sources}
    for name, columns in OWN.items():
        about = described.get(name)
        if about is None:
            rows = [(f"`{column}`", kind.lower(), words[name][column]) for column, kind in columns]
        else:
            rows = [(f"`{column.name}`", column.data_type, column.description) for column in about.columns]
        yield f"### raw.{name}"
        yield _line(about.description if about else words["tables"][name])
        yield _table(("column", "type", "what"), rows)


def feeds_page() -> str:
    """Every feed of the project with the columns of its contract, for who delivers its files."""
    project = load_project(ROOT)
    lines = [
        "# Feeds",
        _WRITTEN.format(what="the contracts in models/staging"),
        "What the files of each feed hold. How they may be written: [the contract of a feed](feed-contract.md)."
        " A column may have any of its names in the header.",
    ]
    for source in sorted((source for source in project.sources if is_feed(source)), key=lambda source: source.name):
        feed = read_feed(source)
        lines += [f"## {feed.name}", _line(source.properties.description), _promise(feed)]
        about = {column.name: column.description for column in source.properties.columns}
        rows = [(*_names(column), about[column.name], ", ".join(column.codes)) for column in feed.columns]
        lines.append(_table(("column", "other names", "type", "required", "what", "codes"), rows))
    return _page(lines)


def _promise(feed: Feed) -> str:
    """What identifies a row of a feed, and when rows are expected."""
    every = {"month": "expected every month", "year": "expected every year", "once": "a register"}[feed.expected_every]
    since = f" from {feed.expected_from}" if feed.expected_from else ""
    census = f", replaced a whole census (`{feed.census}`) at a time" if feed.census else ""
    key = ", ".join(f"`{name}`" for name in feed.key)
    return f"Folder `warehouse/raw/{feed.name}/`. Key: {key}. It is {every}{since}{census}."


def _names(column: FeedColumn) -> tuple[str, str, str, str]:
    aliases = ", ".join(f"`{name}`" for name in column.aliases)
    return f"`{column.name}`", aliases, column.kind, "yes" if column.required else ""


def _figure(figure: Mapping[str, str], services: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    of = [row["service"] for row in services if row["figure_id"] == figure["figure_id"]]
    name = f"{figure['name_en']} ({figure['name_fi']})"
    parts = ("definition_en", "unit", "basis", "good_direction", "since")
    return (f"`{figure['figure_id']}`", name, *(figure[part] for part in parts), ", ".join(of))


def _seed(name: str) -> list[dict[str, str]]:
    with (ROOT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = (" | ".join(_line(cell).replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {row} |" for row in cells)])


def _line(text: str) -> str:
    """A text in one line; what stands in angle brackets outside code is no HTML."""
    return re.sub(r"`[^`]*`|<", lambda found: "&lt;" if found[0] == "<" else found[0], " ".join(text.split()))


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(letter for letter in heading.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _words() -> Any:
    return yaml.safe_load(DESCRIPTIONS.read_text(encoding="utf-8"))


# Each page that is generated, and what writes its text.
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/exit-codes.md": exit_code_page,
    "reference/settings.md": lambda: settings_page(_words()),
    "reference/feeds.md": feeds_page,
    "reference/spark.md": spark_page,
    "reference/figures.md": lambda: figures_page(_words()),
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
