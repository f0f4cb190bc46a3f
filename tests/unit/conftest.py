"""`pytest tests/unit --update-golden` rewrites the golden files."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write the golden files anew instead of comparing.")


@pytest.fixture(autouse=True)
def a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this day 1.34, the version of most examples, gets patches."""
    monkeypatch.setattr("kbootstrap.inventory.today", lambda: datetime.date(2026, 1, 1))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text has to be that of the golden file."""

    def same(name: str, text: str) -> None:
        path = FOLDER / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert text == path.read_text(), "pytest tests/unit --update-golden writes it anew; read the difference"

    return same
