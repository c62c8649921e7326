"""The page in a browser: what is clicked, typed and read there."""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.explain.looks import HOSTILE, long, look, picture, sound, translation, watched

from regard.explain import Look, page

pytestmark = pytest.mark.requires("browser")

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


def text(shown: Any, selector: str) -> str:
    return str(shown.locator(selector).first.inner_text())


def lit(shown: Any, side: int = 0) -> dict[int, float]:
    """How brightly each piece of a side is lit, relative to the brightest."""
    pieces = shown.locator(".side").nth(side).locator(".piece")
    strengths = pieces.evaluate_all(
        "pieces => pieces.map(each => [Number(each.dataset.index), Number(each.style.getPropertyValue('--strength'))])"
    )
    return {int(index): strength for index, strength in strengths if strength > 0}


def choose(shown: Any, name: str) -> None:
    shown.locator(f'.heads button[aria-label^="{name}:"]').click()
    shows(shown, name)


def shows(shown: Any, name: str) -> None:
    """Waits until the large map is this head's: its numbers may have to be unpacked first."""
    shown.locator(".map .which").get_by_text(name, exact=True).wait_for()


def close(found: dict[int, float], weights: torch.Tensor) -> None:
    """What is lit is the square root of weights, relative to the strongest, or to 0.1."""
    expected = (weights / weights.max().clamp_min(0.1)).sqrt()
    for index, strength in enumerate(expected.tolist()):
        assert found.get(index, 0.0) == pytest.approx(strength, abs=0.01)


# ---- heads


def test_a_head_is_chosen_by_click_and_by_keyboard(show: Callable[..., Any]) -> None:
    one = translation()
    shown = show(one)
    assert text(shown, ".map .which") == "Mean of 3 layers and their heads"
    choose(shown, "decoder.layers.1.cross_attention, head 2")
    nats = one.layers[7].entropy[2].mean()
    assert f"mean entropy {nats:.2f}" in text(shown, ".map .about")
    for key, name in (("ArrowDown", "2.cross_attention, head 2"), ("ArrowLeft", "2.cross_attention, head 1")):
        shown.keyboard.press(key)
        shows(shown, f"decoder.layers.{name}")
    assert shown.locator('.heads button[aria-pressed="true"]').count() == 1
    assert shown.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert shown.locator('.heads button[tabindex="0"]').count() == 1


def test_every_head_has_its_entropy(show: Callable[..., Any]) -> None:
    one = translation(layers=2, heads=2)
    found = show(one).locator(".heads button span").all_inner_texts()
    expected = [nats for layer in one.layers for nats in layer.entropy.mean(-1).tolist()]
    assert len(found) == 3 * (1 + 2 * 3)  # of each group the mean, of each layer the mean and the heads
    assert {f"{nats:.2f}" for nats in expected} <= set(found)


def test_the_chart_chooses_a_head(show: Callable[..., Any]) -> None:
    one = translation()
    shown = show(one)
    assert f"at most ln 7 = {torch.tensor(7.0).log():.2f} nats" in text(shown, ".entropies")
    assert shown.locator(".chart .dot").count() == 3 * 5
    dot = shown.locator(".chart circle.dot").nth(6)
    dot.click()
    shows(shown, "decoder.layers.1.cross_attention, head 2")
    assert shown.locator(".chart .chosen title").text_content().startswith("decoder.layers.1.cross_attention, head 2:")


# ---- texts


def test_what_a_piece_attended_to_lights_up(show: Callable[..., Any]) -> None:
    one = look()
    shown = show(one)
    choose(shown, "decoder.layers.0.cross, head 1")
    weights = one.layers[0].pooled[1]
    shown.locator(".side").nth(1).locator(".piece").nth(3).hover()
    close(lit(shown), weights[3])
    assert lit(shown, 1) == {}
    strongest = int(weights[3].argmax())
    assert text(shown, ".readout .token") == "runs"
    assert f"{weights[3, strongest]:.3f}" in text(shown, ".readout .chip")
    shown.locator(".side").first.locator(".piece").nth(2).hover()  # a key: who attended to it
    close(lit(shown, 1), weights[:, 2])
    assert "was attended to by" in text(shown, ".readout")
    assert f"{weights[:, 2].sum():.2f} received in all" in text(shown, ".readout")


def test_within_one_text_the_direction_is_chosen(show: Callable[..., Any]) -> None:
    one = watched(12)
    shown = show(one)
    choose(shown, "model.layers.1.attention, head 0")
    weights = one.layers[1].pooled[0]
    shown.locator(".piece").nth(7).click()
    close(lit(shown), weights[7])
    shown.locator(".directions button").nth(1).click()
    close(lit(shown), weights[:, 7])
    assert shown.locator('.directions [aria-pressed="true"]').inner_text() == "attended by"


