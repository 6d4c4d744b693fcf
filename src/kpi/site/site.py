"""The site of a build: pages in three languages and the files they offer, static and the same from the same build.

Everything a page needs stands in it, so that it opens from a disk on a closed network. Its policy allows its own style
and, on one page, its own script, each by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.files import checksum
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, visible
from kpi.site.content import Content, Row, has_values, read_content
from kpi.site.model_pages import Models
from kpi.site.pages import About, Download, Page, Site, Source, figure_file, read_rejects
from kpi.site.sentences import read_language, read_sentences, typed_numbers
from kpi.warehouse.builds import PAGES

if TYPE_CHECKING:
    from jinja2 import Environment, Template

    from kpi.settings import ReportTables

TEMPLATES = Path(__file__).parent / "templates"
FOLDER = PAGES
EXPECTATIONS = "expectations.json"  # what was found when the years of a build were validated, beside its site
FINGERPRINT = "fingerprint"
_STYLE, _POLICY = "\0style\0", "\0policy\0"
_SHORT = 100  # characters of a text that is remembered escaped
_PLACED = re.compile(r'class="(?:mark )?([lt]\d{1,3})"')
_CLASSES, _ELEMENTS = re.compile(r'class="([^"]+)"'), re.compile(r"<([a-z]\w*)")
_BESIDES = re.compile(r"::?[\w-]+(?:\([^)]*\))?|\[[^\]]*\]")  # of a selector: pseudo-classes and attributes


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """A project as a site needs it: its folder, what it calls its tables, and all of them where they are shown."""

    root: Path
    tables: ReportTables
    models: Models = field(default_factory=Models)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The site of the build before: its folder, and of each page, by its path, a checksum of what it shows.

    `inputs` are those of what pages are made from, of those that need not be worked out to know that.
    """

    folder: Path
    checksums: Mapping[str, str]
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: pages, bytes in all, those of the largest page, and what writers of texts should know.

    `checksums` and `inputs` are as in `Earlier`; `carried` counts the pages of the build before.
    """

    pages: int
    bytes: int
    largest: int
    warnings: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    carried: int = 0


def write_site(
    folder: Path,
    con: duckdb.DuckDBPyConnection,
    project: ProjectFiles,
    about: About,
    results: Sequence[Row] = (),
    earlier: Earlier | None = None,
) -> Written | None:
    """Write the site of a build into a folder, made when missing; None, and nothing, when the build has no figures.

    A page that shows what it showed in the build before is that page: it says of which build it was written.

    Args:
        folder: gets a folder a language, and `data`.
        con: the build; it is only read.
        project: the folder with the sentences, what it calls its tables, and its models.
        about: what every page says of the build. A public site shows the public table, and neither checks nor models.
        results: what was found when the years were judged, as in expectations.json.
        earlier: the site of the build before, which this kpi wrote.
    """
    if not (results or about.is_public or has_values(con, project.tables)):
        return None
    content = read_content(con, project.tables, about.is_public)
    if not content.values and not results:
        return None
    is_open = about.is_public
    rejects = [] if is_open else read_rejects(con)
    source = Source(content, about, read_sentences(project.root), () if is_open else results, rejects,
                    Models() if is_open else project.models)  # fmt: skip
    files = data_files(content)
    downloads = [Download(path, label, len(text.encode()), figure) for path, label, figure, text in files]
    source = replace(source, downloads=downloads)
    for path, _, _, text in files:
        _write(folder / path.removeprefix("../"), text)
    checksums, inputs = dict[str, str](), dict[str, str]()
    sizes, carried = list[int](), 0
    of_figures, of_models = source.of_figures(), source.models.checksums()
    for code in LANGUAGES:
        site = Site(source, read_language(code), of_figures, of_models)
        around, frame = _around(site), _frame(site)
        for draft in site.drafts():
            name = f"{code}/{draft.path}"
            if draft.inputs:
                inputs[name] = _inputs(around, draft.inputs)
            page = None
            if earlier and name in earlier.checksums and name in inputs and earlier.inputs.get(name) == inputs[name]:
                checksums[name] = earlier.checksums[name]
            else:
                page = draft.make()
                checksums[name] = _checksum(around, page)
            if earlier and earlier.checksums.get(name) == checksums[name]:
                with suppress(OSError):
                    sizes.append(_link(earlier.folder / name, folder / name))
                    carried += 1
                    continue
            sizes.append(_write(folder / name, render(frame, page or draft.make())))
    total = sum(sizes) + sum(one.size for one in downloads)
    return Written(len(sizes), total, max(sizes), tuple(_warnings(source)), checksums, inputs, carried)


def _around(site: Site) -> str:
    """Return what all pages of a language show beside their own, save build and day."""
    about = site.source.about
    return repr((site.menu(), site.source.content.publication, about.is_synthetic, about.is_public))


def _inputs(around: str, inputs: str) -> str:
    """Return a hash of what a page is made from, with what is around it."""
    return checksum(f"{around}\0{inputs}", 12)


def _checksum(around: str, page: Page) -> str:
    """Return a hash of what a page shows, with what is around it."""
    shown = repr((page.path, page.template, page.heading, page.crumbs, page.values))
    return checksum(f"{around}\0{shown}", 12)


def _warnings(source: Source) -> Iterable[str]:
    for code in LANGUAGES:
        for year in source.content.years():
            for place, text, key in typed_numbers(source.sentences, source.content, year, read_language(code)):
                figure, service, *_ = key
                yield f"{place}: '{text}' is typed and would not follow its figure. Write: {{{figure}.{service}}}"


def _write(path: Path, text: str) -> int:
    """Write a page and return its bytes. What has its name may be a page of another build too, which must stay."""
    content = text.encode()
    try:
        stream = path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("xb")
    except FileExistsError:
        path.unlink()
        stream = path.open("xb")
    with stream:
        stream.write(content)
    return len(content)


def _link(source: Path, target: Path) -> int:
    """Let a page of another build be one of this too, or copy it; returns its bytes. Raises OSError without one."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        if target.parent.is_dir():
            raise
        target.parent.mkdir(parents=True)
        return _link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return os.stat(target).st_size


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from jinja2.compiler import CodeGenerator
    from markupsafe import Markup, escape

    @lru_cache(1 << 14)
    def short(text: str) -> Markup:
        return escape(visible(text))

    def escaped(value: Any) -> Markup:
        """Escape what a page shows; names, labels and small numbers stand on many pages, and are escaped once."""
        kind = type(value)
        if kind is Markup:
            return value  # type: ignore[no-any-return]
        if kind is str:
            return short(value) if len(value) < _SHORT else escape(visible(value))
        return escape(value)

    class Generator(CodeGenerator):
        """Leaves out Jinja's own escaping of what `escaped` has escaped: for each value it made the same again.

        Should a later Jinja not ask for this any more, pages are written more slowly, and as they were.
        """

        def _output_child_pre(self, node: Any, frame: Any, finalize: Any) -> None:
            self.write(f"({finalize.src}")

    class Pages(Environment):
        """What a template asks of a row is the row's before it is a method of all rows."""

        code_generator_class = Generator

        def getattr(self, obj: Any, attribute: str) -> Any:
            if type(obj) is dict and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    return Pages(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=escaped,
    )


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule of the style: the media query it stands in, what each of its selectors needs on a page, and its text."""

    media: str
    needs: tuple[frozenset[str], ...]
    text: str


@cache
def _rules() -> tuple[_Rule, ...]:
    """Return the rules of the style. An at-rule that is no media query has no needs, and is always there."""
    text = "".join(line.strip() for line in (TEMPLATES / "style.css").read_text(encoding="utf-8").splitlines())
    found = []
    for media, inner, plain in re.findall(r"(@media[^{]*)\{((?:[^{}]*\{[^{}]*\})*)\}|([^{}@]*\{[^{}]*\})", text):
        for rule in re.findall(r"@?[^{}]*\{[^{}]*\}", inner or plain):
            selectors = rule.partition("{")[0].split(",")
            needs = [frozenset(re.findall(r"\.?[a-zA-Z][\w-]*", _BESIDES.sub("", one))) for one in selectors]
            found.append(_Rule(media, (frozenset(),) if rule.startswith("@") else tuple(needs), rule))
    return tuple(found)


@cache
def _style_for(present: frozenset[str]) -> str:
    """Return the rules that say something of a page with these elements and classes."""
    parts, media = [], ""
    for rule in _rules():
        if not any(need <= present for need in rule.needs):
            continue
        if rule.media != media:
            parts.append(("}" if media else "") + (f"{rule.media}{{" if rule.media else ""))
            media = rule.media
        parts.append(rule.text)
    return "".join(parts) + ("}" if media else "")


@cache
def _style_names() -> frozenset[str]:
    """Return the elements and classes that the style speaks of."""
    return frozenset[str]().union(*(need for rule in _rules() for need in rule.needs))


def _present(text: str) -> frozenset[str]:
    """Return the elements and classes of a page, of those that the style speaks of."""
    classes = {f".{name}" for names in set(_CLASSES.findall(text)) for name in names.split()}
    return _style_names() & (classes | set(_ELEMENTS.findall(text)))


@cache
def _text(name: str) -> str:
    """Return a style or script without the ends of its lines."""
    return "".join(line.strip() for line in (TEMPLATES / name).read_text(encoding="utf-8").splitlines())


def _frame(site: Site) -> Row:
    """Return what the templates of all pages of a language are given."""
    from markupsafe import Markup

    return {
        "c": site.source.content,
        "l": site.language,
        "t": site.language.labels,
        "about": site.source.about,
        "languages": [(code, read_language(code).say("language")) for code in LANGUAGES],
        "menu": site.menu(),
        "style": Markup(_STYLE),
        "policy": Markup(_POLICY),
    }


def render(frame: Row, page: Page) -> str:
    """Return a page as HTML."""
    from markupsafe import Markup

    script = _text("search.js") if page.template == "list.html" else ""
    text = _template(page.template).render(
        {
            **frame,
            "languages": [(code, name, f"../{code}/{page.path}") for code, name in frame["languages"]],
            "path": page.path,
            "crumbs": page.crumbs,
            "heading": page.heading,
            "script": Markup(script),
            **page.values,
        }
    )
    placed = sorted(set(_PLACED.findall(text)))
    placed_rules = (f".{name}{{{'left' if name[0] == 'l' else 'top'}:{name[1:]}%}}" for name in placed)
    style = "".join([_style_for(_present(text)), *placed_rules])
    allowed = [f"style-src {_hash(style)}", *([f"script-src {_hash(script)}"] if script else [])]
    policy = "; ".join(["default-src 'none'", *allowed, "img-src data:", "base-uri 'none'", "form-action 'none'"])
    return text.replace(_STYLE, style, 1).replace(_POLICY, policy, 1)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def data_files(content: Content) -> list[tuple[str, str, str, str]]:
    """Return the files that pages offer: path from a page, label, figure when it is of one, and its text."""
    header = ("figure_id", "service", "report_year", "basis", "month", "value")
    years = [(*key[:4], "", value.shown) for key, value in sorted(content.values.items()) if not value.is_suppressed]
    months = [
        (figure, service, row["report_year"], "", row["month"], row["shown"])
        for (figure, service), rows in sorted(content.series.items())
        for row in rows
        if row["is_full_month"] is not False
    ]
    files = [("../data/indicators.csv", "csv_indicators", "", _csv(header, years))]
    words = ("figure_id", "unit", "name_fi", "name_sv", "name_en", "definition_fi", "definition_sv", "definition_en")
    described = [tuple(row[name] for name in words) for row in content.figures.values()]
    files.append(("../data/definitions.csv", "csv_definitions", "", _csv(words, described)))
    by_figure: dict[str, list[tuple[Any, ...]]] = {figure: [] for figure in content.figures}
    for row in (*years, *months):
        by_figure.setdefault(row[0], []).append(row)
    files += [(figure_file(figure), "csv_of_figure", figure, _csv(header, rows)) for figure, rows in by_figure.items()]
    return files


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def fingerprint_of(versions: Mapping[str, str], root: Path, results: str, *more: str) -> str:
    """Return a hash of what a site is made from: versions of tables, sentences, what was judged, and whatever more.

    What the page of a model alone shows of it is not in it.
    """
    from kpi.site.sentences import files

    digest = hashlib.blake2b(digest_size=16)
    for name, version in sorted(versions.items()):
        digest.update(f"{name}={version}\n".encode())
    for path in files(root):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    for text in (results, *more):
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def write_fingerprint(folder: Path, fingerprint: str, models: Models, pages: Earlier | Written, code: str) -> None:
    """Note what the site in a folder was made from.

    A line each: its fingerprint; the checksums of its models; the hash of kpi's code, the checksums of its `pages` and
    of what they are made from.
    """
    noted = [code, dict(pages.checksums), dict(pages.inputs)]
    lines = [fingerprint, json.dumps(models.checksums(), sort_keys=True), json.dumps(noted)]
    (folder / FINGERPRINT).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_earlier(before: Path, code: str) -> Earlier | None:
    """Return the site of a build, when it was written by kpi of this code; None when there is none."""
    try:
        noted = json.loads((before / FOLDER / FINGERPRINT).read_text(encoding="utf-8").splitlines()[2])
        return Earlier(before / FOLDER, dict(noted[1]), dict(noted[2])) if code and noted[0] == code else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def carry_over(before: Path, folder: Path, fingerprint: str) -> dict[str, str] | None:
    """Let the pages of a build that was made from the same be those of this one; returns the checksums of its models.

    None when there is none: nothing is there then.
    """
    try:
        lines = (before / FOLDER / FINGERPRINT).read_text(encoding="utf-8").splitlines()
        found = dict(json.loads(lines[1]))
    except (OSError, ValueError, IndexError, TypeError):
        return None
    if lines[0] != fingerprint:
        return None
    for place, folders, names in os.walk(before / FOLDER):
        here = folder / FOLDER / Path(place).relative_to(before / FOLDER)
        here.mkdir()
        folders.sort()
        for name in names:
            if name != FINGERPRINT:
                _link(Path(place, name), here / name)
    return found


def write_model_pages(
    folder: Path,
    con: duckdb.DuckDBPyConnection,
    project: ProjectFiles,
    about: About,
    names: Iterable[str],
    earlier: Earlier | None,
) -> Earlier:
    """Write the pages of some tables anew into a site that is there, the `earlier` one; returns what it is then."""
    known = earlier or Earlier(folder, {}, {})
    wanted = list(names)
    if not wanted:
        return known
    checksums, inputs, of_models = dict(known.checksums), dict(known.inputs), project.models.checksums()
    content = read_content(con, project.tables, about.is_public, only_around=True)
    source = Source(content, about, read_sentences(project.root), read_results(folder.parent, EXPECTATIONS),
                    models=project.models)  # fmt: skip
    for code in LANGUAGES:
        site = Site(source, read_language(code))
        around, frame = _around(site), _frame(site)
        for name in wanted:
            page = site.model(name)
            path = f"{code}/{page.path}"
            checksums[path] = _checksum(around, page)
            inputs[path] = _inputs(around, of_models[name])
            _write(folder / code / page.path, render(frame, page))
    return Earlier(known.folder, checksums, inputs)


def read_results(folder: Path, name: str) -> list[Row]:
    """Return what was found when the years of a build were judged; nothing when they were not."""
    try:
        return list(json.loads((folder / name).read_text(encoding="utf-8")))
    except OSError:
        return []
