"""`observe`, `plan` and the drop-in: what they say, and how results print and draw themselves."""

import pickle
import re
from html.parser import HTMLParser

import pytest
import torch

import regard


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


def draw(length: int = 5) -> list[torch.Tensor]:
    return list(torch.randn(3, 2, 3, length, 7))


def text_of(html: str) -> list[str]:
    """The texts of a piece of HTML, whose tags are all closed."""
    texts, opened = [], []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            if tag != "img":
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

        def handle_data(self, data: str) -> None:
            texts.append(data)

    parser = Parser()
    parser.feed(html)
    parser.close()
    assert opened == []
    return texts


# observe


def test_observe_needs_something_to_record() -> None:
    text = "observe needs something to record: record=[regard.TopK(8)]; without, call regard.attend"
    for record in ([], {}, ()):
        with refuses(ValueError, text):
            regard.observe(*draw(), record=record)


def test_two_of_a_kind_need_names() -> None:
    text = 'two observations are called "topk"; name them: record={"first": TopK(k=2), "second": TopK(k=3)}'
    with refuses(ValueError, text):
        regard.observe(*draw(), record=[regard.TopK(2), regard.Entropy(), regard.TopK(3)])
    _, seen = regard.observe(*draw(), record={"first": regard.TopK(2), "second": regard.TopK(3)})
    assert [seen[name].keys.shape[-1] for name in seen] == [2, 3]


@pytest.mark.usefixtures("unchecked")
def test_record_holds_observations() -> None:
    with refuses(TypeError, "record takes observations such as regard.Entropy(), got 'entropy'"):
        regard.observe(*draw(), record=["entropy"])
    with refuses(TypeError, "; write Entropy()"):
        regard.observe(*draw(), record=[regard.Entropy])
    with refuses(TypeError, "; write Received()"):
        regard.observe(*draw(), record={"received": regard.Received})
    text = "record takes a list of observations, got TopK(k=2); write record=[regard.Entropy()]"
    with refuses(TypeError, text):
        regard.observe(*draw(), record=regard.TopK(2))


def test_seen_is_a_mapping_and_has_attributes() -> None:
    _, seen = regard.observe(*draw(), record={"entropy": regard.Entropy(), "strong": regard.TopK(2)})
    assert list(seen) == ["entropy", "strong"]
    assert len(seen) == 2
    assert seen.entropy is seen["entropy"]
    assert dict(seen)["strong"] is seen.strong
    assert "received" not in seen
    with refuses(KeyError, "'received' was not recorded; recorded: entropy, strong"):
        seen["received"]
    with refuses(AttributeError, "'received' was not recorded; recorded: entropy, strong"):
        _ = seen.received
    assert not hasattr(seen, "_private")


def test_seen_travels() -> None:
    _, seen = regard.observe(*draw(), record=[regard.Entropy(), regard.TopK(2)])
    again = pickle.loads(pickle.dumps(seen))
    assert torch.equal(again.entropy, seen.entropy)
    assert torch.equal(again.topk.keys, seen.topk.keys)


def test_seen_prints_and_draws_itself() -> None:
    _, seen = regard.observe(*draw(), record={"a<b": regard.Entropy(), "strong": regard.TopK(2)})
    assert repr(seen) == ("Seen(a<b: (2, 3, 5), strong: TopKeys(keys=(2, 3, 5, 2), weights=(2, 3, 5, 2)))")
    texts = [text for text in text_of(seen._repr_html_()) if text.strip()]
    assert texts == ["a<b", "(2, 3, 5)", "strong", "(2, 3, 5, 2)"]
    assert repr(regard.Seen({})) == "Seen()"


def test_observations_need_a_definition() -> None:
    class Mine(regard.Observation):
        pass

    with refuses(NotImplementedError, "Mine does not define of()"):
        regard.observe(*draw(), record=[Mine()])


def test_own_observations() -> None:
    class Strongest(regard.Observation):
        def of(self, matrices: object) -> torch.Tensor:
            return matrices.weights.amax(-1)

    _, seen = regard.observe(*draw(), record=[Strongest(), regard.TopK(1)])
    assert torch.equal(seen.strongest, seen.topk.weights[..., 0])


@pytest.mark.parametrize("k", [0, -1])
def test_top_k_is_wide(k: int) -> None:
    with refuses(ValueError, f"TopK needs k >= 1, got {k}"):
        regard.TopK(k)


# plan


@pytest.mark.requires("native")
def test_plan_of_a_masked_call() -> None:
    plan = regard.plan(*draw(), mask=regard.Causal())
    assert str(plan) == (
        "backend: native\nscores: DotScores\n"
        "mask: Causal(), 1 interval of keys a query (60% of the pairs allowed)\n"
        "linear: lacks dot products (Dot, ScaledDot, General, Cosine, Gaussian); softmax (Softmax)\n"
        "sdpa: could run too\n"
        "streamed: could run too\nreference: could run too"
    )


def test_plan_without_a_mask() -> None:
    plan = regard.plan(*draw(101), backend="sdpa")
    assert str(plan).startswith("backend: sdpa\nscores: DotScores\nmask: none: every pair\nlinear: lacks ")


