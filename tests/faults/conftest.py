"""Fixtures that several tests of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest

from retained import DELIVERED, deliver, project, refreshed


@pytest.fixture(scope="session")
def retained_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, delivered and published. Tests work on copies."""
    root = project(tmp_path_factory.mktemp("published"))
    deliver(root, DELIVERED)
    refreshed(root)
    return root
