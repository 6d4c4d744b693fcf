"""What adds up in every report year: parts and wholes, and counts that stand behind several figures, as formulas.

A formula is `left = right` or `left <= right`, each side a sum of terms. A term is a figure's value, or with a column
behind a point its numerator, denominator or event_count:

    figure  figure.denominator  figure@service  figure@lines  figure#basis  100
    before:figure      the same of the year before
    rows:feed          the rows in force of a feed in the year
    rows_until:feed    in the year and all before it

`@lines` is the six health lines together. A formula is judged when every term has a value; one that ends in `?` may be
missing and then counts as 0. Told `by` service, a formula holds for each service that all its terms have; told by year
it holds for the sums over all services. Pure Python: the SQL is in `yearly.frames`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

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
