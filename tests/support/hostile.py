"""Hostile deliveries: every form and every kind of dirt that the reference text has a definite answer for.

    write_hostile(folder, seed=7)            # folder/<feed>/*.csv and *.csv.gz, several files a feed
    clean_file("calls", seed=7, rows=1000)   # the bytes of a well-formed canonical file
    mutations(clean, seed=7)                 # the same with one byte changed, without end
    cells(CONTRACTS["calls"].column("arrived_at"))   # hypothesis: one cell, right or nearly

Everything follows from the seed. What the answer is, the oracle says; nothing here knows it.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from random import Random

from hostile_cells import canonical, forms, nearly
from hostile_rows import TEXTS, make_row
from oracle_contracts import CONTRACTS, SIX_FEEDS, Column, Contract, Record, Value
from oracle_text import SEPARATORS

# --- How it is written: one file


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is written."""

    encoding: str  # a codec; utf-8-sig and utf-16 write a byte order mark
    separator: str
    line_ends: tuple[str, ...]
    quoted: float  # how often a cell is quoted that need not be
    padded: float  # how often there are blanks around a cell
    varied: bool  # every form of a value, or the canonical one
    dirt: float  # how often a cell is one that its column does not take
    has_final_line_end: bool = True


CLEAN = Style("utf-8", ",", ("\n",), 0, 0, False, 0)


def _style(random: Random, dirt: float) -> Style:
    return Style(
        encoding=random.choice(("utf-8", "utf-8", "utf-8-sig", "cp1252", "iso-8859-15", "utf-16", "cp850")),
        separator=random.choice(SEPARATORS),
        line_ends=random.choice((("\n",), ("\r\n",), ("\r",), ("\n", "\r\n"), ("\n", "\r\n", "\r"))),
        quoted=random.choice((0, 0.1, 1)),
        padded=random.choice((0, 0.1, 0.5)),
        varied=random.random() < 0.9,
        dirt=random.choice((0, dirt, dirt, 3 * dirt)),
        has_final_line_end=random.random() < 0.7,
    )


def _blanks(style: Style, random: Random, is_inside: bool = False) -> str:
    if random.random() >= style.padded:
        return ""
    letters = " " if style.separator == "\t" and not is_inside else " \t"
    return "".join(random.choices(letters, k=random.randint(1, 3)))


def _write_cell(text: str, style: Style, random: Random) -> str:
    """A cell with its layout: quoted when it must be and sometimes when it need not."""
    must = any(letter in text for letter in (style.separator, "\n", "\r")) or text[:1] == '"' or text[:1] in ("\t", " ")
    if must or random.random() < style.quoted:
        inside = _blanks(style, random, True) + text.replace('"', '""') + _blanks(style, random, True)
        text = f'"{inside}"'
    return _blanks(style, random) + text + _blanks(style, random)


def _cell_text(column: Column, value: Value, style: Style, random: Random) -> str:
    if random.random() < style.dirt and (wrong := nearly(column)):
        return random.choice(wrong)
    if not style.varied:
        return canonical(value)
    if isinstance(value, datetime) and random.random() < 0.2:
        value = value.replace(second=0)
    return random.choice(forms(column, value))


UNKNOWN_NAMES = (
    "huom",
    "",
    "CALL_ID",
    "id",
    "Arrived_At",
    "x y",
    "a;b,c",
    "sarake\n2",
    'nimi "x"',
    "arrived_at,answered_at",
)


def write_text(
    contract: Contract,
    rows: Iterable[Record],
    style: Style,
    random: Random,
    spoil: Callable[[list[str], Random], list[str]] | None = None,
) -> str:
    """A file's text with a header; the columns' order, names and company vary when the style does.

    `spoil` may change the names in the header, and so make it one that refuses the file.
    """
    columns: list[Column | None] = list(contract.columns)
    if style.varied:
        columns = [each for each in columns if each is None or each.required or random.random() < 0.9]
        columns += [None] * random.choice((0, 0, 1, 2))
        random.shuffle(columns)
    unknown = random.sample(UNKNOWN_NAMES, k=len(UNKNOWN_NAMES))
    names = [_name(contract, column, style, random) if column else unknown.pop() for column in columns]
    if spoil:
        names = spoil(names, random)

    lines = [[_write_cell(name, style, random) for name in names]]
    for row in rows:
        texts = [
            _cell_text(column, row[column.name], style, random) if column else random.choice(TEXTS)
            for column in columns
        ]
        texts += [""] * (len(names) - len(columns))
        line = [_write_cell(text, style, random) for text in texts]
        if random.random() < style.dirt / 3:
            line = random.choice((line[:-1], [*line, ""], line[1:], [*line, *line]))
        if random.random() < style.dirt / 5:  # a quote that encloses nothing
            place = random.randrange(len(line))
            line[place] = random.choice(('{}"', '"{}', 'x"{}', '"x"{}', '{}""', '"{}" x')).format(line[place])
        lines.append(line)
    return _join(lines, style, random)


