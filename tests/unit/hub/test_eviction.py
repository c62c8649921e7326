"""Which keys to keep, as docs/uses/cache-eviction.md finds them: from eager attention's weights the same ones."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contracts.test_documents import python_blocks
from torch import Tensor

from regard.attention import Received, Rows, watch
from regard.hub import adopt

PAGE = Path(__file__).parents[3] / "docs" / "uses" / "cache-eviction.md"
KV_HEADS, WINDOW, COUNT, LENGTH = 2, 7, 13, 41
CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page defines: a Llama, `h2o_scores`, `snapkv_scores`, `kept_keys` and `cut`."""
    namespace: dict[str, Any] = {}
    for line, code in python_blocks(PAGE):
        exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), namespace)
    return namespace


def prompts() -> dict[str, Tensor]:
    """Two, of which the second is padded on the left, as `generate` wants it."""
    tokens, mask = torch.randint(3, 100, (2, LENGTH)), torch.ones(2, LENGTH, dtype=torch.int64)
    mask[1, :5] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def eager_weights(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Of each layer, `(batch, heads, queries, keys)`; zero for queries of padding, which see nothing."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(**inputs, output_attentions=True).attentions
    adopt(model)
    return tuple(one * inputs["attention_mask"][:, None, :, None] for one in weights)


def test_scores_are_those_of_eager_attention(page):
    model, inputs = page["model"], prompts()
    weights = eager_weights(model, inputs)
    with torch.no_grad(), watch(model, Received(), Rows(range(-WINDOW, 0))) as seen:
        model(**inputs)
    for layer, right in zip(seen, weights, strict=True):
        prefix = slice(0, LENGTH - WINDOW)
        by_kv_head = right.view(2, KV_HEADS, -1, LENGTH, LENGTH)  # the query heads that share keys side by side
        h2o = by_kv_head.sum((2, 3))[..., prefix]
        torch.testing.assert_close(page["h2o_scores"](seen[layer].received, KV_HEADS, WINDOW), h2o, **CLOSE)
        voted = by_kv_head[..., -WINDOW:, prefix].sum(3)
        near = [voted[..., max(key - 2, 0) : key + 3].amax(-1) for key in range(LENGTH - WINDOW)]
        snapkv = torch.stack(near, -1).sum(2)
        found = page["snapkv_scores"](seen[layer].rows, KV_HEADS, WINDOW)
        torch.testing.assert_close(found, snapkv, **CLOSE)


def test_kept_keys_by_hand(page):
    scores = torch.tensor([[[0.1, 0.7, 0.2, 0.5], [0.9, 0.0, 0.3, 0.1]]])
    assert page["kept_keys"](scores, 2, 3).tolist() == [[[1, 3, 4, 5, 6], [0, 2, 4, 5, 6]]]


def test_a_step_over_a_cut_cache_is_one_that_may_not_see_the_other_keys(page):
    model, inputs = page["model"], prompts()
    inputs["attention_mask"][:] = 1
    cache = page["DynamicCache"](config=model.config)
    with torch.no_grad(), watch(model, Received(), layers="*.0.*") as seen:
        model(**inputs, past_key_values=cache)
        # The same keys in both layers, which share a mask; of each kv head its own.
        scores = page["h2o_scores"](seen["model.layers.0.self_attn"].received, KV_HEADS, WINDOW)
        kept = page["kept_keys"](scores, COUNT, WINDOW)
    assert not torch.equal(kept[:, 0], kept[:, 1])
    token = torch.full((2, 1), 5)
    allowed = torch.zeros(2, KV_HEADS, LENGTH + 1, dtype=torch.bool).scatter_(2, kept, True)
    allowed[..., -1] = True
    by_head = allowed.repeat_interleave(model.config.num_attention_heads // KV_HEADS, 1).unsqueeze(2)
    position = {"position_ids": torch.full((2, 1), LENGTH)}
    small = copy.deepcopy(cache)
    page["cut"](small, [kept, kept])
    with torch.no_grad():
        expected = model(token, past_key_values=cache, attention_mask=by_head, **position).logits
        found = model(token, past_key_values=small, **position).logits
    torch.testing.assert_close(found, expected, **CLOSE)
