import warnings
from io import BytesIO
from pathlib import Path

import pytest
import torch
from tests.unit.explain.looks import look

from regard.explain import (
    Attribution,
    Grid,
    Look,
    Piece,
    Side,
    draw,
    draw_attribution,
    draw_entropy,
    draw_map,
    draw_over,
    draw_received,
    of_weights,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
READ = pytest.importorskip("matplotlib.image").imread


@pytest.fixture(autouse=True)
def closed():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


@pytest.fixture
def dog() -> Look:
    return look()


def test_a_picture_of_everything(dog: Look, tmp_path: Path) -> None:
    path = tmp_path / "dog.png"
    draw(dog, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    picture = READ(path)
    height, width, _ = picture.shape
    assert min(height, width) > 400
    assert picture[..., :3].std() > 0.05
    # The paper is white, and no end of the picture is cut off.
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in edges)


def test_the_same_look_gives_the_same_picture(dog: Look, tmp_path: Path) -> None:
    draw(dog, tmp_path / "one.png")
    draw(dog, str(tmp_path / "two.png"))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("source", ["▁$x^{$ $ \\frac", "▁二〇二六年 ▁மார்ச் ▁١٤", "▁\x00\ud800 \u202e \n", "</s>"])
def test_any_tokens_can_be_drawn(source: str, tmp_path: Path) -> None:
    """Mathematics is not read, and scripts without a font neither fail nor warn (an error here)."""
    draw(look(source, source, layers=1, heads=1, title=source), tmp_path / "any.png")
    assert READ(tmp_path / "any.png")[..., :3].std() > 0.02


def test_the_users_settings_stay_out_and_stay(dog: Look, tmp_path: Path) -> None:
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black"}):
        draw(dog, tmp_path / "mine.png")
        assert matplotlib.rcParams["text.usetex"]
    draw(dog, tmp_path / "plain.png")
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_picture_is_a_png(dog: Look, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"draw writes PNG, .*dog.svg: give .*dog.png"):
        draw(dog, tmp_path / "dog.svg")


# ---- axes


def test_a_map_is_the_heads_weights(dog: Look) -> None:
    layer = dog.layers[1]
    for head in (None, 2):
        axes = draw_map(dog, layer.name, head)
        (image,) = axes.get_images()
        torch.testing.assert_close(torch.as_tensor(image.get_array().data), layer.map(head))
        assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "brown", "dog", "runs", "END"]
        assert [label.get_text() for label in axes.get_xticklabels()][1:3] == ["brau", "·ner"]
    assert axes.get_title() == f"{layer.name}, head 2"


def test_a_long_map_is_labelled_by_places() -> None:
    words = " ".join(["▁word"] * 100)
    axes = draw_map(look(words, words, layers=1, heads=1), "decoder.layers.0.cross")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "25", "50", "74", "99"]


def test_entropies_are_dots_by_layer(dog: Look) -> None:
    axes = draw_entropy(dog)
    dots = torch.cat([torch.as_tensor(one.get_offsets().data) for one in axes.collections])
    expected = torch.stack([layer.entropy.mean(-1) for layer in dog.layers])
    torch.testing.assert_close(dots[:, 1].float(), expected.flatten())
    torch.testing.assert_close(torch.as_tensor(axes.lines[0].get_ydata()).float(), expected.mean(-1))


def test_keys_are_ranked_by_what_they_receive(dog: Look) -> None:
    layer = dog.layers[0]
    axes = draw_received(dog, layer.name, 1, k=3)
    weights, keys = layer.received[1].topk(3)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(weights.tolist())
    names = [dog.side("source").pieces[key].label for key in keys]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{name}  {key}" for name, key in zip(names, keys.tolist(), strict=True)
    ]


def test_weights_lie_over_a_picture() -> None:
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (30, 20), (90, 120, 30)).save(file, format="PNG")
    names = tuple(Piece(text=str(place), starts=True) for place in range(7))
    side = Side(name="picture", pieces=names, grid=Grid(png=file.getvalue(), rows=2, columns=3, first=1))
    weights = torch.rand(1, 7, 7).softmax(-1)
    seen = Look(title="", sides=(side,), layers=(of_weights("layer", weights, queries="picture", keys="picture"),))
    picture, veil = draw_over(seen, "layer", query=3).get_images()
    assert picture.get_extent() == veil.get_extent()
    opacity = torch.as_tensor(veil.get_array()[..., 3].data).flatten()
    torch.testing.assert_close(opacity / opacity.max(), (weights[0, 3, 1:] / weights[0, 3, 1:].max()).sqrt())
    with pytest.raises(ValueError, match="there is no query 7: there are 7, counted from 0"):
        draw_over(seen, "layer", query=7)


def test_an_attribution_shows_what_is_missing() -> None:
    found = Attribution("rollout", (4,), torch.tensor([[[0.1, 0.5, 0.2]]]), torch.tensor([[0.2]]))
    axes = draw_attribution(found, ["a", "b", "c"], k=2)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.7, 0.4, 0.5, 0.2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b  1", "c  2"]


def test_functions_draw_where_they_are_told(dog: Look) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert draw_entropy(dog, ax=axes) is axes


def test_errors_say_what_there_is(dog: Look) -> None:
    with pytest.raises(ValueError, match=r"no layer 'encoder'; there is decoder\.layers\.0\.cross, decoder"):
        draw_map(dog, "encoder")
    with pytest.raises(ValueError, match=r"cross has no head 3: give one of 0 to 2"):
        draw_map(dog, "decoder.layers.0.cross", 3)
    with pytest.raises(ValueError, match='"source", are no places of a picture; draw_map draws them'):
        draw_over(dog, "decoder.layers.0.cross")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_received(dog, "decoder.layers.0.cross")


def test_words_over_a_picture_are_a_strip(tmp_path: Path) -> None:
    from PIL import Image

    from regard.explain.picture import _over_a_picture, _strip

    file = BytesIO()
    Image.new("RGB", (90, 60), (120, 130, 140)).save(file, format="PNG")
    places = tuple(Piece(text=f"{place}", starts=True) for place in range(6))
    picture = Side(name="picture", pieces=places, grid=Grid(png=file.getvalue(), rows=2, columns=3))
    words = Side(name="caption", pieces=tuple(Piece(text=f"word{n}", starts=True) for n in range(7)))
    weights = torch.rand(2, 7, 6, generator=torch.Generator().manual_seed(1)).softmax(-1)
    own = of_weights("the picture", torch.eye(6).expand(1, 6, 6), queries="picture", keys="picture")
    layers = [of_weights(f"layer {n}", weights, queries="caption", keys="picture") for n in range(2)]
    one = Look(title="a dog", sides=(picture, words), layers=(own, *layers))
    assert [layer.name for layer in _over_a_picture(one)] == ["layer 0", "layer 1"]
    figure = _strip(one, _over_a_picture(one))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"word{n}" for n in range(7)]
    draw(one, tmp_path / "strip.png")
    height, width, _ = READ(tmp_path / "strip.png").shape
    assert width > height
    assert _over_a_picture(Look(title="a dog", sides=(picture,), layers=(own,))) == [], "a map, of places to places"