def _name(contract: Contract, column: Column, style: Style, random: Random) -> str:
    aliases = [alias for alias, name in contract.aliases.items() if name == column.name]
    return random.choice((column.name, *aliases)) if style.varied else column.name


def _join(lines: Sequence[Sequence[str]], style: Style, random: Random) -> str:
    blank = ("", " ", "   ") if style.separator == "\t" else ("", " ", "\t", " \t ")
    pieces: list[str] = []
    for line in lines:
        while style.varied and random.random() < 0.03:
            pieces += [random.choice(blank), random.choice(style.line_ends)]
        pieces += [style.separator.join(line), random.choice(style.line_ends)]
    if style.varied and random.random() < 0.2:
        pieces += [random.choice(blank), random.choice(style.line_ends)] * random.randint(1, 3)
    return "".join(pieces if style.has_final_line_end else pieces[:-1])


def encode(text: str, style: Style) -> bytes:
    """The text's bytes; a letter that the encoding lacks becomes a question mark."""
    return text.encode(style.encoding, errors="replace")


# --- Files that are refused


def _drop_required(contract: Contract) -> Callable[[list[str], Random], list[str]]:
    def spoil(names: list[str], random: Random) -> list[str]:
        known = {column.name for column in contract.columns if column.required}
        known |= {alias for alias, name in contract.aliases.items() if name in known}
        place = random.choice([place for place, name in enumerate(names) if name in known])
        changed = (
            names[place].swapcase(),
            names[place] + "x",
            "",
            names[place].replace("_", " ") + "?",
            "\u00a0" + names[place],
        )
        return [*names[:place], random.choice(changed), *names[place + 1 :]]

    return spoil


def _name_twice(contract: Contract) -> Callable[[list[str], Random], list[str]]:
    def spoil(names: list[str], random: Random) -> list[str]:
        column = random.choice(contract.columns)
        aliases = [alias for alias, name in contract.aliases.items() if name == column.name]
        again = random.choice((column.name, *aliases))
        # An optional column may be absent: then naming it once would do no harm.
        return [*names, again] if {column.name, *aliases} & set(names) else [*names, again, column.name]

    return spoil


def refused_files(contract: Contract, random: Random, rows: Sequence[Record]) -> list[tuple[str, bytes]]:
    """A name ending and the bytes of files that are refused, one of each kind."""
    style = _style(random, 0)
    good = write_text(contract, rows, CLEAN, random)
    packed = gzip.compress(good.encode(), mtime=0)
    return [
        (".csv", encode(write_text(contract, rows, style, random, _drop_required(contract)), style)),
        (".csv", encode(write_text(contract, rows, style, random, _name_twice(contract)), style)),
        (".csv", random.choice((b"", b"\n", b" \r\n \r", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b" "))),
        (".csv", good.replace(",", "|").encode()),
        (".csv", good.partition("\n")[2].encode()),  # no header: its first row is taken for one
        (".csv", good.encode("utf-16-le")),
        (".csv", good.partition("\n")[0].replace(",", ";", 1).encode() + b"\n1;2,3\n\n4,5;6\n"),
        (".csv.gz", packed[: random.randrange(len(packed))]),
        (".csv.gz", packed[: len(packed) - random.randint(1, 8)]),
        (".csv.gz", packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:])),
        (".csv.gz", good.encode()),
    ]


# --- Deliveries

STEMS = ("2023", "2024", "2024-korjaus", "2024_1", "10", "9", "a", "B", "z", "vuosi 2025", "ä", "_", "2024.uusi", "è")


def write_hostile(
    folder: Path,
    seed: int,
    rows: int = 300,
    feeds: Sequence[str] = SIX_FEEDS,
    aliases: Mapping[str, Mapping[str, str]] | None = None,
    dirt: float = 0.02,
) -> tuple[Path, ...]:
    """Write deliveries of some feeds under `folder/<feed>/`, about so many rows each; returns the files.

    Each feed has clean files, files in every form, corrections of both in files that sort before and after, and two
    refused files. `aliases` is by feed, alias to column name, as the contract knows them; `dirt` is how often a cell
    is spoilt.
    """
    return tuple(
        itertools.chain.from_iterable(
            _write_feed(folder / feed, CONTRACTS[feed].with_aliases((aliases or {}).get(feed, {})), seed, rows, dirt)
            for feed in feeds
        )
    )


