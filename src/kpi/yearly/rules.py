"""What is expected of a report year, as plain tables: read them, change them, and the next refresh judges by them.

A rule looks at one column of one frame: a small table with a row per figure, month or the like, made by the SQL in
`yearly.frames`. What is impossible or incomplete is an error and stops the publication; what is only implausible warns.
A rule that finds nothing to judge, as those of a feed that was never delivered, makes no result.
"""

from __future__ import annotations

from collections.abc import Mapping

from kpi.yearly.parts import (
    ABOVE_ZERO,
    AT_LEAST_ONE_ROW,
    NOT_MISSING,
    OK,
    SOME_ABOVE_ZERO,
    UNIQUE,
    ZERO,
    FeedExpectation,
    Rule,
    between,
    none_of,
)
from kpi.yearly.sums import SUMS

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
