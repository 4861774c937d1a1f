"""One browser for all tests of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Page, browser
from tests.devices.debian import skip_without_apt


@pytest.fixture(scope="session")
def tab(request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab of Chromium, kept in pytest's cache."""
    skip_without_apt()
    assert request.config.cache is not None
    with browser(request.config.cache.mkdir("browser")) as page:
        yield page
