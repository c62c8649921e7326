"""What the head report says, against heads that were built to do it."""

import pytest
import torch
from tests.unit.explain.models import Pair, sequence
from torch import Tensor

import regard
from regard.explain import head_report, sinks
from regard.explain.heads import after_the_same

TOKENS = torch.tensor([[5, 7, 9, 5, 7, 9, 5, 7], [1, 2, 3, 4, 1, 2, 3, 4]])
LENGTH = TOKENS.shape[1]


class Built(torch.nn.Module):
    """Four heads whose strongest key is the first, the one before, themselves, and what followed the same token."""

    def forward(self) -> None:
        places = torch.arange(LENGTH)
        wanted = [torch.zeros_like(places), (places - 1).clamp_min(0), places]
        heads = torch.stack([keys.expand(2, -1) for keys in wanted] + [after_the_same(TOKENS).clamp_min(0)], 1)
        query = 30 * torch.nn.functional.one_hot(heads, LENGTH).float()
        key = torch.eye(LENGTH).expand(2, 4, -1, -1)
        regard.attend(query, key, key, mask=regard.Causal(), score=regard.Dot())


def built(*record: regard.Observation, **options: bool) -> regard.Watched:
    with regard.watch(Built(), *record, **options) as seen:
        Built()()
    return seen


@pytest.mark.parametrize("source", ["kept", "weights", "strongest"])
def test_every_head_is_found_by_what_it_does(source: str) -> None:
    records = {"kept": (), "weights": (regard.Weights(),), "strongest": (regard.TopK(2), regard.Entropy())}[source]
    report = head_report(built(*records, keep=source == "kept"), tokens=TOKENS)
    for head, measure in enumerate(("first", "previous", "itself", "induction")):
        name, best, value = report.best(measure)[0]
        assert (name, best) == ("", head)
        assert value > 0.999
    assert report.exact == (source != "strongest")
    assert float(report[""]["confidence"].min()) > 0.999
    assert float(report[""]["entropy"].max()) < 0.01


def test_all_sources_agree() -> None:
    """Kept calls, all weights, and as many of the strongest as there are keys give the same numbers."""
    model, inputs = Pair(), (sequence(6), sequence(LENGTH, seed=1))
    marked = torch.rand(2, 6) < 0.5
    reports = []
    for record, keep in (((), True), ((regard.Weights(),), False), ((regard.TopK(8), regard.Entropy()), False)):
        with torch.no_grad(), regard.watch(model, *record, layers="encoder.*", keep=keep) as seen:
            model(*inputs)
        reports.append(head_report(seen, tokens=TOKENS[:, :6], marked=marked))
    for name in reports[0]:
        assert list(reports[0][name]) == ["entropy", "confidence", "first", "previous", "itself", "induction", "marked"]
        for other in reports[1:]:
            for measure, values in reports[0][name].items():
                torch.testing.assert_close(other[name][measure], values, atol=1e-5, rtol=1e-4)


def test_measures_are_means_over_real_queries() -> None:
    model, real = Pair(), torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    with torch.no_grad(), regard.watch(model, regard.Weights(), layers="encoder.layers.0") as seen:
        model(sequence(6), sequence(3))
    weights = seen["encoder.layers.0"].weights
    report = head_report(seen, real=real)["encoder.layers.0"]
    before = torch.cat([weights[0, :, range(1, 4), range(3)], weights[1, :, range(1, 6), range(5)]], -1)
    torch.testing.assert_close(report["previous"], before.mean(-1))
    torch.testing.assert_close(report["first"], torch.cat([weights[0, :, :4, 0], weights[1, :, :, 0]], -1).mean(-1))


def test_two_sequences_have_no_positions_in_common() -> None:
    model = Pair()
    with torch.no_grad(), regard.watch(model, keep=True, layers="*.cross") as seen:
        model(sequence(6), sequence(3))
    report = head_report(seen)
    assert list(report["decoder.0.cross"]) == ["entropy", "confidence"]
    with pytest.raises(KeyError, match="no layer has 'previous'; there is entropy, confidence"):
        report.best("previous")


def test_the_report_reads_as_a_table() -> None:
    report = head_report(built(regard.TopK(2), regard.Entropy()))
    lines = repr(report).splitlines()
    assert lines[0].split() == ["entropy", "confidence", "first", "previous", "itself"]
    assert lines[1].startswith("the model head 0")
    assert lines[-1] == "from the strongest weights alone: each at least this"
    assert "<td>" in report._repr_html_()


@pytest.mark.parametrize("steps", [False, True])
def test_a_sink_receives_most_of_what_it_could(steps: bool) -> None:
    """Heads 0 and 1 of three attend to key 2 wherever they may, also when decoding a query at a time."""
    query = torch.tensor([40.0, 40.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 9, 1).contiguous()
    key = torch.zeros(1, 3, 9, 1)
    key[:, :, 2] = 1.0

    class Model(torch.nn.Module):
        def forward(self) -> None:
            for start, stop in [(0, 5), *((at, at + 1) for at in range(5, 9))] if steps else [(0, 9)]:
                keys: Tensor = key[:, :, :stop]
                regard.attend(query[:, :, start:stop], keys, keys, mask=regard.Causal(), offset=start)

    with regard.watch(Model(), keep=True) as seen:
        Model()()
    shares = sinks(seen, "", threshold=0.5)
    expected = torch.zeros(9)
    expected[2] = 2 / 3
    torch.testing.assert_close(shares[0], expected)


def test_a_report_needs_weights() -> None:
    with pytest.raises(ValueError, match=r"regard\.watch\(model, keep=True\) for exact ones"):
        head_report(built(regard.Entropy()))
