"""The Finnish of the pages: names of things, and numbers and amounts as a Finnish reader writes them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from kpi.base.presented import significant, with_decimals
from kpi.yearly.parts import Frame

TOPICS: Mapping[Frame, str] = {  # in the order they are told
    "figures": "Tunnuslukujen arvot",
    "expected": "Täydellisyys",
    "reconciliation": "Vertailu julkaistuihin lukuihin",
    "parts": "Osat ja kokonaisuudet",
    "changes": "Muutos edellisvuodesta",
    "series": "Kuukausisarjat",
    "months": "Aineistojen kuukaudet",
    "deliveries": "Aineistojen vuodet",
    "years": "Raportointivuodet",
    "kept": "Poistetut aineistot",
}
COMPARED: Mapping[Frame, str] = {  # what the second value of a row is
    "changes": "Edellisvuosi",
    "parts": "Yhtälön toinen puoli",
    "reconciliation": "Julkaistu",
    "series": "Mediaanikuukausi",
}
FAMILIES: Mapping[str, str] = {  # in the order they are told
    "calls": "Puhelut",
    "callbacks": "Takaisinsoitot",
    "chats": "Chat-keskustelut",
    "helpline": "Päivystysapu 116117",
    "nps": "Suositteluindeksi",
    "experience": "Asiakaskokemus",
    "feedback": "Palautteet",
    "rescue": "Pelastustoimi",
    "inspections": "Palotarkastukset",
    "specialist_queue": "Erikoissairaanhoidon jono",
    "care_visits": "Hoitoon pääsy",
    "housing": "Ikääntyneiden asuminen",
    "decisions": "Päätökset määräajassa",
    "ombudsman": "Sosiaali- ja potilasasiavastaavat",
    "incidents": "Potilas- ja asiakasturvallisuus",
    "digital_users": "Digipalvelun käyttäjät",
    "care_paths": "Digihoitopolut",
    "chat_services": "Chat-palvelut",
    "care_contacts": "Kontaktit",
    "changes": "Muutokset edellisvuodesta",
    "manual": "Käsin syötetyt luvut",
}
UNNAMED_FAMILY = "Kuvaamattomat luvut"
BASES: Mapping[str, str] = {
    "calendar_year": "kalenterivuosi",
    "year_to_date": "vuoden alusta",
    "partial_year": "osavuosi",
    "census_december": "joulukuun laskenta",
    "census": "vuoden viimeinen laskenta",
    "december": "joulukuu",
    "end_of_year": "vuoden loppu",
    "change_from_previous_year": "muutos edellisvuodesta",
    "survey": "kysely",
    "monthly_mean": "kuukausikeskiarvo",
}
STATUSES: Mapping[str, str] = {
    "reproduced": "toistuu",
    "documented_inconsistency": "tunnettu ristiriita",
    "differs": "eroaa",
    "not_delivered": "ei toimitettu",
}
QUALIFIERS: Mapping[str, str] = {"about": "noin ", "more_than": "yli ", "less_than": "alle "}
MONTHS = (
    "tammikuu", "helmikuu", "maaliskuu", "huhtikuu", "toukokuu", "kesäkuu", "heinäkuu", "elokuu", "syyskuu",
    "lokakuu", "marraskuu", "joulukuu",
)  # fmt: skip
UNITS: Mapping[str, str] = {"percent": " %", "days": " pv", "count_per_day": " / vrk"}
NO_BREAK = "\u00a0"


def number(value: float | Decimal | None, digits: int = 10) -> str:
    """Write a number with so many significant digits, decimal comma and no-break spaces between thousands."""
    if value is None:
        return "–"
    known = float(value)
    return _finnish(f"{known:.0f}" if known.is_integer() or abs(known) >= 1e9 else significant(known, digits))


def amount(value: float | Decimal | None, unit: str | None, decimals: str | None) -> str:
    """Write a value that is rounded already, in its unit: lengths of time in hours, minutes and seconds.

    `decimals` is 0, 1 or 2, or minute for seconds that are told to the minute; None tells as many as there are.
    Decimals that the value has beyond them are told too: without them it would look like 0 or 100.
    """
    if value is None:
        return "–"
    size = abs(float(value))
    if unit == "seconds" and (size == 0 or size >= 1):
        return _duration(int(value), decimals == "minute" and not 0 < size < 60)
    shown = f"{Decimal(str(value)):f}"
    shown = with_decimals(shown, decimals) if "." in shown or decimals else shown
    return _finnish(shown) + UNITS.get(unit or "", " s" if unit == "seconds" else "").replace(" ", NO_BREAK)


def _duration(seconds: int, to_the_minute: bool) -> str:
    hours, minutes, rest = abs(seconds) // 3600, abs(seconds) // 60 % 60, abs(seconds) % 60
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    told = [f"{count}{NO_BREAK}{name}" for count, name in parts if count and not (to_the_minute and name == "s")]
    return ("\u2212" if seconds < 0 else "") + (" ".join(told) or f"0{NO_BREAK}{'min' if to_the_minute else 's'}")


def _finnish(text: str) -> str:
    """Turn 1234.5, as Python writes it, into what a Finnish reader expects."""
    sign = "\u2212" if text.startswith("-") else ""
    whole, point, decimals = text.removeprefix("-").partition(".")
    if whole.isdigit():
        whole = f"{int(whole):,}".replace(",", NO_BREAK)
    return sign + whole + ("," if point else "") + decimals
