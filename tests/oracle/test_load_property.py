"""The loader against the plain-Python oracle, on deliveries made to break it: rows, rejects, ledger.

What is compared, and on whose word: see loading.compare_with_oracle. Most checks are done twice, as files are usually
read and with each cell read by the full grammar.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import clean_file, mutations, write_hostile
from hostile_cells import cells, forms, nearly
from hostile_rows import make_row
from loading import Loader, aliases, compare_with_oracle, contracts
from oracle import CONTRACTS, Column
from sampled import sampled

FEEDS = tuple(CONTRACTS)
# One column of each type and of each thing that narrows a type.
COLUMNS = [
    ("calls", "answered_at"),
    ("calls", "service_line"),
    ("chats", "resolved_without_visit"),
    ("nps_responses", "score"),
    ("nps_responses", "comment"),
    ("nps_invitations", "month"),
    ("nps_invitations", "invitations_sent"),
    ("care_queue", "need_confirmed_on"),
    ("manual_figures", "value"),
    ("manual_figures", "report_year"),
]
LETTERS = "0123456789.-:,; TtZklo+eE\u00a0\u202f\"'\t\n\räÄ_/"


@pytest.mark.parametrize(("seed", "careful"), sampled([(0, False), (2, True)], [(0, False), (1, False), (2, True)]))
def test_hostile_deliveries_of_every_feed(seed: int, careful: bool, tmp_path: Path) -> None:
    write_hostile(
        tmp_path, seed, rows=sampled(50, 80), feeds=FEEDS, aliases={feed: aliases(feed) for feed in FEEDS}, dirt=0.04
    )
    loader = Loader(tmp_path, list(contracts().values()))
    loader.load(careful=careful)
    compare_with_oracle(loader)


@pytest.mark.parametrize("feed", FEEDS)
def test_one_byte_changed_in_a_clean_file(feed: str, tmp_path: Path) -> None:
    known = contracts()
    feeds = [known[name] for name in (feed, known[feed].retention.of) if name]  # labels are as old as their items
    loader, again = (Loader(tmp_path, feeds) for _ in range(2))
    clean = clean_file(feed, seed=3, rows=8)
    for number, mutant in enumerate(itertools.islice(mutations(clean, seed=5), 60)):
        loader.deliver(f"{number:03}.csv", mutant)
    loader.load()
    compare_with_oracle(loader)
    again.load(careful=True)
    assert again.content() == loader.content()


def deliver_texts(loader: Loader, name: str, column: Column, texts: Iterable[str], quoted: bool) -> None:
    """Deliver a row for each text of a column; the other columns are good and no key stands twice."""
    contract, random = CONTRACTS[loader.feeds[0].name], Random(name)
    lines = [",".join(each.name for each in contract.columns)]
    for number, text in enumerate(texts):
        row = make_row(contract, random, 10)
        free = {each: None for each in contract.order if not contract.column(each).required}
        row |= {contract.key[0]: f"k{number}"} if contract.column(contract.key[0]).type == "text" else {}
        cell = f'"{text.replace(chr(34), chr(34) * 2)}"' if quoted else text
        said = {each.name: forms(each, (row | free)[each.name])[0] for each in contract.columns}
        lines.append(",".join((said | {column.name: cell}).values()))
    loader.deliver(name, "\n".join(lines))


@pytest.mark.parametrize(("feed", "name"), COLUMNS)
@settings(derandomize=True, deadline=None, max_examples=sampled(2, 8), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_text_in_any_column(
    tmp_path_factory: pytest.TempPathFactory, feed: str, name: str, data: st.DataObject
) -> None:
    column = CONTRACTS[feed].column(name)
    loader = Loader(tmp_path_factory.mktemp("texts"), [contracts()[feed]])
    texts = data.draw(st.lists(cells(column), min_size=40, max_size=80))
    deliver_texts(loader, "quoted.csv", column, texts, quoted=True)
    deliver_texts(loader, "bare.csv", column, texts, quoted=False)
    loader.load()
    compare_with_oracle(loader)


@pytest.mark.parametrize(("feed", "name"), COLUMNS)
def test_every_form_with_any_one_letter_changed(feed: str, name: str, tmp_path: Path) -> None:
    column, random = CONTRACTS[feed].column(name), Random(1)
    loader = Loader(tmp_path, [contracts()[feed]])
    values = [make_row(CONTRACTS[feed], random, 10)[name] for _ in range(3)]
    good = {form for value in values if value is not None for form in forms(column, value)}
    texts = {*good, *nearly(column)}
    for form in sorted(good, key=len)[-sampled(3, 12) :]:
        for place in range(len(form)):
            texts |= {form[:place] + letter + form[place + 1 :] for letter in LETTERS}
            texts |= {form[:place] + letter + form[place:] for letter in LETTERS}
            texts.add(form[:place] + form[place + 1 :])
    deliver_texts(loader, "changed.csv", column, sorted(texts), quoted=True)
    loader.load()
    compare_with_oracle(loader)
