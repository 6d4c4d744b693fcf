"""Anything at all as a delivery or as a file of the project: nothing is lost, and only a KpiError says what is wrong.

Derandomized and short here. For longer, with other examples each time: KPI_FUZZ=5000 pytest tests/oracle/test_fuzz.py.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpi.engine.compile import compiled
from kpi.errors import KpiError, error_text
from loading import Loader, contracts
from sampled import sampled
from small_project import FILES, write

EXAMPLES = int(os.environ.get("KPI_FUZZ", "0"))
SLOWEST = 60.0  # CPU seconds for a project of two models, which takes less than one


def fuzz(examples: int) -> settings:
    return settings(
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        max_examples=EXAMPLES or examples,
        suppress_health_check=list(HealthCheck),
    )


CLEAN = (
    b"response_id,survey,channel,responded_at,score,comment\n"
    b'k1,health,sms,2025-03-05 14:07:00,9,"good, ""very"""\n'
    b"k2,health,email,5.3.2025 klo 14.07,10,\xc3\xa4\n"
    b"k3,health,sms,2025-03-05T14:07,,\n"
)
BITS_OF_CSV: tuple[bytes, ...] = (
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xe4",
    b"\xef\xbb\xbf",
    b"\xc3",
)
BITS_OF_CSV += (b"NaN", b"1_0", b"0x1F", b"=cmd()", b"-1", b"20255", b"k1", b" ", b"\x1a", b"\x80", b"\xc2\xa0")


@st.composite
def mutated(draw: st.DrawFn, clean: bytes, bits: tuple[bytes, ...]) -> bytes:
    """Clean content with pieces cut out, doubled, exchanged or put in."""
    data = clean
    for _ in range(draw(st.integers(1, 6))):
        first, last = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
        last = min(last, first + draw(st.sampled_from([0, 1, 2, 10, 1000])))
        piece = draw(st.one_of(st.sampled_from(bits), st.just(data[first:last] * 2), st.binary(max_size=3)))
        data = data[:first] + piece + data[last:]
    return data


FILES_DELIVERED = st.lists(
    st.tuples(
        st.one_of(st.binary(max_size=300), mutated(CLEAN, BITS_OF_CSV)), st.sampled_from(["csv", "csv.gz", "gz.csv.gz"])
    ),
    min_size=1,
    max_size=6,
)


@fuzz(sampled(16, 40))
@given(FILES_DELIVERED)
def test_any_delivery_is_loaded_or_rejected_record_by_record(files: list[tuple[bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loader = Loader(Path(folder), [contracts()["nps_responses"]])
        for number, (content, ending) in enumerate(files):
            loader.deliver(f"{number}.{ending}", gzip.compress(content) if ending == "gz.csv.gz" else content)
        loader.load()
        for file, records, loaded, rejected in loader.ledger("file, records, rows_loaded, rows_rejected"):
            assert records == loaded + rejected, file
        assert len(loader.ledger("file")) == len(files)
        loaded = loader.content()
        again = Loader(Path(folder), loader.feeds)
        again.load(careful=True)
        assert again.content() == loaded


BITS_OF_PROJECT = (
    *(b"{{", b"}}", b"{%", b"%}", b"{#", b"#}", b"{{ ref('lines') }}", b"{{ ref(", b"{{ var('x') }}", b"{{ this }}"),
    *(b"{% if %}", b"{% endif %}", b"{% for x in y %}", b"{% macro a() %}", b"{% endmacro %}", b"{{ config(x=1) }}"),
    *(b"{{ 1 / 0 }}", b"{{ [][0] }}", b"{{ none.x }}", b"{{ ''.__class__ }}", b"{{ source() }}", b"{{ ref(1) }}"),
    *(
        b"\t",
        b": ",
        b"- ",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"<<: *a",
        b"? ",
        b"|",
        b">",
        b"[",
        b"]",
        b"{",
    ),
    *(b"}", b"'", b'"', b"#", b"---\n", b"...\n", b"null", b"~", b"yes", b"0o7", b"1e999", b".nan", b"2026-02-30"),
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\r",
        b"\n",
        b"\n\n",
        b"    ",
        b";",
        b"--",
        b"/*",
    ),
    *(
        b"*/",
        b"(",
        b")",
        b"((((((((((",
        b",",
        b"select",
        b"from",
        b"with a as (",
        b"union all",
        b"$$",
        b"$1",
        b"?",
        b"::",
    ),
    *(b"over ()", b"[1]", b"lambda x: x", b"pivot", b"* exclude", b"unnest(", b"case when", b"'\\'", b'"a', b"9" * 400),
)
PLACE = re.compile(r"[\w./-]+\.(sql|yml|csv)(:\d+)?")


@st.composite
def projects(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(FILES)))
    if draw(st.integers(0, 9)) == 0:
        return name, draw(st.binary(max_size=200))
    return name, draw(mutated(FILES[name].encode(), BITS_OF_PROJECT))


def read(changed: tuple[str, bytes]) -> str:
    """Compile the small project with one file changed; return what is said of it, nothing when it is right."""
    folder = Path(tempfile.mkdtemp())
    try:
        began = time.process_time()
        try:
            compiled(write(folder, dict([changed])))
        except KpiError as error:
            return error_text(error)
        finally:
            assert time.process_time() - began < SLOWEST
    finally:
        shutil.rmtree(folder)
    return ""


@fuzz(sampled(48, 120))
@given(projects())
def test_any_file_of_a_project_is_read_or_told_with_its_place(changed: tuple[str, bytes]) -> None:
    said = read(changed)
    assert not said or PLACE.search(said), said
