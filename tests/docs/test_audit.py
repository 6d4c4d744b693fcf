"""What CI makes of an audit of the dependencies: nobody asked is no failure, and no clean bill either."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / ".ci/audit"


@pytest.fixture(scope="module")
def audit() -> Any:
    loader = SourceFileLoader("audit", str(FILE))
    spec = spec_from_loader("audit", loader)
    if spec is None:
        raise AssertionError("there is no .ci/audit")
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


FOUND = {"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"]}


@pytest.mark.parametrize(
    ("packages", "known", "good", "message"),
    [
        ([], {}, True, "x: not audited, nobody could be asked about any of its 0 packages."),
        ([{"name": "a", "skip_reason": "no"}], {}, True, "x: not audited, nobody could be asked about any of its 1"),
        ([{"name": "a", "version": "1", "vulns": []}], {}, True, "x: 1 of 1 packages audited."),
        ([{"name": "a", "version": "1", "vulns": [FOUND]}], {}, False, "a 1: GHSA-1, mended in 2.0; not accepted"),
        ([{"name": "a", "version": "1", "vulns": [FOUND]}], {"CVE-1": "never called"}, True, "2.0; never called"),
        ([{"name": "a", "version": "1", "vulns": [FOUND]}], {"CVE-2": "other"}, False, "not accepted"),
    ],
)
def test_the_verdict(audit: Any, packages: list[Any], known: dict[str, str], good: bool, message: str) -> None:
    is_good, lines = audit.verdict("x", {"dependencies": packages}, known)
    assert is_good == good
    assert message in "\n".join(lines)


def test_an_acceptance_needs_a_reason(audit: Any) -> None:
    assert audit.accepted("# why\nCVE-1 never called\nCVE-2\n\n") == {"CVE-1": "never called"}


def test_no_network_is_no_failure(
    audit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise audit.subprocess.TimeoutExpired("pip", 1)

    monkeypatch.setattr(audit.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(audit.subprocess, "run", fails)
    assert audit.main() == 0
    assert "not audited here" in capsys.readouterr().out
