"""Take the pictures of the README from the pages of a build, in a real browser: `make pictures`, after `make models`.

Pages of synthetic deliveries say so on the picture too. Needs chromium on the machine.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
FOLDER = DOCS / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Picture:
    """A page below the site's folder and the size of the window that shows its beginning, in CSS pixels."""

    page: str
    width: int
    height: int


PICTURES = {
    "report": Picture("en/report-2025.html", 1000, 900),
    "figure": Picture("en/figure-same_day_callback_share.html", 1000, 1300),
    "phone": Picture("fi/report-2025.html", 390, 900),
}


def take(site: Path, folder: Path) -> list[Path]:
    """Write a PNG of each picture into the folder and return the files. Raises FileNotFoundError for a missing page."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise FileNotFoundError(f"there is no browser here; one of {', '.join(BROWSERS)} is needed")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for name, picture in PICTURES.items():
            page = site / picture.page
            if not page.is_file():
                raise FileNotFoundError(f"{page} is not there: make models")
            view = browser.new_page(viewport={"width": picture.width, "height": picture.height})
            view.goto(page.as_uri())
            written.append(folder / f"{name}.png")
            view.screenshot(path=written[-1])
            view.close()
        browser.close()
    return written


if __name__ == "__main__":
    try:
        take(DOCS.parent / "warehouse/current/site", FOLDER)
    except FileNotFoundError as error:
        sys.exit(f"make pictures: {error}")
