"""What `attend` says to arguments that do not fit, in the words of whoever passed them."""

import re

import pytest
import torch
from torch import Tensor

import regard

pytestmark = pytest.mark.usefixtures("unchecked")


def draw(batch: int = 2, heads: int = 3, queries: int = 5, keys: int = 7, width: int = 11) -> list[Tensor]:
    query = torch.randn(batch, heads, queries, width)
    return [query, *torch.randn(2, batch, heads, keys, width)]


def refuses(error: type[Exception], text: str, *tensors: object, **options: object) -> None:
    """`attend`, `observe` and `plan` raise the same, and the whole of `text` is in it."""
    arguments = tensors or draw()
    for verb in (regard.attend, regard.plan):
        with pytest.raises(error, match=re.escape(text)):
            verb(*arguments, **options)
    with pytest.raises(error, match=re.escape(text)):
        regard.observe(*arguments, record=[regard.Entropy()], **options)


# Values of the four steps


def test_a_score_s_class_is_no_score() -> None:
    text = "score takes a value such as regard.ScaledDot(), got Dot; write Dot()"
    refuses(TypeError, text, score=regard.Dot)


def test_a_function_is_no_score() -> None:
    text = "score takes a value such as regard.ScaledDot(), got function"
    refuses(TypeError, text, score=lambda query, key: query @ key.mT)


def test_a_name_is_no_normalizer() -> None:
    refuses(TypeError, "normalize takes a value such as regard.Softmax(), got str", normalize="softmax")
    refuses(TypeError, "got Softmax; write Softmax()", normalize=regard.Softmax)


def test_a_tensor_is_no_mask() -> None:
    text = (
        "mask takes a value such as regard.Causal(), got Tensor; "
        "a boolean tensor (True = may attend) is mask=regard.Dense(tensor)"
    )
    refuses(TypeError, text, mask=torch.ones(5, 7, dtype=torch.bool))


def test_a_flag_is_no_mask() -> None:
    refuses(TypeError, "mask takes a value such as regard.Causal(), got bool", mask=True)
    refuses(TypeError, "got Causal; write Causal()", mask=regard.Causal)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_is_a_probability(dropout: float) -> None:
    text = f"dropout is the probability of dropping a weight, 0 <= dropout < 1; got {dropout}"
    refuses(ValueError, text, dropout=dropout)


# Tensors


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_inputs_are_tensors_of_four_dimensions_of_numbers(name: str) -> None:
    place = ("query", "key", "value").index(name)

    def with_(replacement: object) -> list[object]:
        return [replacement if index == place else tensor for index, tensor in enumerate(draw())]

    refuses(TypeError, f"{name} must be a tensor, got list", *with_([[1.0]]))
    text = (
        f"{name} must have 4 dimensions, (batch, heads, length, width), got shape (2, 5, 11); "
        f"from (batch, length, width) make one head: {name}.unsqueeze(1)"
    )
    refuses(ValueError, text, *with_(torch.randn(2, 5, 11)))
    refuses(TypeError, f"{name} must be floating-point, got torch.int64", *with_(torch.ones(2, 3, 5, 11).long()))


@pytest.mark.parametrize("name", ["key", "value"])
def test_one_device(name: str) -> None:
    tensors = dict(zip(("query", "key", "value"), draw(), strict=True))
    tensors[name] = tensors[name].to("meta")
    text = f"query is on cpu but {name} is on meta; move it: {name}.to(query.device)"
    refuses(ValueError, text, *tensors.values())


def test_one_dtype() -> None:
    query, key, value = draw()
    text = "query, key and value must share a dtype, got torch.float32, torch.bfloat16 and torch.float32; cast them: "
    refuses(TypeError, text, query, key.bfloat16(), value)


def test_one_batch() -> None:
    query, key, value = draw()
    text = (
        "query, key and value must have one batch size, got query (1, 3, 5, 11), key (2, 3, 7, 11), value (2, 3, 7, 11)"
    )
    refuses(ValueError, text, query[:1], key, value)


def test_a_value_for_each_key() -> None:
    query, key, value = draw()
    text = "each key needs one value: key and value must agree in kv_heads and keys, got"
    refuses(ValueError, text, query, key, value[:, :, :5])
    refuses(ValueError, text, query, key, value[:, :1])


