"""The page in a browser: the large map, pictures and sounds under their weights."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.unit.explain.looks import long, look, picture, sound, watched
from tests.unit.explain.shown import choose, text

from regard.explain import Look, page

pytestmark = pytest.mark.requires("browser")


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
    weights, keys = one.layers[2].topk.weights[3, :20, 0], one.layers[2].topk.keys[3, :20, 0]
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
