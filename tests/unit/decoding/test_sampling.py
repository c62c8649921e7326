import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from regard.decoding import Greedy, Sampling, search
from regard.decoding.sampling import truncate
from regard.models.tokens import END, START

ONE = (torch.tensor([[7]]), torch.tensor([1]))


def test_the_seed_alone_decides(toy: Callable, sources: Callable) -> None:
    batch = sources(3, 5, 2)
    first = search(toy(), *batch, Sampling(samples=7, seed=3, max_length=11))
    torch.rand(1)  # torch's own generator has no part in it
    assert first == search(toy(), *batch, Sampling(samples=7, seed=3, max_length=11))
    assert first != search(toy(), *batch, Sampling(samples=7, seed=4, max_length=11))


def test_leaves_the_generator_of_torch_alone(toy: Callable, sources: Callable) -> None:
    before = torch.get_rng_state()
    search(toy(), *sources(3, 5), Sampling(max_length=11))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_fully_sharpened_it_is_greedy(toy: Callable, sources: Callable, options: dict) -> None:
    batch = sources(3, 5, 2, 7)
    sampled = search(toy(), *batch, Sampling(**options, max_length=11))
    assert sampled == search(toy(), *batch, Greedy(max_length=11))


def test_frequencies_are_the_probabilities(table: Callable) -> None:
    first = {4: 0.5, 5: 0.3, 6: 0.15, END: 0.05}
    model = table({START: first, 4: {END: 1.0}, 5: {END: 1.0}, 6: {END: 1.0}})
    draws = 4_001
    [found] = search(model, *ONE, Sampling(samples=draws))
    counts = Counter(hypothesis.tokens[0] if hypothesis.tokens else END for hypothesis in found)
    for token, probability in first.items():
        deviation = math.sqrt(draws * probability * (1 - probability))
        assert abs(counts[token] - draws * probability) < 5 * deviation


def test_samples_stand_likeliest_first_with_the_probability_of_the_model(table: Callable) -> None:
    model = table({START: {4: 0.7, 5: 0.3}, 4: {END: 1.0}, 5: {END: 1.0}})
    [found] = search(model, *ONE, Sampling(samples=31, temperature=2.0))
    scores = [hypothesis.score for hypothesis in found]
    assert scores == sorted(scores, reverse=True)
    assert {(h.tokens, round(math.exp(h.log_probability), 4)) for h in found} == {((4,), 0.7), ((5,), 0.3)}


def test_truncation_by_hand() -> None:
    # Probabilities 0.1, 0.4, 0.2, 0.3: by falling probability the tokens 1, 3, 2, 0.
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()

    def kept(**options: float) -> list[float]:
        probabilities = truncate(logits, Sampling(**options)).softmax(-1)
        return [round(p, 4) for p in probabilities[0].tolist()]

    assert kept() == [0.1, 0.4, 0.2, 0.3]
    assert kept(top_k=2) == [0.0, 0.5714, 0.0, 0.4286]
    assert kept(top_k=17) == [0.1, 0.4, 0.2, 0.3]
    assert kept(top_p=0.69) == [0.0, 0.5714, 0.0, 0.4286]
    assert kept(top_p=0.75) == [0.0, 0.4444, 0.2222, 0.3333]
    assert kept(top_k=2, top_p=0.57) == [0.0, 1.0, 0.0, 0.0]  # the nucleus of what top-k left
    assert kept(temperature=0.5) == [0.0333, 0.5333, 0.1333, 0.3]  # squares, over 0.3


def test_ties_of_top_k_go_to_the_lower_token() -> None:
    kept = truncate(torch.zeros(1, 7), Sampling(top_k=3)) > -torch.inf
    assert kept[0].tolist() == [True] * 3 + [False] * 4
