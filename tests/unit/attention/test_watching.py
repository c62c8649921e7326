"""`watch`: a whole model records under its modules' names, and is afterwards what it was."""

import re
import threading

import pytest
import torch
from tests.unit.attention.test_api import text_of
from torch import Tensor, nn

import regard


class Attention(nn.Module):
    """Attends `times` in a row, each time to what the last gave."""

    def __init__(self, times: int = 1, backend: str = "auto") -> None:
        super().__init__()
        self.times, self.backend = times, backend

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(self.times):
            inputs = regard.attend(inputs, inputs, inputs, mask=regard.Causal(), backend=self.backend)
        return inputs


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = Attention()
        self.cross = Attention(2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.cross(inputs + self.own(inputs))


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(Block(), nn.Identity(), Block())


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(2, 3, 5, 7)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def refuses(text: str) -> pytest.RaisesExc:
    return pytest.raises(ValueError, match=re.escape(text))


def test_names_are_the_modules_paths(model: nn.Module, inputs: Tensor) -> None:
    with regard.watch(model, regard.TopK(2), entropy=regard.Entropy()) as seen:
        assert len(seen) == 0
        model(inputs)
    assert list(seen) == ["0.own", "0.cross", "2.own", "2.cross"]
    assert list(seen["0.own"]) == ["topk", "entropy"]
    assert seen["2.cross"].topk.keys.shape == (2, 3, 5, 2)


def test_what_is_recorded_is_what_observe_sees(inputs: Tensor) -> None:
    attention = Attention(3)
    with regard.watch(attention, regard.Weights()) as seen:
        context = attention(inputs)
    step = inputs
    assert len(seen.calls("")) == 3
    for call in seen.calls(""):
        step, expected = regard.observe(step, step, step, mask=regard.Causal(), record=[regard.Weights()])
        assert torch.equal(call.weights, expected.weights)
    assert torch.equal(context, step)
    assert torch.equal(seen[""].weights, expected.weights)  # by name: the last


def test_the_model_computes_the_same(model: nn.Module, inputs: Tensor) -> None:
    expected = model(inputs)
    with regard.watch(model, regard.Entropy()):
        # Bit for bit on one backend; this one was chosen by "auto", which observes on another.
        torch.testing.assert_close(model(inputs), expected)


def test_random_numbers_are_the_same(inputs: Tensor) -> None:
    class Dropping(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return regard.attend(inputs, inputs, inputs, dropout=0.5)

    torch.manual_seed(3)
    expected = Dropping()(inputs)
    torch.manual_seed(3)
    watched = Dropping()
    with regard.watch(watched, regard.Entropy()):
        torch.testing.assert_close(watched(inputs), expected)


def test_calls_come_in_order_and_can_be_cleared(model: nn.Module, inputs: Tensor) -> None:
    with regard.watch(model, regard.LogSumExp()) as seen:
        for scale in (1.0, 10.0):
            model(scale * inputs)
        assert [len(seen.calls(name)) for name in seen] == [2, 4, 2, 4]
        first, second = seen.calls("0.own")
        assert first.logsumexp.amax() < second.logsumexp.amax()
        seen.clear()
        assert list(seen) == []
        model(inputs)
    assert [len(seen.calls(name)) for name in seen] == [1, 2, 1, 2]


def test_gradients_reach_the_model(inputs: Tensor) -> None:
    layer = nn.Sequential(nn.Linear(7, 7), Attention())
    with regard.watch(layer, regard.Entropy()) as seen:
        layer(inputs)
    seen["1"].entropy.sum().backward()
    assert layer[0].weight.grad.any()


def test_methods_beside_forward_are_the_model_s_own(inputs: Tensor) -> None:
    class Decoder(Attention):
        def step(self, inputs: Tensor) -> Tensor:
            return regard.attend(inputs, inputs, inputs)

    decoder = Decoder()
    with regard.watch(decoder, regard.Entropy()) as seen:
        decoder.step(inputs)
        decoder.step(inputs)
    assert len(seen.calls("")) == 2


def test_a_shared_module_records_under_its_first_name(inputs: Tensor) -> None:
    attention = Attention()
    model = nn.ModuleDict({"first": attention, "second": attention})
    with regard.watch(model, regard.Entropy()) as seen:
        model["first"](inputs)
        model["second"](inputs)
    assert list(seen) == ["first"]
    assert len(seen.calls("first")) == 2


def test_nothing_is_left_behind(model: nn.Module, inputs: Tensor) -> None:
    with regard.watch(model, regard.Entropy()) as seen:
        assert hooks_of(model) > 0
    assert hooks_of(model) == 0
    model(inputs)
    assert len(seen) == 0


def test_an_error_in_the_model_leaves_nothing_behind(inputs: Tensor) -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention()
            self.fails = True

        def forward(self, inputs: Tensor) -> Tensor:
            context = self.attention(inputs)
            if self.fails:
                raise ZeroDivisionError("in the model")
            return self.attention(context)

    model = nn.Sequential(Failing(), Attention())
    with pytest.raises(ZeroDivisionError, match="in the model"), regard.watch(model, regard.Entropy()):
        model(inputs)
    assert hooks_of(model) == 0
    # Caught inside the block, it leaves the names right.
    with regard.watch(model, regard.Entropy()) as seen:
        with pytest.raises(ZeroDivisionError, match="in the model"):
            model(inputs)
        model[0].fails = False
        model(inputs)
    assert [(name, len(seen.calls(name))) for name in seen] == [("0.attention", 3), ("1", 1)]
    with regard.watch(model, regard.Entropy()):
        pass


# What it refuses


def test_watch_needs_something_to_record(model: nn.Module) -> None:
    text = "watch needs something to record: regard.watch(model, regard.TopK(8))"
    with refuses(text), regard.watch(model):
        pass


def test_one_watch_at_a_time(model: nn.Module, inputs: Tensor) -> None:
    text = "watch is running already; give one watch all observations: regard.watch(model, a, b)"
    with regard.watch(model, regard.Entropy()) as seen:
        with refuses(text), regard.watch(Attention(), regard.Entropy()):
            pass
        model(inputs)
    assert len(seen) == 4


def test_two_of_a_kind_need_names(model: nn.Module) -> None:
    with refuses('two observations are called "topk"'), regard.watch(model, regard.TopK(2), regard.TopK(3)):
        pass
    with (
        refuses('two observations are called "entropy"'),
        regard.watch(model, regard.Entropy(), entropy=regard.TopK(3)),
    ):
        pass
    with regard.watch(model, regard.TopK(2), wide=regard.TopK(3)) as seen:
        model(torch.randn(2, 3, 5, 7))
    assert list(seen["0.own"]) == ["topk", "wide"]


@pytest.mark.usefixtures("unchecked")
def test_observations_are_values(model: nn.Module) -> None:
    with (
        pytest.raises(TypeError, match=re.escape("; write Entropy()")),
        regard.watch(model, regard.Entropy),
    ):
        pass


def test_compiled_modules_cannot_be_watched(model: nn.Module) -> None:
    text = (
        "watch cannot look into a compiled module, whose recording was compiled away; watch the original: "
        "regard.watch(model._orig_mod, ...), or a model without model.compile()"
    )
    compiled = torch.compile(model, backend="eager")
    for refused in (compiled, nn.Sequential(nn.Identity(), compiled)):
        with refuses(text), regard.watch(refused, regard.Entropy()):
            pass
    with regard.watch(compiled._orig_mod, regard.Entropy()):
        pass
    model[0].compile(backend="eager")
    with refuses(text), regard.watch(model, regard.Entropy()):
        pass
    assert hooks_of(model) == 0


def test_a_backend_that_cannot_record_refuses_when_watched(inputs: Tensor) -> None:
    attention = Attention(backend="sdpa")
    attention(inputs)
    with refuses('backend "sdpa" lacks what this call needs: observations'), regard.watch(attention, regard.Entropy()):
        attention(inputs)
    attention(inputs)


# Threads


def test_other_threads_are_not_watched(model: nn.Module, inputs: Tensor) -> None:
    """Each thread has its own `watch`, also of the same model at the same time."""
    errors: list[BaseException] = []

    def run(function: object) -> None:
        def guarded() -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        assert errors == []

    def watched_too() -> None:
        with regard.watch(model, regard.TopK(1)) as theirs:
            model(inputs)
        assert list(theirs) == ["0.own", "0.cross", "2.own", "2.cross"]
        assert list(theirs["0.own"]) == ["topk"]

    with regard.watch(model, regard.Entropy()) as seen:
        run(lambda: model(inputs))
        assert len(seen) == 0
        run(watched_too)
        assert len(seen) == 0
        model(inputs)
    assert [len(seen.calls(name)) for name in seen] == [1, 2, 1, 2]
    assert hooks_of(model) == 0


# Printing


def test_watched_prints_and_draws_itself(inputs: Tensor) -> None:
    model = nn.Sequential(Attention(2))
    with regard.watch(model, regard.Entropy()) as seen:
        assert repr(seen) == "Watched: nothing yet; run the model inside the with block"
        model(inputs)
    assert repr(seen) == "Watched:\n  0: Seen(entropy: (2, 3, 5)) x 2"
    assert text_of(seen._repr_html_()) == ["0", "2 calls", "Seen(entropy: (2, 3, 5))"]
    with regard.watch(model[0], regard.Entropy()) as seen:
        model(inputs)
    assert repr(seen) == "Watched:\n  (the model itself): Seen(entropy: (2, 3, 5)) x 2"


def test_a_name_that_did_not_run(model: nn.Module, inputs: Tensor) -> None:
    with regard.watch(model, regard.Entropy()) as seen:
        with pytest.raises(KeyError, match=r"no attention ran under '0\.own'; there is: nothing"):
            seen["0.own"]
        model(inputs)
    with pytest.raises(KeyError, match=r"no attention ran under '1'; there is: 0\.own, 0\.cross, 2\.own, 2\.cross"):
        seen.calls("1")
    assert "1" not in seen


def test_layers_are_chosen_by_name_or_pattern(model: nn.Module, inputs: Tensor) -> None:
    everything = ["0.own", "0.cross", "2.own", "2.cross"]
    for layers, expected in (("2.own", ["2.own"]), ("*.cross", ["0.cross", "2.cross"]), (["0.*", "2.own"], None)):
        with regard.watch(model, regard.Entropy(), layers=layers) as seen:
            watched = model(inputs)
        assert list(seen) == (expected or [name for name in everything if name != "2.cross"])
        torch.testing.assert_close(watched, model(inputs))
    with refuses("no module is called '2.crosss'; there is '2.cross', '0.cross', '"):
        regard.watch(model, regard.Entropy(), layers="2.crosss").__enter__()


def test_heads_are_chosen(model: nn.Module, inputs: Tensor) -> None:
    wanted = regard.TopK(2), regard.Received()
    with regard.watch(model, *wanted) as all_heads:
        model(inputs)
    with regard.watch(model, *wanted, heads=[2, 0]) as some:
        model(inputs)
    one, other = all_heads["2.own"], some["2.own"]
    assert torch.equal(other.topk.keys, one.topk.keys[:, [2, 0]])
    assert torch.equal(other.topk.weights, one.topk.weights[:, [2, 0]])
    assert torch.equal(other.received, one.received[:, [2, 0]])


class Curious(nn.Module):
    """Looks at its own attention."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, regard.Seen]:
        return regard.observe(inputs, inputs, inputs, record=[regard.TopK(2), regard.Entropy()])


def test_a_call_that_observes_is_watched_too(inputs: Tensor) -> None:
    model = Curious()
    with regard.watch(model, regard.TopK(3), regard.Received()) as seen:
        context, own = model(inputs)
    plain_context, plain = model(inputs)
    assert torch.equal(context, plain_context)
    assert list(own) == ["topk", "entropy"]
    assert torch.equal(own.topk.keys, plain.topk.keys)
    assert list(seen[""]) == ["topk", "received"]
    assert torch.equal(seen[""].topk.keys[..., :2], own.topk.keys)
