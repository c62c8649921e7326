"""A browser to show pages in."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from regard.explain import Look, page

OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = import_module("playwright.sync_api").sync_playwright().start()
    started = playwright.chromium.launch(executable_path=chromium, args=OPTIONS.split())
    yield started
    started.close()
    playwright.stop()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of looks; at the end nothing may have gone wrong in it, and nothing been asked of a network."""
    contexts, wrong = [], []

    def make(*looks: Look, hash: str = "", **options: Any) -> Any:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(page(looks, title="A page"), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": 1440, "height": 900}, **options))
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: wrong.append(message.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        shown.goto(path.as_uri() + hash)
        if options.get("java_script_enabled", True):
            shown.wait_for_selector('html[data-ready="true"]', state="attached", timeout=60_000)
        return shown

    yield make
    for context in contexts:
        context.close()
    assert wrong == []