def test_a_pinned_piece_stays_until_it_is_let_go(show: Callable[..., Any]) -> None:
    shown = show(look())
    output = shown.locator(".side").nth(1)
    output.locator(".piece").nth(1).click()
    assert output.locator(".pinned").inner_text() == "brown"
    assert output.locator('[aria-selected="true"]').count() == 1
    shown.locator("h1").hover()
    assert text(shown, ".readout .token") == "brown"
    shown.keyboard.press("Escape")
    assert output.locator(".pinned").count() == 0
    assert text(shown, ".readout") == "Point at a piece to read what it attended to."
    assert lit(shown) == {}


def test_the_arrow_keys_walk_through_a_text(show: Callable[..., Any]) -> None:
    shown = show(look())
    box = shown.locator(".side").nth(1).locator(".text")
    box.focus()
    for key, piece in (
        ("Home", "A"),
        ("ArrowRight", "brown"),
        ("End", "END"),
        ("ArrowRight", "END"),
        ("ArrowLeft", "runs"),
    ):
        shown.keyboard.press(key)
        assert text(shown, ".readout .token") == piece
        assert shown.locator(f"[id='{box.get_attribute('aria-activedescendant')}']").inner_text() == piece


def test_the_ranking_picks_a_key(show: Callable[..., Any]) -> None:
    one = look()
    shown = show(one)
    choose(shown, "decoder.layers.1.cross, head 0")
    received = one.layers[1].received[0]
    first = shown.locator(".ranking button").first
    assert first.locator(".number").all_inner_texts() == [f"{received.max():.2f}", f"{100 * received.max() / 5:.1f} %"]
    first.click()
    close(lit(shown, 1), one.layers[1].pooled[0][:, int(received.argmax())])
    assert first.get_attribute("class") == "picked"


# ---- the large map


def test_a_cell_tells_its_weight(show: Callable[..., Any]) -> None:
    one = look()
    shown = show(one)
    choose(shown, "decoder.layers.0.cross, head 2")
    canvas = shown.locator(".frame > canvas")
    canvas.focus()
    shown.locator(".side").nth(1).locator(".piece").first.click()
    canvas.focus()
    weights = one.layers[0].pooled[2]
    key = int(weights[0].argmax())
    shown.keyboard.press("ArrowDown")  # from the strongest key of what is picked
    label = shown.locator(".side").first.locator(".piece").nth(key).inner_text()
    assert f"brown → {label}: {weights[1, key]:.3f}" in text(shown, ".tip").replace("·", "")
    shown.keyboard.press("Enter")
    assert text(shown, ".readout .token") == "brown"


def test_zooming_in_leads_to_single_weights(show: Callable[..., Any]) -> None:
    one = watched(400, layers=1, heads=2)
    shown = show(one)
    choose(shown, "model.layers.0.attention, head 1")
    canvas = shown.locator(".frame > canvas")
    assert canvas.get_attribute("data-detail") == "map"
    box = shown.locator(".text")
    box.focus()
    shown.keyboard.press("End")
    canvas.focus()
    for _ in range(4):
        shown.keyboard.press("+")
    shown.wait_for_selector('.frame > canvas[data-detail="cells"]')
    topk = one.layers[0].topk
    shown.keyboard.press("ArrowUp")
    shown.keyboard.press("ArrowDown")
    key, weight = int(topk.keys[1, 399, 0]), float(topk.weights[1, 399, 0])
    assert f": {weight:.3f}" in text(shown, ".tip")
    # A key that was not among the strongest has a bound, the least of them.
    missing = next(other for other in range(key - 1, -1, -1) if other not in topk.keys[1, 399])
    for _ in range(key - missing):
        shown.keyboard.press("ArrowLeft")
    assert f"below {topk.weights[1, 399].min():.3f}" in text(shown, ".tip")
    shown.keyboard.press("0")
    shown.wait_for_selector('.frame > canvas[data-detail="map"]')


def test_the_wheel_zooms_and_the_pointer_moves_the_map(show: Callable[..., Any]) -> None:
    shown = show(watched(400, layers=1, heads=2))
    canvas = shown.locator(".frame > canvas")
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    shown.mouse.move(area["x"] + area["width"] / 2, area["y"] + 250)
    for _ in range(8):
        shown.mouse.wheel(0, -300)
    shown.wait_for_selector('.frame > canvas[data-detail="cells"]')
    before = canvas.screenshot()
    shown.mouse.down()
    shown.mouse.move(area["x"] + area["width"] / 2 - 90, area["y"] + 200, steps=3)
    shown.mouse.up()
    shown.wait_for_timeout(100)
    assert canvas.screenshot() != before
    shown.get_by_text("Whole map").click()
    shown.wait_for_selector('.frame > canvas[data-detail="map"]')