def test_plan_names_what_others_lack_and_what_would_be_faster() -> None:
    score = regard.SoftCap(regard.ScaledDot(), 30.0) + regard.Bias(torch.nn.Parameter(torch.zeros(101)))
    options = {"normalize": regard.Entmax(1.3), "dropout": 0.1, "record": [regard.Entropy()]}
    plan = regard.plan(*draw(101), score=score, **options)
    assert plan.backend == "streamed"
    lacks = [
        "a soft cap around a dot product",
        "dropout",
        "entmax of any alpha (Entmax)",
        "observations",
        "the gradient of a term",
    ]
    assert plan.others["sdpa"] == lacks
    assert plan.others["reference"] == []
    lines = str(plan).split("\n")
    assert f"sdpa: lacks {'; '.join(lacks)}" in lines
    fused = min(("native", "sdpa"), key=lambda name: len(plan.others[name]))
    assert lines[-1] == f"faster: without {'; '.join(plan.others[fused])} the call would run fused, on {fused}"
    plan = regard.plan(*draw(101), normalize=regard.Hard(), backend="reference")
    text = f"faster: without {regard.attention.capabilities.Feature.HARD.value} the call would run fused, on "
    assert str(plan).split("\n")[-1].startswith(text)


def test_plan_of_scores_without_a_fused_form() -> None:
    score = regard.SoftCap(regard.SoftCap(regard.Dot(), 2.0), 1.0)
    plan = regard.plan(*draw(101), score=score)
    assert plan.form == "no fused form: pair by pair"
    assert plan.others["sdpa"] == [
        "scores of any other form (Network, RelativeKeys, a soft cap around terms, your own)"
    ]
    assert regard.plan(*draw(), score=regard.Additive(7, 5, heads=3)).form == "AdditiveScores"


def test_plan_of_a_named_backend() -> None:
    assert regard.plan(*draw(), backend="sdpa").backend == "sdpa"
    with refuses(ValueError, 'backend "sdpa" lacks what this call needs: dropout.'):
        regard.plan(*draw(), backend="sdpa", dropout=0.1)


def test_plan_draws_itself() -> None:
    plan = regard.plan(*draw(), mask=regard.Causal() & regard.Window(1))
    assert "(Causal() &amp; Window(" in plan._repr_html_()
    lines = [line.split(": ", 1) for line in str(plan).split("\n")]
    assert text_of(plan._repr_html_()) == [text for line in lines for text in line]


def test_plan_computes_nothing() -> None:
    """No gradient, no random number, and the arguments stay as they are."""
    tensors = [tensor.requires_grad_() for tensor in draw(101)]
    state = torch.get_rng_state()
    regard.plan(*tensors, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(tensor.grad is None for tensor in tensors)


# The drop-in's errors


def test_a_mask_and_is_causal_exclude_each_other() -> None:
    text = "is_causal and attn_mask exclude each other; put the causal part into attn_mask, or leave it out"
    with refuses(ValueError, text):
        regard.scaled_dot_product_attention(*draw(), torch.ones(5, 5, dtype=torch.bool), is_causal=True)


@pytest.mark.usefixtures("unchecked")
def test_two_dimensions_at_least() -> None:
    query, key, value = draw()
    text = "query, key and value need at least 2 dimensions, got 4, 1 and 4"
    with refuses(ValueError, text):
        regard.scaled_dot_product_attention(query, key[0, 0, 0], value)


@pytest.mark.usefixtures("unchecked")
def test_leading_dimensions_broadcast_or_are_named() -> None:
    query, key, value = draw()
    text = (
        "the leading dimensions of query (2, 3, 5, 7), key (2, 2, 5, 7) and value (2, 2, 5, 7) must broadcast; "
        "for grouped heads pass enable_gqa=True"
    )
    with refuses(ValueError, text):
        regard.scaled_dot_product_attention(query, key[:, :2], value[:, :2])
    with refuses(ValueError, "value (2, 2, 5, 7) must broadcast"):
        regard.scaled_dot_product_attention(query, key, value[:, :2], enable_gqa=True)
    with refuses(ValueError, "heads must be a multiple of kv_heads"):
        regard.scaled_dot_product_attention(query, key[:, :2], value[:, :2], enable_gqa=True)


def test_grouped_heads_need_heads() -> None:
    query, key, value = torch.randn(3, 5, 7)
    with refuses(ValueError, "enable_gqa needs a dimension of heads: (..., heads, length, width)"):
        regard.scaled_dot_product_attention(query, key, value, enable_gqa=True)


@pytest.mark.parametrize("shape", [(5, 7), (3, 1, 5, 5), (1, 2, 3, 5, 5)], ids=str)
def test_attn_mask_broadcasts(shape: tuple[int, ...]) -> None:
    text = f"attn_mask {shape} does not broadcast to (..., heads, queries, keys) = (2, 3, 5, 5)"
    for dtype in (torch.bool, torch.float32):
        with refuses(ValueError, text):
            regard.scaled_dot_product_attention(*draw(), torch.ones(shape, dtype=dtype))


@pytest.mark.usefixtures("unchecked")
def test_attn_mask_is_boolean_or_added() -> None:
    with refuses(TypeError, "Bias takes a floating-point tensor to add to the scores, got torch.int64"):
        regard.scaled_dot_product_attention(*draw(), torch.ones(5, 5, dtype=torch.int64))


def test_dropout_p_is_a_probability() -> None:
    with refuses(ValueError, "0 <= dropout < 1; got 1.5"):
        regard.scaled_dot_product_attention(*draw(), dropout_p=1.5)


@pytest.mark.parametrize("mask", [None, regard.Causal()], ids=["none", "causal"])
def test_tensors_without_numbers_give_the_shape(mask):
    query = torch.empty(2, 6, 5, 8, device="meta", requires_grad=True)
    key, value = torch.empty(2, 3, 7, 8, device="meta"), torch.empty(2, 3, 7, 11, device="meta")
    context = regard.attend(query, key, value, mask=mask)
    context.sum().backward()
    assert context.shape == (2, 6, 5, 11)
    assert query.grad.device.type == "meta"
