"""The rules of a report year as plain values: checks, sums and volumes.

A formula is `left = right` or `left <= right`, each side a sum of terms. A term is a figure's value, or with a column
behind a point its numerator, denominator or event_count:

    figure  figure.denominator  figure@service  figure@lines  figure#basis  100
    before:figure      the same of the year before
    rows:feed          the rows in force of a feed in the year
    rows_until:feed    in the year and all before it

`@lines` is the six health lines together. A formula is judged when every term has a value; one that ends in `?` may be
missing and then counts as 0. Told `by` service, a formula holds for each service that all its terms have; told by year
it holds for the sums over all services. Pure Python: the SQL is in `yearly.frames`.

A rule looks at one column of one frame: a small table with a row per figure, month or the like, made by the SQL in
`yearly.frames`. What is impossible or incomplete is an error and stops the publication; what is only implausible warns.
A rule that finds nothing to judge, as those of a feed that was never delivered, makes no result.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kpi.ingest.calendar import PeriodState, period_state
from kpi.ingest.contract import GRACE, Cadence

Severity = Literal["error", "warn"]
Frame = Literal[
    "figures", "expected", "changes", "parts", "reconciliation", "series", "months", "deliveries", "years", "kept"
]


@dataclass(frozen=True, slots=True)
class Check:
    """An expectation of Great Expectations by its class name, with its arguments."""

    expectation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one column of a frame must be like in every report year.

    `expects` and `because` make one English sentence and `finnish` is the same in Finnish; in both {low} and {high}
    stand for the limits of the check. `running_year` is the severity in the year that is not over yet, or 'skip'.
    `found` says what was seen when the rule fails; {rows} stands for the labels of the rows that break it.
    """

    name: str
    frame: Frame
    column: str
    check: Check
    severity: Severity
    running_year: Severity | Literal["skip"]
    expects: str
    finnish: str
    because: str = ""
    found: str = "{rows}"

    @property
    def description(self) -> str:
        """The sentence that says what is expected, with the limits of the check filled in."""
        return f"{self.expects}{', because ' if self.because else ''}{self.because}.".format(**self._limits())

    @property
    def description_fi(self) -> str:
        """The same sentence in Finnish."""
        limits = {name: _in_finnish(limit) for name, limit in self._limits().items()}
        return f"{self.finnish}.".format(**limits)

    def _limits(self) -> dict[str, object]:
        given = {"low": self.check.arguments.get("min_value"), "high": self.check.arguments.get("max_value")}
        return {name: limit for name, limit in given.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class FeedExpectation:
    """How often a feed is expected once it has been delivered.

    `every` month: each month of each year from its first to the latest report year of any feed; year: each such year;
    once: a register, whose years may have no rows. `starts_on` is the day the service behind the feed began: the
    months before its month are not expected. By `cadence` one that is missing is awaited, late (a warning) or very
    late (`severity`); without one, it is by the usual days of a month or year.
    """

    feed: str
    every: Literal["month", "year", "once"]
    starts_on: datetime.date | None = None
    severity: Severity = "error"
    cadence: Cadence | None = None

    def state(self, end: datetime.date, day: datetime.date) -> PeriodState:
        """Return how a month or year that ends on a day stands when it is missing."""
        usual = Cadence(self.feed, self.every, *GRACE.get(self.every, (None, None)))
        return period_state(self.cadence or usual, end, day)


def between(low: float | None, high: float | None) -> Check:
    """Every value lies between the limits, themselves included. None is no limit. Missing values are not judged."""
    return Check("ExpectColumnValuesToBeBetween", {"min_value": low, "max_value": high})


def one_of(*values: str) -> Check:
    """Every value is one of these. Missing values are not judged."""
    return Check("ExpectColumnValuesToBeInSet", {"value_set": list(values)})


def none_of(*values: str) -> Check:
    """No value is one of these. Missing values are not judged."""
    return Check("ExpectColumnValuesToNotBeInSet", {"value_set": list(values)})


AT_LEAST_ONE_ROW = Check("ExpectTableRowCountToBeBetween", {"min_value": 1})
NOT_MISSING = Check("ExpectColumnValuesToNotBeNull", {})
UNIQUE = Check("ExpectColumnValuesToBeUnique", {})
ABOVE_ZERO = Check("ExpectColumnValuesToBeBetween", {"min_value": 0, "strict_min": True})
SOME_ABOVE_ZERO = Check("ExpectColumnMaxToBeBetween", {"min_value": 0, "strict_min": True})
ZERO = Check("ExpectColumnValuesToBeBetween", {"min_value": -1e-6, "max_value": 1e-6})  # of quotients subtracted
OK = one_of("ok")


def _in_finnish(limit: object) -> str:
    text = f"{limit:,}" if isinstance(limit, int | float) else str(limit)
    return text.replace(",", "\u00a0").replace(".", ",").replace("-", "\u2212")


HEALTH_LINES = (
    "health_station",
    "maternity_and_child_clinic",
    "oral_health",
    "rehabilitation",
    "emergency_helpline",
    "mental_health_and_substance_abuse",
)
_LINE_FIGURES = (
    ("calls_received", ("value",)),
    ("call_mean_wait_seconds", ("numerator", "denominator")),
    ("calls_answered_within_5_minutes_share", ("numerator", "denominator")),
    ("call_mean_handling_seconds", ("numerator", "denominator")),
    ("callbacks_received", ("value",)),
    ("callbacks_never_reached", ("value",)),
    ("same_day_callback_share", ("numerator", "denominator")),
    ("callback_mean_seconds", ("numerator", "denominator")),
    ("chats_received", ("value",)),
)
_TERM = re.compile(
    r"(?:(?P<kind>before|rows|rows_until):)?(?P<name>[a-z]\w*|\d+)(?:\.(?P<column>\w+))?"
    r"(?:@(?P<service>\w+))?(?:#(?P<basis>\w+))?(?P<optional>\?)?"
)


@dataclass(frozen=True, slots=True)
class Term:
    """One term: `amount` of `name` (a feed when `amount` is rows or rows_until; empty name for a plain number).

    `services` empty means every service, `basis` empty any. `years_back` is 1 for the year before.
    """

    side: Literal["left", "right"]
    sign: int
    name: str
    amount: str
    services: tuple[str, ...]
    basis: str
    years_back: int
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula as written and as read. `is_equal` is false for `<=`."""

    text: str
    is_equal: bool
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """Formulas that hold together under one name; `expects` and `finnish` say it as a sentence without its stop."""

    name: str
    by: Literal["service", "year"]
    formulas: tuple[Formula, ...]
    expects: str
    finnish: str


def read_formula(text: str) -> Formula:
    """Read a formula. Raises ValueError naming what is not understood."""
    sides = re.split(r" (=|<=) ", text)
    if len(sides) != 3:
        raise ValueError(f"'{text}' is not of the form 'left = right' or 'left <= right'")
    return Formula(text, sides[1] == "=", (*_terms(sides[0], "left"), *_terms(sides[2], "right")))


def _terms(text: str, side: Literal["left", "right"]) -> Iterator[Term]:
    sign = 1
    for part in text.split():
        if part in "+-":
            sign = 1 if part == "+" else -1
            continue
        found = _TERM.fullmatch(part)
        if found is None:
            raise ValueError(f"'{part}' is no term")
        kind, name, service = found["kind"], found["name"], found["service"]
        amount = kind if kind in ("rows", "rows_until") else found["column"] or "value"
        yield Term(
            side=side,
            sign=sign,
            name="" if name.isdigit() else name,
            amount=name if name.isdigit() else amount,
            services=HEALTH_LINES if service == "lines" else (service,) if service else (),
            basis=found["basis"] or "",
            years_back=int(kind == "before"),
            is_optional=found["optional"] is not None,
        )


def _sum(name: str, by: Literal["service", "year"], expects: str, finnish: str, *formulas: str) -> Sum:
    return Sum(name, by, tuple(map(read_formula, formulas)), expects, finnish)


SUMS = (
    _sum("health_lines_are_their_lines", "year",
         "The six health lines add up to health_lines, in every count behind the figures of calls, callbacks and chats",
         "Terveydenhuollon kuusi linjaa ovat yhteensä koko asiakasneuvonta kaikissa puhelujen, soittopyyntöjen ja "
         "chat-keskustelujen lukumäärissä",
         *(f"{figure}.{column}@health_lines = {figure}.{column}@lines"
           for figure, columns in _LINE_FIGURES for column in columns)),
    _sum("answered_calls_within_calls", "service",
         "No more calls are answered than arrive, and no more are timed than are answered",
         "Vastattuja puheluja on enintään yhtä monta kuin saapuneita, ja kestoltaan tunnettuja enintään yhtä monta "
         "kuin vastattuja",
         "call_mean_wait_seconds.denominator <= calls_received",
         "call_mean_handling_seconds.denominator <= call_mean_wait_seconds.denominator",
         "calls_answered_within_5_minutes_share.denominator = call_mean_wait_seconds.denominator"),
    _sum("callbacks_are_reached_or_never", "service",
         "Callback requests are those whose caller was reached and those whose caller never was",
         "Soittopyynnöt ovat yhteensä ne, joiden jättäjä tavoitettiin, ja ne, joiden jättäjää ei tavoitettu",
         "same_day_callback_share.denominator + callbacks_never_reached = callbacks_received",
         "callback_mean_seconds.denominator = same_day_callback_share.denominator"),
    _sum("helpline_outcomes_within_contacts", "service",
         "The outcomes told of helpline contacts, and the answers on advice, are no more than the contacts",
         "Päivystysavun yhteydenottojen lopputulokset ja ohjausta koskevat vastaukset mahtuvat yhteydenottojen määrään",
         "helpline_resolved_at_first_contact_share.numerator + helpline_sent_to_emergency_share.numerator"
         " <= helpline_resolved_at_first_contact_share.denominator",
         "helpline_sent_to_emergency_share.denominator = helpline_resolved_at_first_contact_share.denominator",
         "helpline_sufficient_advice_share.denominator <= helpline_resolved_at_first_contact_share.denominator"),
    _sum("nps_is_promoters_less_detractors", "service",
         "The NPS is the share of promoters less the share of detractors",
         "Suositteluindeksi on suosittelijoiden ja arvostelijoiden osuuksien erotus",
         "nps = nps_promoter_share - nps_detractor_share"),
    _sum("nps_answers_agree", "service",
         "Every NPS figure counts the same answers, and promoters and detractors are no more than those",
         "Kaikki suositteluindeksin luvut laskevat samat vastaukset, ja suosittelijoita ja arvostelijoita on yhteensä "
         "enintään niiden verran",
         "nps.denominator = nps_responses",
         "nps_response_rate.numerator = nps_responses",
         "nps_promoter_share.numerator + nps_detractor_share.numerator <= nps_responses"),
    _sum("experience_is_its_statements", "year",
         "The answers to the statements, and their scores, add up to those of experience_mean and experience_answers",
         "Väittämien vastaukset ja niiden pisteet ovat yhteensä koko kyselyn vastaukset ja pisteet",
         "experience_answers = experience_statement_mean.denominator",
         "experience_mean.denominator = experience_statement_mean.denominator",
         "experience_mean.numerator = experience_statement_mean.numerator"),
    _sum("feedback_shares_make_100", "year",
         "The shares of feedback by area add up to 100 percent, and their items to all feedback",
         "Palautteiden osuudet palvelualueittain ovat yhteensä 100 prosenttia ja niiden palautteet kaikki palautteet",
         "feedback_share = 100",
         "feedback_share.numerator = feedback_received"),
    _sum("feedback_labels_within_feedback", "year",
         "No content is labelled on more items than there are",
         "Mikään sisältömerkintä ei ole useammalla palautteella kuin palautteita on",
         *(f"feedback_content@{content} <= feedback_received"
           for content in ("thanks", "suggestion", "criticism", "other"))),
    _sum("missions_are_rescue_and_ems", "service",
         "Rescue missions and EMS missions add up to the missions of the rescue department, which its alarms count",
         "Pelastus- ja ensihoitotehtävät ovat yhteensä pelastuslaitoksen tehtävät, ja hälytykset vuorokaudessa "
         "laskevat samat tehtävät",
         "rescue_department_missions = rescue_missions + ems_missions",
         "rescue_unit_alarms_per_day.numerator = rescue_department_missions",
         "first_unit_response_seconds.event_count <= rescue_missions"),
    _sum("queue_parts_within_queue", "service",
         "Those waiting over 6 months are among those over 180 days, and these among the queue that the shares are of",
         "Yli 6 kuukautta odottaneet sisältyvät yli 180 vuorokautta odottaneisiin ja nämä jonoon, josta osuudet "
         "lasketaan",
         "specialist_queue_over_180_days <= specialist_queue",
         "specialist_queue_over_180_days_share.numerator = specialist_queue_over_180_days",
         "specialist_queue_over_180_days_share.denominator = specialist_queue",
         "specialist_queue_over_6_months_share.numerator <= specialist_queue_over_180_days",
         "specialist_queue_over_6_months_share.denominator = specialist_queue"),
    _sum("care_guarantee_ages_are_all_visits", "service",
         "Visits of those under 23 and of those 23 and over add up to all visits",
         "Alle 23-vuotiaiden ja 23 vuotta täyttäneiden käynnit ovat yhteensä kaikki käynnit",
         *(f"{whole}.denominator = care_guarantee_{service}_23_and_over_share.denominator"
           f" + care_guarantee_{service}_under_23_share.denominator"
           for service, whole in (("primary_care", "primary_care_within_14_days_share"),
                                  ("oral_health", "oral_health_within_3_months_share")))),
    _sum("december_within_year", "service",
         "Placements of December are among those of the year",
         "Joulukuun sijoitukset sisältyvät vuoden sijoituksiin",
         "elderly_housing_mean_wait_days.denominator#december"
         " <= elderly_housing_mean_wait_days.denominator#calendar_year"),
    _sum("social_processes_are_the_mean", "year",
         "The share of statutory cases on time is made of the shares of the four processes",
         "Lakisääteisten asioiden osuus määräajassa muodostuu neljän prosessin osuuksista",
         "social_processes_on_time_share.numerator = disability_decisions_on_time_share?"
         " + child_welfare_notifications_on_time_share? + income_support_on_time_share?"
         " + service_needs_assessments_on_time_share?"),
    _sum("ombudsman_answers_within_contacts", "year",
         "The contacts whose number of calls is known are no more than all contacts",
         "Niitä yhteydenottoja, joiden hoitumisesta on tieto, on enintään yhtä monta kuin yhteydenottoja",
         "ombudsman_resolved_in_one_call_share.denominator <= ombudsman_contacts",
         "ombudsman_resolved_in_one_call_share.event_count = ombudsman_contacts"),
    _sum("incident_shares_are_of_incidents", "service",
         "The share of moderate and severe harm is of all reports",
         "Kohtalaisen ja vakavan haitan osuus lasketaan kaikista ilmoituksista",
         "safety_incidents_moderate_or_severe_share.denominator = safety_incidents"),
    _sum("active_users_within_registered", "service",
         "Active users are no more than registered users, of whom the share over 70 is taken",
         "Aktiivisia käyttäjiä on enintään yhtä monta kuin rekisteröityneitä, joista myös 70 vuotta täyttäneiden "
         "osuus lasketaan",
         "digital_active_users <= digital_registered_users",
         "digital_users_over_70_share.denominator = digital_registered_users"),
    _sum("care_paths_within_opened", "year",
         "Care paths in use are no more than were ever opened, nor than the year before with those opened since",
         "Digihoitopolkuja on käytössä enintään yhtä monta kuin niitä on koskaan avattu ja enintään edellisvuoden "
         "määrä ja vuoden aikana avatut yhteensä",
         "digital_self_care_paths <= digital_care_paths",
         "digital_care_paths <= rows_until:digital_care_paths",
         "digital_care_paths <= before:digital_care_paths + rows:digital_care_paths"),
    _sum("contacts_replacing_visits_are_remote", "service",
         "Contacts that replace a visit are among the remote ones, and both shares are of all contacts",
         "Käynnin korvanneet kontaktit sisältyvät etäkontakteihin, ja molemmat osuudet lasketaan kaikista kontakteista",
         "visit_replacing_remote_contact_share.numerator <= remote_contact_share.numerator",
         "visit_replacing_remote_contact_share.denominator = remote_contact_share.denominator"),
    _sum("changes_are_differences", "service",
         "Every change is this year's figure less last year's; that of the NPS, of rounded figures, within 1 point",
         "Jokainen muutos on vuoden ja edellisvuoden lukujen erotus, suositteluindeksissä pyöristettyjen lukujen ja "
         "siksi yhden pisteen tarkkuudella",
         "nps_responses_change = nps_responses - before:nps_responses",
         "feedback_received_change = feedback_received - before:feedback_received",
         "rescue_missions_change_pct.numerator = rescue_missions - before:rescue_missions",
         "nps_change <= nps - before:nps + 1",
         "nps - before:nps - 1 <= nps_change"),
    _sum("counts_are_their_records", "year",
         "The figures of a feed count each of its records in force once",
         "Kunkin aineiston tunnusluvut laskevat jokaisen voimassa olevan tietueen kerran",
         "calls_received@lines? + calls_received@social_advice? = rows:calls",
         "callbacks_received@lines? + callbacks_received@social_advice? = rows:callbacks",
         "chats_received@lines? + chats_received@social_advice? = rows:chats",
         "chats_resolved_without_visit_share.event_count = rows:chats",
         "helpline_resolved_at_first_contact_share.denominator = rows:helpline_contacts",
         "nps_responses <= rows:nps_responses",
         "experience_answers = rows:experience_answers",
         "feedback_received = rows:feedback",
         "feedback_content = rows:feedback_labels",
         "rescue_department_missions = rows:rescue_missions",
         "safety_inspections = rows:safety_inspections",
         "primary_care_within_14_days_share.denominator? + oral_health_within_3_months_share.denominator?"
         " = rows:care_visits",
         "elderly_housing_mean_wait_days.denominator#calendar_year = rows:housing_placements",
         "disability_decisions_on_time_share.denominator? + child_welfare_notifications_on_time_share.denominator?"
         " + income_support_on_time_share.denominator? + service_needs_assessments_on_time_share.denominator?"
         " = rows:decisions",
         "ombudsman_contacts = rows:ombudsman_contacts",
         "safety_incidents = rows:safety_incidents",
         "new_chat_services = rows:chat_services"),
)  # fmt: skip


FEED_OF_FAMILY: Mapping[str, str] = {  # the feed without which a family of figures is not told
    "calls": "calls",
    "callbacks": "callbacks",
    "chats": "chats",
    "helpline": "helpline_contacts",
    "nps": "nps_responses",
    "experience": "experience_answers",
    "feedback": "feedback",
    "rescue": "rescue_missions",
    "inspections": "safety_inspections",
    "specialist_queue": "care_queue",
    "care_visits": "care_visits",
    "housing": "housing_placements",
    "decisions": "decisions",
    "ombudsman": "ombudsman_contacts",
    "incidents": "safety_incidents",
    "digital_users": "digital_users",
    "care_paths": "digital_care_paths",
    "chat_services": "chat_services",
    "care_contacts": "care_contacts",
    "manual": "manual_figures",
}
FEED_OF_FIGURE: Mapping[str, str] = {  # where it is not that of the family
    "feedback_content": "feedback_labels",
    "nps_change": "nps_responses",
    "nps_responses_change": "nps_responses",
    "feedback_received_change": "feedback",
    "rescue_missions_change_pct": "rescue_missions",
}
FAMILIES_BY_SERVICE = ("calls", "callbacks", "chats", "nps", "experience", "care_visits", "decisions")
# Families whose figures are told for the services with records only; the others are told whole.

MAIN_VOLUMES = (  # counts that are above 0 wherever they are told
    "calls_received",
    "callbacks_received",
    "chats_received",
    "experience_answers",
    "feedback_received",
    "rescue_department_missions",
    "safety_inspections",
    "safety_incidents",
    "specialist_queue",
)
FLOWS = tuple(sorted({*MAIN_VOLUMES, "nps_responses", "ombudsman_contacts"} - {"specialist_queue"}))
# Counts of what happens all the year round.
MEDIANS = ("first_unit_response_seconds",)
MEANS_OF_SHARES = ("social_processes_on_time_share",)
COUNTED_ELSEWHERE = ("care_contacts", "digital_users", "changes", "manual")
# Families whose event_count counts rows of aggregates, and so may be less than what they add up to.

ACCEPTED_CHANGES: Mapping[str, str] = {  # what is out of bounds but real: figure, service and year; when and why
    # "calls_received rehabilitation 2027": "2027-03-01: the line was closed and its calls go to the health stations",
}

# Each rule: name, frame, column, check, severity, severity in the running year, the sentence in English and Finnish,
# and what else there is to say.
FIGURE_RULES = (
    Rule("year_has_figures", "figures", "", AT_LEAST_ONE_ROW, "error", "skip",
         "The year has figures", "Vuodella on tunnuslukuja", found="no figures"),
    Rule("figure_keys_complete", "figures", "figure_key", NOT_MISSING, "error", "error",
         "Every figure names its figure_id, service and basis",
         "Jokaisella luvulla on tunnus, palvelu ja laskentaperuste"),
    Rule("figure_keys_unique", "figures", "figure_key", UNIQUE, "error", "error",
         "Every figure is told once for its service, year and basis",
         "Jokainen luku on kerran palvelua, vuotta ja laskentaperustetta kohti"),
    Rule("figures_described", "figures", "description_is", OK, "warn", "warn",
         "Every figure and its service are described in seeds/figures.csv and seeds/figure_services.csv",
         "Jokainen luku ja sen palvelu on kuvattu (seeds/figures.csv ja seeds/figure_services.csv); käsin syötetyltä "
         "luvulta kuvaus voi puuttua, mutta lukija kaipaa sitä",
         "a figure entered by hand may come without a description, but readers miss it"),
    Rule("bases_as_described", "figures", "basis_is", OK, "error", "error",
         "Every figure has the basis it is described or printed with, and partial_year in the year its service started",
         "Jokaisella luvulla on kuvattu tai julkaistu laskentaperuste, ja palvelun aloitusvuonna osavuosi"),
    Rule("values_present", "figures", "value_is", OK, "error", "error",
         "Every count has a value, and so has every other figure whose denominator is above 0",
         "Jokaisella lukumäärällä on arvo, samoin jokaisella muulla luvulla, jonka nimittäjä on suurempi kuin 0"),
    Rule("values_are_their_parts", "figures", "value_gap", ZERO, "error", "error",
         "Every value is its numerator or, by its unit, the quotient of its numerator and denominator",
         "Jokainen arvo on osoittajansa tai yksikkönsä mukaan osoittajan ja nimittäjän osamäärä",
         "a figure is derived and never typed in"),
    Rule("cases_within_events", "figures", "uncounted", between(0, None), "error", "error",
         "No figure is taken of more cases than there were records",
         "Mikään luku ei perustu useampaan tapaukseen kuin tietueita on"),
    Rule("main_volumes_positive", "figures", "main_volume", ABOVE_ZERO, "error", "error",
         "Every main volume is above 0", "Jokainen päävolyymi on suurempi kuin 0, koska se kerrotaan vain palvelulta, "
         "jolla on tietueita", "it is only told for a service that has records in the year"),
    Rule("counts_whole", "figures", "fraction", ZERO, "error", "error",
         "Every count is a whole number", "Jokainen lukumäärä on kokonaisluku"),
    Rule("counts_not_negative", "figures", "count_value", between(0, None), "warn", "warn",
         "No count is below {low}", "Mikään lukumäärä ei ole alle {low}; vain käsin syötetty voi olla, ja se on "
         "harvoin tarkoitus", "only a figure entered by hand may be negative, and it seldom is meant to be"),
    Rule("counts_not_all_zero", "figures", "count_value", SOME_ABOVE_ZERO, "warn", "warn",
         "At least one count of the year is above 0", "Ainakin yksi vuoden lukumääristä on suurempi kuin 0"),
    Rule("shares_within_0_and_100", "figures", "share", between(0, 100), "error", "error",
         "Every share lies between {low} and {high} percent", "Jokainen osuus on {low}–{high} prosenttia"),
    Rule("response_rates_within_0_and_100", "figures", "response_rate", between(0, 100), "warn", "warn",
         "Every response rate lies between {low} and {high} percent, so no more answer than were invited",
         "Jokainen vastausprosentti on {low}–{high}, joten vastauksia on enintään kutsujen verran; toisen vuoden "
         "kutsuihin annetut vastaukset tai toimittamatta jääneet kutsut voivat nostaa sen yli",
         "answers to invitations of another year, or invitations not delivered, can bring it above"),
    Rule("nps_within_100_of_0", "figures", "nps", between(-100, 100), "error", "error",
         "Every NPS lies between {low} and {high}", "Jokainen suositteluindeksi on välillä {low}…{high}"),
    Rule("scores_within_1_and_5", "figures", "score", between(1, 5), "error", "error",
         "Every mean score lies between {low} and {high}", "Jokainen keskiarvo on välillä {low}…{high}"),
    Rule("durations_not_negative", "figures", "duration", between(0, None), "error", "error",
         "No duration is below {low}", "Mikään kesto ei ole alle {low}, koska väärässä järjestyksessä olevat ajat "
         "hylätään ladattaessa", "records whose times are in the wrong order are rejected at the load"),
)  # fmt: skip

PLAUSIBLE_MAXIMA: tuple[tuple[str, int, str, str], ...] = (  # figure, highest plausible value in its unit, and why
    ("call_mean_wait_seconds", 7_200, "nobody holds the line for 2 hours on average",
     "Puhelun keskimääräinen odotusaika on enintään {high} s: kukaan ei jonota keskimäärin kahta tuntia"),
    ("call_mean_handling_seconds", 7_200, "a call of 2 hours on average is a line that was not hung up",
     "Puhelun keskimääräinen asiointiaika on enintään {high} s: kahden tunnin puhelu on sulkematta jäänyt linja"),
    ("callback_mean_seconds", 1_209_600, "a callback after 14 days on average is a time written wrong",
     "Keskimääräinen takaisinsoittoaika on enintään {high} s: 14 vuorokautta on väärin kirjattu aika"),
    ("first_unit_response_seconds", 3_600, "every place of the county is reached within the hour",
     "Ensimmäisen yksikön toimintavalmiusaika on enintään {high} s: alueen joka paikkaan ehtii tunnissa"),
    ("elderly_housing_mean_wait_days", 730, "the law gives 3 months, and 2 years would be a date written wrong",
     "Odotusaika ympärivuorokautiseen asumiseen on enintään {high} pv: laki antaa 3 kuukautta, ja kaksi vuotta olisi "
     "väärin kirjattu päivä"),
)  # fmt: skip
DURATION_RULES = tuple(
    Rule(f"plausible:{figure_id}", "figures", figure_id, between(None, maximum), "warn", "warn",
         f"{figure_id} is at most {{high}}", finnish, reason)
    for figure_id, maximum, reason, finnish in PLAUSIBLE_MAXIMA
)  # fmt: skip

# Which figures must be there. Not judged: what comes of a feed that has no rows in the year.
COMPLETENESS_RULES = (
    Rule("described_figures_told", "expected", "described_is", OK, "error", "error",
         "Every figure that is described, has begun and has records in the year is told: of a service with records, "
         "all its figures", "Jokainen kuvattu ja alkanut luku, josta vuodella on tietueita, on kerrottu: palvelusta, "
         "jolla on tietueita, sen kaikki luvut"),
    Rule("main_volumes_told_again", "expected", "main_volume_is", OK, "error", "skip",
         "A main volume of 1000 or more is told again the year after",
         "Vähintään 1 000:n päävolyymi kerrotaan seuraavanakin vuonna", "a whole service does not fall silent"),
    Rule("figures_told_again", "expected", "again_is", OK, "warn", "skip",
         "Every other figure is told again the year after for the same service",
         "Jokainen muu luku kerrotaan seuraavanakin vuonna samasta palvelusta"),
    Rule("targets_told", "expected", "target_is", OK, "warn", "skip",
         "Every figure with a target for the year is told",
         "Jokainen luku, jolla on tavoite vuodelle, on kerrottu"),
    Rule("printed_figures_told", "reconciliation", "told_is", OK, "error", "skip",
         "Every figure printed of the year is told when its feed was delivered",
         "Jokainen vuodesta julkaistu luku on kerrottu, kun sen aineisto on toimitettu"),
)  # fmt: skip

# Bounds of the change from the year before, one row a unit. A ratio is this year's value divided by last year's (by 1
# when that is less), a difference this year's less last year's. Not judged: a service's first year, a partial year on
# either side, another basis, and the volumes of the running year. What is known to break a series, in
# marts.comparability_breaks or by a dated reason in ACCEPTED_CHANGES, is told beside the row and makes it a warning.
CHANGE_RULES = (
    Rule("main_volumes_change", "changes", "main_volume_ratio", between(0.2, 5), "error", "skip",
         "A main volume of 1000 or more the year before changes to between {low} and {high} times of it",
         "Vähintään 1 000:n päävolyymi muuttuu {low}–{high}-kertaiseksi edellisvuodesta; muuten toimitus on vajaa tai "
         "kahdentunut", "beyond that a delivery is incomplete or doubled"),
    Rule("main_volumes_change_at_break", "changes", "broken_volume_ratio", between(0.2, 5), "warn", "skip",
         "Even where its series is known to break, a main volume changes to between {low} and {high} times of it",
         "Päävolyymi, jonka aikasarjassa on tunnettu katkos, muuttuu silti {low}–{high}-kertaiseksi edellisvuodesta",
         "most breaks are smaller"),
    Rule("counts_change", "changes", "count_ratio", between(0.2, 5), "warn", "skip",
         "Any other count of 100 or more in either year changes to between {low} and {high} times the year before",
         "Muu lukumäärä, joka on jompanakumpana vuonna vähintään 100, muuttuu {low}–{high}-kertaiseksi; uusikin "
         "palvelu kasvaa harvoin nopeammin", "new services grow fast, but seldom faster"),
    Rule("registered_users_kept", "changes", "registered_ratio", between(0.9, None), "warn", "skip",
         "Registered users are at least {low} times those of the year before",
         "Rekisteröityneitä on vähintään {low}-kertaisesti edellisvuoteen nähden, koska rekisteristä poistuu harva",
         "few ever leave the register"),
    Rule("durations_change", "changes", "duration_ratio", between(0.2, 5), "warn", "warn",
         "A mean or median time over 100 cases or more changes to between {low} and {high} times the year before",
         "Vähintään 100 tapauksen keski- tai mediaaniaika muuttuu {low}–{high}-kertaiseksi; muuten yksikkö tai "
         "aikavyöhyke on erehdys", "beyond that a unit or a time zone was mistaken"),
    Rule("shares_change", "changes", "share_difference", between(-40, 40), "warn", "warn",
         "A share of 100 cases or more changes by {low} to {high} percentage points from the year before",
         "Vähintään 100 tapauksen osuus muuttuu {low}…{high} prosenttiyksikköä; muuten koodi tai lain määräaika on "
         "vaihtanut merkitystään", "beyond that a code or a limit in law has changed its meaning"),
    Rule("nps_change", "changes", "nps_difference", between(-30, 30), "warn", "warn",
         "An NPS over 100 answers or more changes by {low} to {high} points from the year before",
         "Vähintään 100 vastauksen suositteluindeksi muuttuu {low}…{high} pistettä; koko alueen indeksi liikkuu "
         "vuodessa muutaman pisteen", "the NPS of a whole county moves by a few points a year"),
    Rule("scores_change", "changes", "score_difference", between(-0.5, 0.5), "warn", "warn",
         "A mean score over 100 answers or more changes by {low} to {high} from the year before",
         "Vähintään 100 vastauksen keskiarvo muuttuu {low}…{high}; muuten asteikko tai kysymys on vaihtunut",
         "beyond that the scale or the question has changed"),
)  # fmt: skip

SUM_RULES = tuple(
    Rule(sum_.name, "parts", sum_.name, ZERO, "error", "error", sum_.expects, sum_.finnish) for sum_ in SUMS
)
RECONCILIATION_RULES = (
    Rule("reconciliation_never_differs", "reconciliation", "status", none_of("differs"), "error", "warn",
         "No figure differs from what was published", "Mikään luku ei eroa julkaistusta",
         found="{rows}. When a later delivery corrected the year, or the printed figure is the wrong one, say so with "
         "the reason in seeds/documented_inconsistencies.csv, as kind value"),
    Rule("printed_units_described", "reconciliation", "unit_is", OK, "error", "error",
         "Every printed figure is in the unit it is described with",
         "Jokainen julkaistu luku on kuvatussa yksikössä"),
)  # fmt: skip
SERIES_RULES = (
    Rule("services_in_every_month", "series", "months_present", between(1, None), "warn", "warn",
         "A service with 600 events or more in the year has some in every month from its first on",
         "Palvelulla, jolla on vuodessa vähintään 600 tapahtumaa, on niitä joka kuukausi ensimmäisestä alkaen; muuten "
         "yhden palvelun tietueet puuttuvat", "else the records of one service are missing"),
    Rule("months_alike", "series", "month_ratio", between(0.2, 5), "warn", "warn",
         "A month of a service with 1200 events or more is between {low} and {high} times the median month of its year",
         "Kuukausi on {low}–{high}-kertainen vuoden mediaanikuukauteen nähden, kun palvelulla on vuodessa vähintään "
         "1 200 tapahtumaa; muuten tiedosto on vajaa tai kahdentunut", "else a file is cut short or doubled"),
    Rule("nothing_before_start", "series", "start_is", OK, "warn", "warn",
         "No event is dated before the month its service started",
         "Mikään tapahtuma ei ole ajalta ennen palvelun aloituskuukautta"),
)  # fmt: skip
# A year whose deliveries were deleted can be derived no more: what is told of it is said to be kept.
KEPT_RULE = Rule(
    "kept_as_published", "kept", "kept_is", OK, "error", "error",
    "Figures that stand as a build published them are of deliveries whose deletion is recorded",
    "Julkaistuina säilytetyt luvut ovat aineistosta, jonka poisto säilytysajan päätyttyä on kirjattu",
)  # fmt: skip

RULES = (
    *FIGURE_RULES, *DURATION_RULES, *COMPLETENESS_RULES, *CHANGE_RULES, *SUM_RULES, *RECONCILIATION_RULES,
    *SERIES_RULES,
)  # fmt: skip


def feed_rule(feed: FeedExpectation) -> Rule:
    """Return the rule of one delivered feed, of the running year and of others alike: what is due is due."""
    if feed.every == "month":
        return Rule(f"every_month_present:{feed.feed}", "months", feed.feed, between(1, None), feed.severity,
                    feed.severity,
                    f"The feed {feed.feed} has records in every full month of the year",
                    f"Aineistossa {feed.feed} on tietueita vuoden jokaiselta täydeltä kuukaudelta",
                    found="missing months {rows}")  # fmt: skip
    return Rule(f"delivered_in_year:{feed.feed}", "deliveries", feed.feed, between(1, None), feed.severity,
                feed.severity, f"The feed {feed.feed} has records in the year",
                f"Aineistossa {feed.feed} on tietueita vuodelta", found="no records")  # fmt: skip


def years_rule(last_year: int) -> Rule:
    """Return the rule on the years themselves. One mistyped year must not fail all the years up to it."""
    return Rule("no_later_years", "years", "report_year", between(None, last_year), "warn", "warn",
                f"Nothing is dated after the year {last_year}",
                f"Mikään ei ole vuoden {last_year} jälkeiseltä ajalta")  # fmt: skip