def _write_feed(folder: Path, contract: Contract, seed: int, size: int, dirt: float) -> list[Path]:
    random = Random(f"{contract.feed}/{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    stems = random.sample(STEMS, k=random.randint(4, 7))
    parts: list[list[Record]] = [[] for _ in stems]
    for _ in range(size):
        row = make_row(contract, random, 2 * size)
        parts[random.randrange(len(parts))].append(row)
        if random.random() < 0.2:  # delivered again, the same or with one column put right
            other = make_row(contract, random, 2 * size)
            free = [column.name for column in contract.columns if column.name not in contract.key]
            name = random.choice([*free, contract.key[0]])
            parts[random.randrange(len(parts))].append(row | {name: other[name]})

    contents: list[tuple[str, bytes]] = []
    for index, (stem, part) in enumerate(zip(stems, parts, strict=True)):
        if index == 0:
            contents.append((f"{stem}.csv", _clean(contract, part, random)))
            continue
        style = _style(random, dirt)
        data = encode(write_text(contract, part, style, random), style)
        if random.random() < 0.25:
            contents.append((f"{stem}.csv.gz", gzip.compress(data, mtime=0)))
        else:
            is_raw = style.encoding not in ("utf-8-sig", "utf-16") and random.random() < 0.2
            contents.append((f"{stem}.csv", _raw_bytes(data, random) if is_raw else data))
    sample = parts[0][:5]
    for number, (ending, data) in enumerate(random.sample(refused_files(contract, random, sample), k=2)):
        contents.append((f"{random.choice(STEMS)}-{number}{ending}", data))

    written = []
    for name, data in contents:
        path = folder / name
        path.write_bytes(data)
        written.append(path)
    (folder / "lueminut.txt").write_text("not a delivery\n")
    (folder / "arkisto").mkdir(exist_ok=True)
    (folder / "arkisto" / "vanha.csv").write_bytes(contents[0][1])
    return written


def _raw_bytes(data: bytes, random: Random) -> bytes:
    """The same with a few bytes above ASCII put in somewhere after the header, some with no meaning in Windows-1252."""
    start = max(data.find(b"\n"), data.find(b"\r")) + 1
    for _ in range(random.randint(1, 3)):
        place = random.randrange(start, len(data) + 1)
        data = data[:place] + bytes([random.choice((0x80, 0x81, 0x8D, 0x9D, 0xA4, 0xA0, 0xE4, 0xFF))]) + data[place:]
    return data


def _clean(contract: Contract, rows: Iterable[Record], random: Random) -> bytes:
    return write_text(contract, rows, CLEAN, random).encode()


def clean_rows(contract: Contract, random: Random, size: int, clock_changes: bool = True) -> list[Record]:
    """Rows that a loader takes as they are: keys unique, times in order as written, texts that need no quotes.

    With clock changes a few times are among those that the clock skips or shows twice; a row may be rejected for it.
    """
    rows: dict[tuple[Value, ...], Record] = {}
    for number in range(size):
        row = make_row(contract, random, 10 * size)
        for column in contract.columns:
            value = row[column.name]
            if column.type == "text" and value is not None:
                row[column.name] = f"{column.name[0]}{number:07}"
            if isinstance(value, datetime) and value.hour == 3 and not clock_changes:
                row[column.name] = value.replace(hour=12)
        times = [name for name in contract.order if row[name] is not None]
        for earlier, later in itertools.pairwise(times):
            first, second = row[earlier], row[later]
            if isinstance(first, date) and isinstance(second, date) and second < first:
                name, day = (earlier, second) if contract.census else (later, first)
                row[name] = day
        if all(1990 <= day.year <= 2099 for day in row.values() if isinstance(day, date)):
            rows[tuple(row[name] for name in contract.key)] = row
    return list(rows.values())


def clean_file(feed: str, seed: int, rows: int = 300, clock_changes: bool = True) -> bytes:
    """A canonical file: UTF-8, commas, LF, the contract's columns in order, ISO times with seconds, no quotes.

    Without clock changes every record loads; with them a few may be rejects for a time that the clock skips.
    """
    random = Random(f"{feed}/{seed}/clean")
    return _clean(CONTRACTS[feed], clean_rows(CONTRACTS[feed], random, rows, clock_changes), random)


def write_clean(
    folder: Path, seed: int, rows: int = 300, feeds: Sequence[str] = SIX_FEEDS, files: int = 2
) -> tuple[Path, ...]:
    """Write that many canonical files of each feed under `folder/<feed>/`; later ones may correct earlier ones."""
    written = []
    for feed in feeds:
        (folder / feed).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            path = folder / feed / f"{feed}_{number}.csv"
            path.write_bytes(clean_file(feed, seed * 1000 + number, rows))
            written.append(path)
    return tuple(written)


MUTANTS = b'",;\t\n\r \x00\x0b-.:/0123456789abkTZ_+\x80\x81\x8d\xa0\xc3\xe4\xff'


def mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """The same file with one byte put in, taken out, changed or doubled, or cut off there; without end."""
    random = Random(seed)
    header = data.find(b"\n") + 1
    while True:
        # The header is small and much depends on it: a fifth of the changes are there.
        place = random.randrange(header) if header and random.random() < 0.2 else random.randrange(len(data))
        byte = bytes([random.choice(MUTANTS)])
        kind = random.choice(("insert", "delete", "replace", "replace", "double", "cut"))
        if kind == "insert":
            yield data[:place] + byte + data[place:]
        elif kind == "delete":
            yield data[:place] + data[place + 1 :]
        elif kind == "replace":
            yield data[:place] + byte + data[place + 1 :]
        elif kind == "double":
            yield data[: place + 1] + data[place:]
        else:
            yield data[:place]
