"""The page in a browser: heads and texts, what is clicked and typed and read there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.unit.explain.looks import HOSTILE, look, picture, sound, translation, watched
from tests.unit.explain.shown import choose, close, lit, shows, text

pytestmark = pytest.mark.requires("browser")


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