def test_a_mean_of_heads_knows_a_single_weight_from_below(show: Callable[..., Any]) -> None:
    one = watched(400, layers=2, heads=2)
    shown = show(one)
    shown.locator(".text").focus()
    shown.keyboard.press("End")
    shown.wait_for_function("() => document.querySelector('.readout .chip')")
    found = re.findall(r"≥ ([\d.]+)", text(shown, ".readout"))
    sums = torch.zeros(400)
    for layer in one.layers:
        for head in range(2):
            sums[layer.topk.keys[head, 399]] += layer.topk.weights[head, 399] / 4
    assert [float(each) for each in found] == pytest.approx(sums.topk(6).values.tolist(), abs=6e-4)


# ---- pictures and sounds


@pytest.mark.parametrize("make", [picture, sound])
def test_pointing_at_a_place_picks_it(show: Callable[..., Any], make: Callable[[], Look]) -> None:
    one = make()
    shown = show(one)
    place = shown.locator(".picture")
    area = place.bounding_box()
    rows, columns, first = one.sides[0].grid.rows, one.sides[0].grid.columns, one.sides[0].grid.first
    row, column = rows // 2, 2 * columns // 3
    at = {"x": (column + 0.5) * area["width"] / columns, "y": (row + 0.5) * area["height"] / rows}
    bare = place.screenshot()
    place.click(position=at)
    piece = one.sides[0].pieces[first + row * columns + column]
    assert text(shown, ".readout .token").split("\n")[0].startswith(piece.text)
    shown.wait_for_timeout(100)
    assert place.screenshot() != bare
    place.focus()
    shown.keyboard.press("ArrowLeft")
    assert text(shown, ".readout .token").startswith(one.sides[0].pieces[first + row * columns + column - 1].text)


def test_a_sound_is_played_from_where_it_is_clicked_and_points_at_what_is_heard(show: Callable[..., Any]) -> None:
    shown = show(sound(300, played=True))
    audio = shown.locator(".side.sound audio")
    shown.wait_for_function("document.querySelector('audio').readyState >= 2")
    assert audio.evaluate("node => node.duration") == pytest.approx(6.0, abs=0.1)
    area = shown.locator(".picture").bounding_box()
    shown.locator(".picture").click(position={"x": area["width"] / 2, "y": area["height"] / 2})
    assert audio.evaluate("node => node.currentTime") == pytest.approx(3.0, abs=0.05)
    shown.keyboard.press("Escape")
    audio.evaluate("node => node.play()")
    shown.wait_for_timeout(400)
    heard = float(text(shown, ".readout .token").split("s")[0])
    assert 3.0 <= heard <= audio.evaluate("node => node.currentTime") + 0.02
    audio.evaluate("node => node.pause()")


def test_weights_lie_over_the_picture(show: Callable[..., Any]) -> None:
    """The greater a weight, the more it covers of its patch."""
    one = picture(caption=True)
    shown = show(one)
    choose(shown, "text.0.cross, head 0")
    shown.locator(".side").nth(1).locator(".piece").nth(2).click()
    shown.wait_for_timeout(200)
    weights = one.layers[2].pooled[0, 2, 1:]
    alpha = shown.locator(".cover").evaluate(
        """canvas => {
            const [wide, high] = [canvas.width, canvas.height];
            const { data } = canvas.getContext("2d").getImageData(0, 0, wide, high);
            const middle = (i, size) => Math.floor((i + 0.5) * size / 7);
            const place = (i) => middle(Math.floor(i / 7), high) * wide + middle(i % 7, wide);
            return Array.from({ length: 49 }, (_, i) => data[4 * place(i) + 3]);
        }"""
    )
    expected = 0.85 * 255 * (weights / weights.max().clamp_min(0.1)).sqrt()
    torch.testing.assert_close(torch.tensor(alpha).float(), expected, atol=2, rtol=0)


# ---- the page