@pytest.mark.parametrize("kv_heads", [2, 0])
def test_heads_are_a_multiple_of_kv_heads(kv_heads: int) -> None:
    query, key, value = draw()
    text = (
        "heads must be a multiple of kv_heads (query head h reads kv head h // (heads / kv_heads)), "
        f"got 3 heads and {kv_heads} kv_heads: query (2, 3, 5, 11)"
    )
    refuses(ValueError, text, query, key[:, :kv_heads], value[:, :kv_heads])


def test_widths_of_dot_scores() -> None:
    query, key, value = draw()
    text = (
        "ScaledDot(scale=None) multiplies queries and keys, so they need one width: query has head_dim 11, "
        "key has 7; for two widths use regard.General or regard.Additive"
    )
    refuses(ValueError, text, query, key[..., :7], value)


# Prepared keys


def test_prepared_by_another_score() -> None:
    query, key, value = draw()
    first, second = regard.Additive(11, 5, heads=3), regard.Additive(11, 5, heads=3)
    text = "key was prepared by another score; pass the score that prepared it: score=prepared.score"
    refuses(ValueError, text, query, first.prepare(key), value, score=second)
    refuses(ValueError, text, query, first.prepare(key), value)


def test_prepared_keys_are_checked_too() -> None:
    query, key, value = draw()
    score = regard.Additive(11, 5, heads=3)
    text = (
        "Additive was built for (heads, kv_heads, query_dim, key_dim) = (3, 3, 11, 11), "
        "but the call has (3, 3, 7, 11); build it as regard.Additive(7, 5, key_dim=11, heads=3, kv_heads=3)"
    )
    refuses(ValueError, text, query[..., :7], score.prepare(key), value, score=score)
    unprojected = regard.Prepared(score, key)
    text = "keys that Additive has prepared are 5 wide, these are 11; prepare them: score.prepare(key)"
    refuses(ValueError, text, query, unprojected, value, score=score)
    capped = regard.SoftCap(regard.Dot(), 3.0) + regard.Bias(torch.zeros(2))
    refuses(ValueError, "Bias((2,)) does not broadcast", query, capped.prepare(key), value, score=capped)


# Positions


@pytest.mark.parametrize(
    ("offset", "given"),
    [
        (torch.zeros(3, dtype=torch.int64), "shape (3,) of torch.int64"),
        (torch.zeros(2, 1, dtype=torch.int64), "shape (2, 1) of torch.int64"),
        (torch.zeros(2), "shape (2,) of torch.float32"),
        (torch.tensor(1.5), "shape () of torch.float32"),
        (torch.ones(2, dtype=torch.bool), "shape (2,) of torch.bool"),
        (1.5, "1.5"),
        ([0, 1], "[0, 1]"),
        (None, "None"),
    ],
    ids=str,
)
def test_offset_is_whole_and_one_per_row(offset: object, given: str) -> None:
    text = f"offset is an int or an integer tensor with one entry per batch row, (batch,) = (2,); got {given}"
    refuses(ValueError, text, offset=offset)


def test_a_tensor_of_one_offset_is_an_int() -> None:
    tensors = draw()
    for dtype in (torch.int32, torch.int64):
        context = regard.attend(*tensors, mask=regard.Causal(), offset=torch.tensor(2, dtype=dtype))
        assert torch.equal(context, regard.attend(*tensors, mask=regard.Causal(), offset=2))


def test_one_packing() -> None:
    first, second = regard.Documents([2, 3], key_lengths=[3, 4]), regard.Documents([1, 4], key_lengths=[3, 4])
    text = (
        "a mask can hold one packing, but this one holds [Documents([2, 3], key_lengths=[3, 4]), "
        "Documents([1, 4], key_lengths=[3, 4])]: positions would restart twice"
    )
    refuses(ValueError, text, mask=first & ~second)
    third = regard.Documents([2, 3], key_lengths=[4, 3])
    refuses(ValueError, "a mask can hold one packing", mask=first | third)
    same = regard.Documents([2, 3], key_lengths=[3, 4])
    regard.attend(*draw(), mask=first & regard.Causal() | same)


def test_every_part_of_a_mask_is_checked() -> None:
    text = "Lengths([7, 5, 3]) has 3 lengths, but the batch has 2 rows"
    refuses(ValueError, text, mask=regard.Causal() | ~(regard.Window(1) & regard.Lengths([7, 5, 3])))
