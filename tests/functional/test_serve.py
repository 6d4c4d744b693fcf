"""kpi serve: what lies in the folder, to who may ask, and nothing else."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.reader.serve import MOST_AT_ONCE, Served, parts_of, serving, site_of
from kpi.warehouse.builds import Warehouse


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A site in two languages beside a secret, with links and a pipe that lead astray."""
    folder = tmp_path / "site"
    for language in ("fi", "sv"):
        (folder / language).mkdir(parents=True)
        (folder / language / "index.html").write_text(f"<p>{language}")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / ".hidden").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.txt")
    (folder / "naïve <b>.html").write_text("text")
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/indicators.csv").write_text("a,b\n")
    return folder


@pytest.fixture
def port(pages: Path) -> Iterator[int]:
    served = Served(lambda: pages, pages.parent / "exports")
    with serving(served, "127.0.0.1", 0) as (server, _):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, str]:
    con = HTTPConnection("127.0.0.1", port, timeout=60)
    con.request(method, path, headers=headers)
    answer = con.getresponse()
    text = answer.read().decode()
    con.close()
    return answer, text


def test_pages_and_exports_are_served_as_what_they_are(port: int) -> None:
    answer, text = ask(port, "/fi/index.html")
    assert (answer.status, text) == (200, "<p>fi")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(port, "/fi/")[1] == "<p>fi"
    assert ask(port, "/sv/index.html?x=1")[1] == "<p>sv"
    assert ask(port, "/na%C3%AFve%20%3Cb%3E.html")[1] == "text"
    answer, text = ask(port, "/exports/indicators.csv")
    assert (text, answer.headers["Content-Type"]) == ("a,b\n", "text/csv; charset=utf-8")
    answer, text = ask(port, "/fi/index.html", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], text) == (200, "5", "")


def test_the_first_page_is_in_the_language_of_the_browser(port: int) -> None:
    found = [
        ask(port, "/", **({"Accept-Language": text} if text else {}))[0].headers["Location"]
        for text in ("", "sv-FI,fi;q=0.8", "de,en")
    ]
    assert found == ["/fi/index.html", "/sv/index.html", "/fi/index.html"]


@pytest.mark.parametrize(
    "path",
    [
        *("/../secret.txt", "/fi/../../secret.txt", "/%2e%2e/secret.txt", "/fi/%2e%2e%2f%2e%2e%2fsecret.txt"),
        *("/..%5csecret.txt", "//etc/passwd", "/out/secret.txt", "/link.txt", "/.hidden", "/pipe.txt", "/fi", "/none"),
        *("/fi/index.html%00.txt", "/%ff", "/fi//index.html", "/exports/../secret.txt", "/exports/", "/" + "a" * 2000),
    ],
)
def test_nothing_else_is_found(port: int, path: str) -> None:
    answer, text = ask(port, path)
    assert (answer.status, text) == (404, "404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_can_be_written(port: int, method: str, pages: Path) -> None:
    before = sorted(pages.rglob("*"))
    answer, _ = ask(port, "/fi/index.html", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert sorted(pages.rglob("*")) == before


def test_a_page_of_another_site_cannot_ask_by_its_own_name(port: int) -> None:
    assert ask(port, "/fi/index.html", Host="evil.example")[0].status == 421
    assert ask(port, "/fi/index.html", Host=f"localhost:{port}")[0].status == 200
    assert ask(port, "/fi/index.html", Host="[::1]:1")[0].status == 200


def test_who_asks_slowly_holds_up_nobody(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_AT_ONCE - 1)]
    for one in slow:
        one.sendall(b"GET /fi/")
    assert ask(port, "/fi/index.html")[1] == "<p>fi"
    more = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    # One too many is turned away at once: the second, or the first when the answer above has not left its place yet.
    turned_away = select.select(more, [], [], 60)[0]
    assert turned_away
    assert turned_away[0].recv(10) == b""
    for one in (*slow, *more):
        one.close()


def test_paths_are_cut_into_parts() -> None:
    assert parts_of("/a/b.html") == ["a", "b.html"]
    assert parts_of("/") == [""]
    assert parts_of("a") is None


def test_another_address_needs_a_word_and_a_taken_port_is_told(pages: Path, port: int) -> None:
    def run(*words: str) -> object:
        return CliRunner().invoke(cli, ["serve", str(pages), *words], catch_exceptions=False)

    with pytest.raises(ConfigError, match=r"0.0.0.0 can be reached by other machines: .* --to-others"):
        run("--address", "0.0.0.0")
    with pytest.raises(ConfigError, match=rf"127.0.0.1 port {port}: Address already in use. Name another with --port"):
        run("--port", str(port))


def test_without_a_build_there_is_nothing_to_serve(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: p\n")
    assert site_of(Warehouse(tmp_path / "warehouse")) is None
    with pytest.raises(ConfigError, match="nothing is published here yet"):
        CliRunner().invoke(cli, ["serve", "--project-dir", str(tmp_path)], catch_exceptions=False)
