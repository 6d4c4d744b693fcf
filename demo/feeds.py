"""The list of all feeds that the demo delivers, in the order they are written.

To add a feed: describe its volumes, write the SQL of its true rows with their `delivery` and `correction`, list its
files in the module of its domain, and name the piece in FEEDS.
"""

from __future__ import annotations

from demo.access import CARE_VISITS_FEED
from demo.aggregates import CARE_CONTACTS_FEED, MANUAL_FIGURES_FEED
from demo.callbacks import CALLBACKS_FEED
from demo.calls import CALLS_FEED
from demo.contacts import CHATS_FEED, HELPLINE_CONTACTS_FEED, OMBUDSMAN_CONTACTS_FEED
from demo.digital import CHAT_SERVICES_FEED, DIGITAL_CARE_PATHS_FEED, DIGITAL_USERS_FEED
from demo.feedback import EXPERIENCE_ANSWERS_FEED, FEEDBACK_FEED, FEEDBACK_LABELS_FEED
from demo.nps import NPS_INVITATIONS_FEED, NPS_RESPONSES_FEED
from demo.queue import CARE_QUEUE_FEED
from demo.safety import RESCUE_MISSIONS_FEED, SAFETY_INCIDENTS_FEED, SAFETY_INSPECTIONS_FEED
from demo.social import DECISIONS_FEED, HOUSING_PLACEMENTS_FEED

FEEDS = (
    CALLS_FEED,
    CALLBACKS_FEED,
    CHATS_FEED,
    HELPLINE_CONTACTS_FEED,
    NPS_RESPONSES_FEED,
    NPS_INVITATIONS_FEED,
    EXPERIENCE_ANSWERS_FEED,
    FEEDBACK_FEED,
    FEEDBACK_LABELS_FEED,
    RESCUE_MISSIONS_FEED,
    SAFETY_INSPECTIONS_FEED,
    CARE_QUEUE_FEED,
    CARE_VISITS_FEED,
    HOUSING_PLACEMENTS_FEED,
    DECISIONS_FEED,
    OMBUDSMAN_CONTACTS_FEED,
    SAFETY_INCIDENTS_FEED,
    DIGITAL_USERS_FEED,
    DIGITAL_CARE_PATHS_FEED,
    CHAT_SERVICES_FEED,
    CARE_CONTACTS_FEED,
    MANUAL_FIGURES_FEED,
)
