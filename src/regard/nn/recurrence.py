"""Recurrent layers over rows of several lengths, whose padding is not read."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

Recurrence = nn.GRU | nn.LSTM


def read_rows(
    layers: Recurrence, inputs: Float[Tensor, "batch length features"], lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch length states"], Float[Tensor, "batch states"]]:
    """The states of bidirectional layers at every position, 0 behind the end, and both directions' last ones."""
    if torch.compiler.is_exporting():
        return _unpacked(layers, inputs, lengths)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    found, last = layers(packed)
    if isinstance(layers, nn.LSTM):
        last = last[0]
    states, _ = nn.utils.rnn.pad_packed_sequence(found, batch_first=True, total_length=inputs.shape[1])
    return states, torch.cat((last[-2], last[-1]), -1)


def _unpacked(layers: Recurrence, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The same as a graph: backwards is forwards over each row turned around, and padding comes last both times."""
    place, ends = torch.arange(inputs.shape[1], device=inputs.device), lengths.unsqueeze(1)
    turned = torch.where(place < ends, ends - 1 - place, place).unsqueeze(-1)
    states = inputs
    for layer in range(layers.num_layers):
        forwards, backwards = layers.all_weights[2 * layer : 2 * layer + 2]
        back = _along(layers, _take(states, turned), backwards)
        states = torch.cat((_along(layers, states, forwards), _take(back, turned)), -1)
    ahead, behind = states.chunk(2, -1)
    last = torch.cat((_take(ahead, (ends - 1).unsqueeze(-1))[:, 0], behind[:, 0]), -1)
    return states.masked_fill((place >= ends).unsqueeze(-1), 0.0), last


def _take(states: Tensor, places: Tensor) -> Tensor:
    return states.gather(1, places.expand(-1, -1, states.shape[-1]))


def _along(layers: Recurrence, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """One direction of one layer: torch's own would be traced step by step, for the length of the example."""
    from torch._higher_order_ops.scan import scan

    of_inputs, of_states, bias_of_inputs, bias_of_states = weights
    given = functional.linear(inputs, of_inputs, bias_of_inputs).transpose(0, 1)
    start = given.new_zeros(given.shape[1], layers.hidden_size)

    def gru(state: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        reset, update, new = gates.chunk(3, -1)
        own_reset, own_update, own_new = functional.linear(state, of_states, bias_of_states).chunk(3, -1)
        update = torch.sigmoid(update + own_update)
        new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        state = new + update * (state - new)
        return state, state.clone()

    def lstm(both: tuple[Tensor, Tensor], gates: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        state, cell = both
        enters, stays, new, leaves = (gates + functional.linear(state, of_states, bias_of_states)).chunk(4, -1)
        cell = torch.sigmoid(stays) * cell + torch.sigmoid(enters) * torch.tanh(new)
        state = torch.sigmoid(leaves) * torch.tanh(cell)
        return (state, cell), state.clone()

    if isinstance(layers, nn.GRU):
        found: Tensor = scan(gru, start, given, dim=0)[1]
    else:
        found = scan(lstm, (start, start.clone()), given, dim=0)[1]
    return found.transpose(0, 1)
