"""What happened, for deliveries that are made to break the loader: rows of a feed, with edges of every kind."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from oracle_contracts import Column, Contract, Record, Value

# --- What happened: rows of a feed

YEARS = (2022, 2023, 2024, 2025)
AUTUMN_NIGHTS = (date(2022, 10, 30), date(2023, 10, 29), date(2024, 10, 27), date(2025, 10, 26), date(1995, 9, 24))
SPRING_NIGHTS = (date(2022, 3, 27), date(2023, 3, 26), date(2024, 3, 31), date(2025, 3, 30), date(2061, 3, 27))
CENSUSES = (date(2022, 11, 30), date(2023, 12, 31), date(2024, 6, 30), date(2024, 12, 31), date(2025, 8, 31))
EDGE_DAYS = (date(1990, 1, 1), date(2099, 12, 31), date(2024, 2, 29), date(2000, 2, 29), date(2096, 2, 29))


def _moment(random: Random) -> datetime:
    """A wall-clock time in which something may begin: most often any, often where the clock or the year turns."""
    kind = random.random()
    if kind < 0.12:
        night = random.choice(AUTUMN_NIGHTS)
        return datetime(night.year, night.month, night.day, 2) + timedelta(seconds=random.randrange(50 * 60, 130 * 60))
    if kind < 0.2:
        night = random.choice(SPRING_NIGHTS)
        return datetime(night.year, night.month, night.day, 2) + timedelta(seconds=random.randrange(50 * 60, 130 * 60))
    if kind < 0.3:
        turn = datetime(random.choice(YEARS) + random.randrange(2), 1, 1)
        return turn + timedelta(seconds=random.randrange(-900, 900))
    if kind < 0.33:
        edge = random.choice(EDGE_DAYS)
        return datetime(edge.year, edge.month, edge.day) + timedelta(seconds=random.choice((0, 1, 43_200, 86_399)))
    start = datetime(random.choice(YEARS), 1, 1)
    return start + timedelta(seconds=random.randrange(365 * 86_400))


def _later(random: Random, wall: datetime) -> datetime:
    """A wall-clock time some time later: seconds or days, now and then none at all or earlier."""
    kind = random.random()
    if kind < 0.3:
        seconds = random.choice((0, 1, 60, 240, 299, 300, 301, 3_600, 86_400))
    elif kind < 0.85:
        seconds = random.randrange(900)
    elif kind < 0.96:
        seconds = random.randrange(4 * 86_400)
    else:
        seconds = -random.randrange(1, 7_200)
    later = wall + timedelta(seconds=seconds)
    return later if later.year <= 2099 else wall


def _later_day(random: Random, day: date) -> date:
    near = random.choice((14, 31, 90, 92, 120, 122, 181, 184)) + random.randint(-2, 2)
    days = random.choice((near, random.randrange(300), 0, 1, 10, 11, -1 if random.random() < 0.3 else 5))
    return day + timedelta(days=days)


TEXTS = (
    "Kiitos!",
    "ei",
    "1",
    "007",
    "1e5",
    "null",
    "N/A",
    "NaN",
    "a;b",
    "a,b",
    "a\tb",
    'hän sanoi "kiitos"',
    '5" putki',
    'ab"',
    '""',
    "kaksi\nriviä",
    "kaksi\r\nriviä",
    "a\n\nb",
    "äÄöÖåÅ",
    "Šakki, Žižek",
    "hinta 5 €",
    "lainaus ”näin” – ja …",
    "rivi\x0bväli\x0c\x1c\x85\u2028",
    "\u00a0",
    "nolla\x00",
    "=1+1",
    "--",
    "'x'",
    "\\N",
    "# huom",
    "🚑",
    "x" * 3000,
)


MANUAL_IDS = ("wellbeing_service_monthly_reach", "volunteer_encounters", "partner_violence_experienced")


def _one_of(column: Column, random: Random) -> str:
    if column.name == "figure_id":
        return random.choice((*MANUAL_IDS, "nps", "nps_change", "calls_received", "oma_luku"))
    if column.codes is None:
        return random.choice(("a", "B", "silmätaudit", "kirurgia", "Kirurgia", "101", "x y"))
    return random.choice(sorted(column.codes))


def _identifier(random: Random, size: int) -> str:
    number = random.randrange(size)
    styles = ("c{}", "C{}", "{:06}", "{}", "ä{}", "c {}", "c,{}", 'c"{}', "-{}", "c\n{}")
    return random.choices(styles, (60, 5, 5, 5, 5, 2, 2, 1, 1, 1))[0].format(number)


def _number(column: Column, random: Random) -> int:
    lowest = column.lowest or 0
    if column.highest is not None:
        return random.randint(lowest, column.highest)
    if column.name.startswith("age"):
        return random.choice((0, 17, 22, 23, 24, 69, 70, 71, random.randrange(110)))
    return random.choice((0, 1, 999, 1_000, random.randrange(100), random.randrange(10_000_000)))


def make_value(column: Column, random: Random, size: int) -> Value:
    """A value that the column takes, without regard to the row's others."""
    value: Value
    match column.type:
        case "text":
            value = _identifier(random, size) if column.required else random.choice(TEXTS)
        case "code":
            value = _one_of(column, random)
        case "timestamp":
            value = _moment(random)
        case "date" if column.name == "census_date":
            value = random.choice(CENSUSES)
        case "date":
            day = _moment(random).date()
            value = day.replace(day=1) if column.is_first_of_month else day
        case "integer":
            value = _number(column, random)
        case "decimal":
            value = Decimal(random.randrange(-(10**9), 10**9)).scaleb(-random.randrange(7))
        case _:
            value = random.random() < 0.5
    return value


def make_row(contract: Contract, random: Random, size: int) -> Record:
    """One row of a feed, most often one that loads; identifiers are drawn from about as many as size."""
    row: Record = {}
    if contract.feed == "care_queue":
        size = size // 8 + 1  # the same patients, waiting for several specialties
    for column in contract.columns:
        is_missing = not column.required and random.random() < 0.2
        row[column.name] = None if is_missing else make_value(column, random, size)
    census = row.get("census_date")
    if contract.feed == "care_queue" and isinstance(census, date):
        days = random.choice(
            (random.randrange(400), 180 + random.randint(-4, 4), 0, 1, -1 if random.random() < 0.3 else 9)
        )
        row["need_confirmed_on"] = census - timedelta(days=days)
        return row
    previous: Value = None
    for name in contract.order:
        if row[name] is None:
            continue
        if isinstance(previous, datetime):
            row[name] = _later(random, previous)
        elif isinstance(previous, date):
            row[name] = _later_day(random, previous)
        previous = row[name]
    return row
