"""What benchmarks.scale writes into the page: its table, and what a nation would need by it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.record import replace_between
from benchmarks.scale import BEGIN, END, Measured, page_lines


def test_the_tables_of_a_run_stand_between_the_markers(tmp_path: Path) -> None:
    found = {
        1_600_000: [
            Measured("duckdb", 1_600_000, 2.4, 3, 400_000_000, 0, "", "a"),
            Measured("cluster", 1_600_000, 60, 90, 3_100_000_000, 0, "", "a"),
        ],
        16_000_000: [
            Measured("duckdb", 16_000_000, 20, 31.8, 2_100_000_000, 900_000_000, "", "b", 0.4),
            Measured("cluster", 16_000_000, 900, 700, 4_000_000_000, 0, "ended after 15 minutes"),
        ],
    }
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_between(page, BEGIN, END, page_lines(found))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| calls | engine |")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| 16 million | DuckDB | 20 | 32 | 2.1 GB | 0.9 GB |" in text
    assert "| Spark, cluster | ended after 15 minutes | 700 by then | 4.0 GB | 0 |" in text
    assert "the load of the machine was 0.4 at most" in text
    # Two CPU seconds a million more; of Spark one run alone ended, so nothing is reckoned from it.
    assert "| DuckDB, from 16 million | 2.0 | 234 CPU s | 15 s |" in text
    assert text.count("| Spark, cluster, from") == 0
