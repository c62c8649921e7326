"""The page of every task in a browser: what is given, what comes out, and what it attended to."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from tests.unit.explain.conftest import OPTIONS
from tests.unit.explain.shown import lit
from tests.unit.serve.serving import serving
from tests.unit.serve.stubs import models
from tests.unit.serve.trained import train_all

from regard.serve.model import Model
from regard.serve.settings import Settings
from regard.tasks.registry import TASKS

pytestmark = pytest.mark.requires("browser")
Trained = dict[str, tuple[Model, str]]
MICROPHONE = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """Shapes are not checked: other tests see to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_all(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def address(trained: Trained) -> Iterator[str]:
    with serving([model for model, _ in trained.values()]) as found:
        yield found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = import_module("playwright.sync_api").sync_playwright().start()
    started = playwright.chromium.launch(executable_path=chromium, args=[*OPTIONS.split(), *MICROPHONE.split()])
    yield started
    started.close()
    playwright.stop()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page of the service; nothing may go wrong in it, and nothing be asked of another place."""
    contexts, wrong = [], []

    def make(address: str, model: str = "", expected: str = "nothing", **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text) if expected not in message.text else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))

        def foreign(url: str) -> bool:
            return not url.startswith((address, "data:", "blob:", "about:"))

        page.on("request", lambda request: wrong.append(request.url) if foreign(request.url) else None)
        page.goto(f"{address}/#{model}")
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def give(page: Any, model: Model, given: str) -> None:
    if model.reads == "texts":
        page.get_by_label("Text", exact=True).fill(given)
    else:
        page.locator("input[type=file]").set_input_files(given)


def run(page: Any) -> Any:
    """What the model attended to, as the page shows it, in its frame."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("iframe").wait_for(timeout=60_000)
    frame = page.frame_locator("iframe")
    frame.locator('html[data-ready="true"]').wait_for(state="attached", timeout=60_000)
    return frame


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_page(visit: Callable[..., Any], address: str, trained: Trained, name: str) -> None:
    model, given = trained[name]
    page = visit(address, model.name)
    give(page, model, given)
    frame = run(page)
    [output] = next(iter(model.predictor.predict([given])))
    shown = page.locator(".output").inner_text()
    record = output.record()
    if "things" in record:
        assert page.locator(".things tbody tr").count() == len(record["things"])
    for label in record.get("shares", record.get("probabilities", ())):
        assert label in shown
    if "text" in record:
        assert " ".join((record["text"] or "(nothing)").split()) in " ".join(shown.split())
    assert page.locator(".output img").count() == (1 if getattr(model.predictor, "draws", False) else 0)
    layers = frame.locator(".heads button")
    assert layers.count() >= 2
    layers.last.click()
    assert " attended " in frame.locator(".readout").inner_text()


def test_what_is_shown_is_saved(visit: Callable[..., Any], address: str, trained: Trained) -> None:
    model, given = trained["translation"]
    page = visit(address, model.name)
    give(page, model, given)
    run(page)

    def saved(place: str, name: str) -> bytes:
        with page.expect_download() as download:
            page.locator(place).get_by_role("button", name=name, exact=True).click()
        return Path(download.value.path()).read_bytes()

    [output] = model.predictor.predict([given])[0]
    assert json.loads(saved(".pair", "JSON")) == [output.record()]
    assert set(json.loads(saved(".attention", "JSON"))) == {"title", "score", "sides", "layers"}
    assert saved(".attention", "PNG").startswith(b"\x89PNG")
    assert saved(".attention", "Page").startswith(b"<!DOCTYPE html>")


def test_a_word_lights_its_sources(visit: Callable[..., Any], address: str, trained: Trained) -> None:
    model, given = trained["translation"]
    page = visit(address, model.name)
    give(page, model, given)
    frame = run(page)
    word = frame.locator(".side").nth(1).locator(".piece").first
    word.hover()
    assert frame.locator(".readout .token").inner_text() == word.inner_text()
    assert len(lit(frame)) > 0
    assert frame.locator(".readout .chip").count() > 0
    assert all(
        0 < float(text.split()[-1].lstrip("≥")) <= 1 for text in frame.locator(".readout .chip").all_inner_texts()
    )


def test_the_keyboard_is_enough(visit: Callable[..., Any], address: str, trained: Trained) -> None:
    model, given = trained["sentiment"]
    page = visit(address, model.name)
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.type(given)
    page.keyboard.press("Control+Enter")
    page.locator("iframe").wait_for(timeout=60_000)
    assert page.locator(".output .written").inner_text() in ("positive", "negative")


def test_a_sound_is_recorded(visit: Callable[..., Any], address: str, trained: Trained) -> None:
    model, _ = trained["speech"]
    page = visit(address, model.name, permissions=["microphone"])
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.locator(".preview audio").wait_for()
    assert "recording.wav" in page.locator(".preview").inner_text()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".output .written").wait_for(timeout=60_000)


def test_an_error_is_read_on_the_page(visit: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with serving(models()) as address:
        page = visit(address, "size", expected="422")
        page.locator("input[type=file]").set_input_files(str(path))
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("alert").filter(has_text="notes.png is no picture").wait_for()
        assert page.get_by_role("button", name="Run", exact=True).is_enabled()


def test_what_people_write_stays_text(visit: Callable[..., Any]) -> None:
    hostile = "<img src=x onerror=alert(1)> </script><script>alert(1)</script>"
    with serving(models()) as address:
        page = visit(address, "turn")
        page.get_by_label("Text", exact=True).fill(hostile)
        run(page)
        assert page.locator(".output .written").inner_text() == hostile[::-1]
        assert page.locator(".output img").count() == 0


def test_a_token_is_asked_for_once(visit: Callable[..., Any]) -> None:
    with serving(models(), Settings(token="correct horse")) as address:
        page = visit(address, "turn", expected="401")
        page.get_by_label("This service asks for a token.").fill("wrong horse")
        page.keyboard.press("Enter")
        page.get_by_label("This service asks for a token.").fill("correct horse")
        page.keyboard.press("Enter")
        page.get_by_label("Text", exact=True).fill("abc")
        run(page)
        assert page.locator(".output .written").inner_text() == "cba"
        page.reload()
        page.get_by_label("Text", exact=True).wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark"), (2400, "light")])
def test_it_fits_a_phone_and_a_wide_screen(visit: Callable[..., Any], width: int, scheme: str) -> None:
    with serving(models()) as address:
        page = visit(address, "turn", color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.get_by_label("Text", exact=True).fill("three short words")
        run(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ratio = page.evaluate(CONTRAST)
        assert min(ratio.values()) >= 4.5, ratio


# The contrast of texts with what is behind them, by WCAG's formula.
CONTRAST = """() => {
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = ["h1", "h2", "#models a", "#models a b", "button.main", "button.quiet", ".muted", ".status", "label",
    "summary", ".written", ".tools button"];
  const found = {};
  for (const query of texts) {
    for (const node of document.querySelectorAll(query)) {
      if (!node.offsetParent || node.disabled) continue;
      const [one, other] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
      found[query] = Math.min(found[query] ?? 99, (one + 0.05) / (other + 0.05));
    }
  }
  return found;
}"""
