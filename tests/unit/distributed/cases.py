"""What holds of attention that is spread over ranks: each case runs on every rank of a group.

    python cases.py RANK RANKS FOLDER

writes `RANK.json` into the folder: for each case what went wrong, or nothing. `test_ranks.py` starts the ranks, which
are processes of their own, once for all cases, and reads that.
"""

from itertools import product
from typing import Any

import torch
import torch.distributed as dist
from ranks import LENGTH, case, error_of, layouts, leaves, main, masks, near, same_as_one_process, tensors
from torch import Tensor, nn

import regard
import regard.distributed as spread
from regard.attention.observations import TopKeys
from regard.distributed import Contiguous, Layout, ZigZag


@case
def masks_are_those_of_one_process() -> None:
    for layout, (name, mask) in product(layouts(), masks().items()):
        try:
            same_as_one_process(layout, mask=mask)
        except AssertionError as error:
            raise AssertionError(f"{layout!r}, {name}") from error


@case
def kernels_are_those_of_one_process() -> None:
    """In float32, where blocks run on the native kernels, and their gradients without a forward pass of their own."""
    for layout, mask in product(layouts(), (None, regard.Causal(), regard.Causal() & regard.Window(7))):
        same_as_one_process(layout, mask=mask, dtype=torch.float32, tolerance=2e-5)


@case
def sequences_shorter_than_the_group() -> None:
    for length, layout in product((0, 1, 3), (Contiguous, ZigZag)):
        same_as_one_process(layout(length), mask=regard.Causal())