def test_hostile_tokens_are_text_and_nothing_runs(show: Callable[..., Any]) -> None:
    shown = show(look(HOSTILE, HOSTILE, title="<i>&", layer="<u>{}"), look())
    assert shown.evaluate("document.body.dataset.harmed") is None
    assert shown.locator("img, i:not(.gauge), b:not(.number, nav b), u").count() == 0
    assert shown.locator(".side").first.locator(".piece").first.inner_text() == HOSTILE[0][1:]
    assert shown.locator(".heads tbody th").nth(1).inner_text().startswith("<u>")
    for index in range(len(HOSTILE)):
        shown.locator(".side").first.locator(".piece").nth(index).hover()
    canvas = shown.locator(".frame > canvas")
    canvas.focus()
    shown.keyboard.press("ArrowDown")
    assert shown.evaluate("document.body.dataset.harmed") is None


def test_another_look_is_chosen_from_the_list(show: Callable[..., Any]) -> None:
    shown = show(look(), look("▁Zwei </s>", "▁Two </s>", title="Numbers"), hash="#sentence-2")
    assert shown.locator("section.look:visible h2").all_inner_texts() == ["Numbers"]
    shown.locator("nav a").first.click()
    shown.wait_for_selector("#sentence-1 .live")
    assert shown.locator("section.look:visible h2").all_inner_texts() == ["A dog"]
    shown.go_back()
    shown.wait_for_selector("#sentence-2 .live >> visible=true")
    assert shown.locator("section.look:visible h2").all_inner_texts() == ["Numbers"]


def test_in_the_dark_the_map_is_dark_and_on_paper_light(show: Callable[..., Any]) -> None:
    shown = show(look(), color_scheme="dark")
    corner = """canvas => [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data].slice(0, 3)"""
    ramp = shown.locator(".ramp")
    assert max(ramp.evaluate(corner)) < 60
    shown.emulate_media(media="print")
    shown.wait_for_timeout(200)
    assert min(shown.locator(".ramp").evaluate(corner)) > 200
    assert not shown.locator(".tools").is_visible()
    assert shown.locator(".frame > canvas").is_visible()
    assert shown.locator(".side").first.is_visible()


def test_it_fits_on_a_phone(show: Callable[..., Any]) -> None:
    for one in (translation(), watched(400, layers=2, heads=8), picture(caption=True), sound()):
        shown = show(one)
        shown.set_viewport_size({"width": 390, "height": 844})
        shown.wait_for_timeout(100)
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390


def test_everything_has_a_name_and_can_be_reached(show: Callable[..., Any]) -> None:
    """Every button has a name, and the tab key reaches the texts, the map, a head and the ranking."""
    shown = show(translation())
    names = shown.evaluate(
        "[...document.querySelectorAll('button')].map(e => e.getAttribute('aria-label') || e.innerText)"
    )
    assert all(name.strip() for name in names)
    reached = []
    shown.locator("h1").click()
    for _ in range(16):
        shown.keyboard.press("Tab")
        reached.append(shown.evaluate("document.activeElement.closest('.panel')?.className ?? ''"))
    assert {"panel texts", "panel map", "panel heads", "panel ranking"} <= set(reached)


def test_without_javascript_it_can_be_read(show: Callable[..., Any]) -> None:
    shown = show(translation(), java_script_enabled=False)
    assert shown.locator(".still").is_visible()
    assert "Ein brauner Hund rennt." in text(shown, ".still")


def test_32768_tokens(show: Callable[..., Any], record_property: Callable[[str, object], None]) -> None:
    one = long()
    html = page([one], title="A page")
    size = len(html.encode())
    assert size < 5_000_000
    shown = show(one)
    times = []
    for _ in range(3):
        shown.reload()
        shown.wait_for_selector('html[data-ready="true"]', state="attached")
        times.append(shown.evaluate("performance.now()") / 1000)
    record_property(
        "note", f"page of 32,768 pieces, 4 layers of 8 heads: {size / 1e6:.2f} MB, opens in {min(times):.2f} s"
    )
    choose(shown, "model.layers.2.attention, head 3")
    box = shown.locator(".text")
    box.focus()
    shown.keyboard.press("End")
    assert "32,768" in text(shown, ".readout .token")
    weights, keys = one.layers[2].topk.weights[3, :100, 0], one.layers[2].topk.keys[3, :100, 0]
    query = int(weights.argmax())
    shown.keyboard.press("Home")
    for _ in range(query):
        shown.keyboard.press("ArrowRight")
    assert shown.locator(".readout .chip .place").first.inner_text() == str(int(keys[query]) + 1)
    shown.locator(".frame > canvas").focus()
    for _ in range(12):
        shown.keyboard.press("+")
    shown.wait_for_selector('.frame > canvas[data-detail="cells"]')
    for key in ("ArrowDown", "ArrowUp"):
        shown.keyboard.press(key)
    (weight,) = re.findall(r": ([\d.]+)$", text(shown, ".tip"))
    assert float(weight) == pytest.approx(float(weights[query]), abs=0.01)
