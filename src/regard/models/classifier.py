"""A text classifier: an encoder, attention that pools what it read into one vector, and a linear layer."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.padding import Documents, Lengths
from regard.models.recurrent import RecurrentEncoder
from regard.models.tokens import END, UNKNOWN
from regard.models.transformer import Embedding, Encoder, Layers, table
from regard.nn.dropout import Dropout
from regard.nn.pooling import AdditivePooling


class Classifier(nn.Module):
    """`W pooling(encoder(tokens)) + b`: the logits of every class.

    Args:
        encoder: reads tokens: a Transformer's, or a recurrent one.
        dim: width of what it gives.
        classes: how many there are.
        heads: of the pooling.
        dropout: on the pooled vector.
        word_dropout: probability in training that a token is read as UNKNOWN (Iyyer et al. 2015).
    """

    def __init__(
        self,
        encoder: Encoder | RecurrentEncoder,
        dim: int,
        classes: int,
        *,
        heads: int = 1,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= word_dropout < 1.0:
            raise ValueError(f"word_dropout is a probability, 0 <= word_dropout < 1; got {word_dropout}")
        self.encoder, self.pooling = encoder, AdditivePooling(dim, heads=heads)
        self.dropout, self.word_dropout = Dropout(dropout), word_dropout
        self.output = nn.Linear(dim, classes)

    def forward(
        self, tokens: Int[Tensor, "rows length"], lengths: Int[Tensor, " texts"], *, packed: bool = False
    ) -> Float[Tensor, "texts classes"]:
        """The logits of texts of `lengths` tokens: each in a row, padded on the right; or packed, end to end in one."""
        if self.training and self.word_dropout:
            unread = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(unread & (tokens > UNKNOWN) & (tokens != END), UNKNOWN)
        if isinstance(self.encoder, RecurrentEncoder):
            if packed:
                raise ValueError("a recurrent encoder reads rows, and cannot read a packed batch")
            hidden = self.encoder.states(tokens, lengths)[0]
        else:
            hidden = self.encoder(tokens, lengths, packed=packed)
        mask = Documents(torch.ones_like(lengths), lengths) if packed else Lengths(lengths)
        return self.output(self.dropout(self.pooling(hidden, mask)))


def transformer(vocabulary: int, shape: Layers) -> Encoder:
    """A Transformer encoder with a table of its own."""
    return Encoder(Embedding(table(vocabulary, shape.dim), shape), shape)