@case
def random_calls() -> None:
    """Masks joined at random, lengths at random: every rank draws the same ones."""
    generator = torch.Generator().manual_seed(7)

    def number(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    def mask(length: int) -> regard.Mask:
        kinds = (
            regard.Causal(),
            regard.Window(number(9), number(9)),
            regard.Prefix(number(length)),
            regard.Global(number(4)),
        )
        return kinds[number(4)]

    for _ in range(25):
        length = 1 + number(53)
        first, second = mask(length), mask(length)
        joined = (first & second, first | second, first & ~second)[number(3)]
        layout = (Contiguous, ZigZag)[number(2)](length)
        try:
            same_as_one_process(layout, mask=joined)
        except AssertionError as error:
            raise AssertionError(f"{layout!r}, {joined!r}") from error


@case
def cross_attention_and_offsets() -> None:
    for layout, key_layout in ((Contiguous(13), ZigZag(31)), (ZigZag(13), Contiguous(31))):
        same_as_one_process(layout, key_layout=key_layout)
        for offset in (18, torch.tensor([18, 5])):
            same_as_one_process(layout, key_layout=key_layout, mask=regard.Causal(), offset=offset)


@case
def scores_and_terms() -> None:
    for layout in layouts():
        for score in (
            regard.SoftCap(regard.ScaledDot(), 5.0) + regard.Alibi(heads=4),
            regard.Gaussian(1.5),
            regard.Dot() + regard.Alibi(heads=4),
        ):
            same_as_one_process(layout, score=score, mask=regard.Causal() & regard.Documents([5, 17, 7]))


@case
def what_is_learned_has_its_share() -> None:
    """The gradients of the ranks add up to that of one process."""
    torch.manual_seed(3)
    bias = regard.RelativeBias(4, regard.Clipped(9)).double()
    nn.init.normal_(bias.weight)
    scores = (
        regard.ScaledDot() + bias,
        regard.General(8, heads=4).double(),
        regard.Additive(8, 5, heads=4, kv_heads=2).double(),
        regard.Cosine(heads=4).double(),
    )
    for layout, score in product(layouts(), scores):
        given, normalize = tensors(), regard.Softmax(sink=nn.Parameter(torch.tensor([0.3, -0.2, 1.0, 0.0]).double()))
        learned = [*score.parameters(), *normalize.parameters()]
        options: dict[str, Any] = {"score": score, "normalize": normalize, "mask": regard.Causal()}
        expected = torch.autograd.grad(regard.attend(*given[:3], **options), learned, given[3])
        own = [tensor.detach() for tensor in leaves(given, layout)]
        context = spread.attend(*own, layout=layout, **options)
        found = torch.autograd.grad(context, learned, spread.shard(given[3], layout), materialize_grads=True)
        for one, all_ in zip(found, expected, strict=True):
            total = one.clone()
            dist.all_reduce(total)
            near(total, all_, f"{layout!r}, {score!r}", 1e-9)


@case
def what_is_recorded() -> None:
    record = {
        "top": regard.TopK(3),
        "entropy": regard.Entropy(),
        "received": regard.Received(),
        "log_sum_exp": regard.LogSumExp(),
        "highest": regard.MaxScore(),
        "mass": regard.Mass([0, 7, -1]),
        "distance": regard.Distance(),
        "total": regard.Total(),
    }
    sink = torch.tensor([0.5, -1.0, 0.0, 2.0])
    for layout, (name, mask), normalize in product(layouts(), masks().items(), (None, regard.Softmax(sink=sink))):
        given = tensors(dtype=torch.float32)
        options: dict[str, Any] = {"mask": mask, "normalize": normalize, "record": record}
        whole, parts = leaves(given), leaves(given, layout)
        expected, seen = regard.observe(*whole, **options)
        found, own = spread.observe(*parts, layout=layout, **options)
        expected.backward(given[3])
        found.backward(spread.shard(given[3], layout))
        for one, all_ in zip(parts, whole, strict=True):
            near(one.grad, spread.shard(all_.grad, layout), "gradient", 2e-5)
        what = f"{layout!r}, {name}, {normalize!r}"
        near(found, spread.shard(expected, layout), what, 2e-5)
        for key in record:
            if key == "top":
                assert isinstance(own[key], TopKeys)
                assert own[key].keys.equal(spread.shard(seen[key].keys, layout)), what
                near(own[key].weights, spread.shard(seen[key].weights, layout), what, 2e-5)
            else:
                near(own[key].detach(), spread.shard(seen[key].detach(), layout), f"{key}: {what}", 2e-5)


@case
def the_log_sum_exp_has_a_gradient() -> None:
    for layout in layouts():
        given = tensors()
        whole, own = leaves(given), leaves(given, layout)
        _, seen = regard.observe(*whole, mask=regard.Causal(), record=[regard.LogSumExp()])
        seen.logsumexp.sum().backward()
        _, seen = spread.observe(*own, mask=regard.Causal(), record=[regard.LogSumExp()], layout=layout)
        seen.logsumexp.sum().backward()
        for one, all_ in zip(own[:2], whole[:2], strict=True):
            assert one.grad is not None
            assert all_.grad is not None
            near(one.grad, spread.shard(all_.grad, layout), tolerance=1e-6)  # the log-sum-exp is in float32


@case
def bfloat16_is_rounded_once() -> None:
    for layout in layouts():
        given = tensors(dtype=torch.bfloat16)
        expected = regard.attend(*(tensor.double() for tensor in given[:3]), mask=regard.Causal()).bfloat16()
        found = spread.attend(*(t.detach() for t in leaves(given, layout)), mask=regard.Causal(), layout=layout)
        assert found.dtype == torch.bfloat16
        assert (found != spread.shard(expected, layout)).float().mean().nan_to_num() < 0.02  # at the edge of rounding


@case
def dropout_keeps_its_share_and_its_choice() -> None:
    for dtype in (torch.float32, torch.float64):
        layout = ZigZag(211)
        given = tensors(queries=211, keys=211, dtype=dtype)
        given[2] = torch.ones_like(given[2])
        torch.manual_seed(5)
        own = leaves(given, layout)
        context = spread.attend(*own, layout=layout, dropout=0.3)
        context.backward(spread.shard(given[3], layout))
        sums = torch.stack([context.detach().sum(), (context.detach() * spread.shard(given[3], layout)).sum()])
        assert own[2].grad is not None
        sums = torch.cat([sums, own[2].grad.sum().view(1)])
        dist.all_reduce(sums)
        assert abs(float(sums[0]) / given[3].numel() - 1.0) < 0.02  # kept weights are scaled up
        assert abs(float(sums[1]) - float(sums[2])) < 1e-3  # the backward pass drops what the forward pass did


@case
def a_second_run_has_the_same_bits() -> None:
    layout, runs = ZigZag(LENGTH), []
    for _ in range(2):
        given = tensors(dtype=torch.float32)
        own = leaves(given, layout)
        context = spread.attend(*own, layout=layout, mask=regard.Causal())
        context.backward(spread.shard(given[3], layout))
        runs.append([context.detach(), *(tensor.grad for tensor in own)])
    assert all(first.equal(second) for first, second in zip(*runs, strict=True))


@case
def without_a_layout_the_ranks_hold_what_they_give() -> None:
    given = tensors()
    for layout in (Contiguous(LENGTH), layouts()[2]):
        expected = regard.attend(*given[:3], mask=regard.Causal())
        found = spread.attend(*leaves(given, layout), mask=regard.Causal())
        near(found, spread.shard(expected, layout))


@case
def what_nobody_may_see_reaches_nothing() -> None:
    layout = ZigZag(LENGTH)
    given = tensors()
    expected = regard.attend(*given[:3], mask=regard.Lengths([29, 11]))
    for tensor in given[1:3]:
        tensor[1, :, 11:] = torch.nan
    own = leaves(given, layout)
    found = spread.attend(*own, mask=regard.Lengths([29, 11]), layout=layout)
    near(found, spread.shard(expected, layout))
    found.sum().backward()
    assert own[0].grad is not None
    assert own[0].grad.isfinite().all()


@case
def a_group_of_some_ranks_and_a_mesh() -> None:
    ranks = dist.get_world_size()
    mesh = dist.init_device_mesh("cpu", (ranks,), mesh_dim_names=("sequence",))
    layout = ZigZag(LENGTH)
    given = tensors()
    expected = regard.attend(*given[:3], mask=regard.Causal())
    own = leaves(given, layout)
    near(spread.attend(*own, mask=regard.Causal(), layout=layout, group=mesh), spread.shard(expected, layout))
    some = [rank for rank in range(ranks) if rank != 0] if ranks > 2 else [1]
    group = dist.new_group(some)
    if dist.get_rank() not in some:
        message = error_of(lambda: spread.attend(*own, group=group, layout=layout))
        assert message == "this process is not in the group: call it on the ranks of the group alone"
        return
    own = [spread.shard(tensor, layout, group=group) for tensor in given[:3]]
    found = spread.attend(*own, mask=regard.Causal(), layout=layout, group=group)
    near(spread.gather(found, layout, group=group), expected)


@case
def cut_and_put_together() -> None:
    whole = torch.arange(3 * LENGTH).view(3, LENGTH)
    for layout in layouts():
        assert spread.gather(spread.shard(whole, layout, axis=1), layout, axis=1).equal(whole)
    assert "cuts 29 positions, but axis 1 of (3, 28)" in error_of(
        lambda: spread.shard(whole[:, 1:], Contiguous(LENGTH), axis=1)
    )


@case
def a_model_is_watched() -> None:
    class Layer(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return spread.attend(query, key, value, layout=ZigZag(LENGTH), mask=regard.Causal())

    layer = Layer()
    own = leaves(tensors(), ZigZag(LENGTH))
    with regard.watch(layer, regard.Entropy()) as seen:
        layer(*own)
    _, expected = spread.observe(*own, layout=ZigZag(LENGTH), mask=regard.Causal(), record=[regard.Entropy()])
    near(seen[""].entropy, expected.entropy)
    with regard.watch(layer, regard.Entropy(), keep=True):
        assert "is not kept: watch(...) without keep=True" in error_of(lambda: layer(*own))


@case
def what_cannot_be_split_is_told() -> None:
    layout = Contiguous(LENGTH)
    own = leaves(tensors(), layout)
    dense = regard.Dense(torch.ones(LENGTH, LENGTH, dtype=torch.bool))
    told = {
        "has no intervals of keys, and each pair of ranks would need a tile of it": {"mask": regard.Causal() & dense},
        "Strided(stride=3) has no intervals": {"mask": regard.Strided(3)},
        "Sparsemax() has to see whole rows of scores": {"normalize": regard.Sparsemax()},
        "Softmax(temperature=2.0) has a temperature: divide the query by it": {"normalize": regard.Softmax(2.0)},
        "Bias((1, 1, 1, 29)) does not follow from positions": {
            "score": regard.ScaledDot() + regard.Bias(torch.zeros(1, 1, 1, LENGTH))
        },
    }
    for text, options in told.items():
        message = error_of(lambda options=options: spread.attend(*own, layout=layout, **options))
        assert message.startswith("this call cannot be split over ranks: "), message
        assert text in message, message
        assert "or gather keys and values (regard.distributed.gather) and call regard.attend" in message
        assert f"cannot be split: {message.partition('ranks: ')[2]}" == str(spread.plan(*own, layout=layout, **options))
    message = error_of(lambda: spread.observe(*own, layout=layout, record=[regard.Weights()]))
    assert "Weights() is not merged: record Distance, Entropy, " in message
    assert "by Contiguous(length=61, sizes=None) rank " in error_of(lambda: spread.attend(*own, layout=Contiguous(61)))
    assert "Documents([29, 2]) adds up to [31] queries, but the call has 29" in error_of(
        lambda: spread.attend(*own, layout=layout, mask=regard.Documents([29, 2]))
    )
    assert "has 1 sizes, but the group has" in error_of(
        lambda: spread.attend(*own, layout=Contiguous(LENGTH, (LENGTH,)))
    )
    context = spread.attend(*own, layout=layout)
    (once,) = torch.autograd.grad(context.sum(), own[0], create_graph=True)
    message = error_of(lambda: once.sum().backward(), RuntimeError)
    assert 'backend "ring" has no second derivatives; "reference" has them' in message, message


@case
def a_plan_says_who_needs_whose_keys() -> None:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    given = tensors(queries=64, keys=64, dtype=torch.float32)
    layout: Layout = Contiguous(64)
    own = leaves(given, layout)
    near_ones = spread.plan(*own, layout=layout, mask=regard.Causal() & regard.Window(5))
    assert near_ones.sources == ((rank - 1,) if rank else ())
    held = 64 // ranks
    assert near_ones.received == (held * 2 * 2 * (8 + 6) * 4 if rank else 0)
    assert near_ones.returned == (held * 2 * 2 * (8 + 6) * 4 if rank < ranks - 1 else 0)
    causal = spread.plan(*own, layout=layout, mask=regard.Causal())
    assert causal.sources == tuple(range(rank - 1, -1, -1))
    assert causal.work[-1] > 1.4 / ranks
    assert f"rank {rank} of {ranks}: queries {rank * held} to {(rank + 1) * held}; keys" in str(causal)
    even = spread.plan(*leaves(given, ZigZag(64)), layout=ZigZag(64), mask=regard.Causal())
    assert max(even.work) - min(even.work) < 1e-9
    assert len(even.sources) == ranks - 1
    assert even.backends == (("native",) if not regard.ops.native.ABSENT else ("streamed",))


if __name__ == "__main__":
    main()
