import pytest
import torch

from regard.decoding import Hypothesis, attention_of


def hypothesis_of(*rows: int) -> Hypothesis:
    return Hypothesis(tokens=(5,) * (len(rows) - 1), score=-1.0, log_probability=-1.0, finished=True, rows=rows)


def test_attention_is_gathered_from_the_row_of_each_step() -> None:
    calls = [torch.rand(rows, 3, 1, 7) for rows in (2, 5, 5, 2)]
    seen = attention_of(hypothesis_of(1, 4, 0), calls)
    assert seen.shape == (3, 3, 7)
    for step, row in enumerate((1, 4, 0)):
        assert torch.equal(seen[:, step], calls[step][row, :, 0])


def test_keys_that_were_not_there_yet_have_weight_zero() -> None:
    calls = [torch.ones(2, 3, 1, keys) for keys in (1, 2, 3)]
    assert torch.equal(attention_of(hypothesis_of(0, 1, 1), calls), torch.ones(3, 3, 3).tril())


def test_calls_of_another_search_are_refused() -> None:
    calls = [torch.rand(2, 3, 1, 7), torch.rand(2, 3, 1, 7)]
    with pytest.raises(ValueError, match=r"emitted in 3 steps, but 2 recorded calls .* record around search"):
        attention_of(hypothesis_of(0, 0, 0), calls)
    with pytest.raises(ValueError, match=r"step 1 of the hypothesis is row 2, but its recorded call has 2 rows"):
        attention_of(hypothesis_of(0, 2), calls)
