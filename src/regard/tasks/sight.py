"""The shape of a task's visual encoder, as options of its recipe."""

from dataclasses import dataclass, field

from regard.models.vision import STRIDES, Attends, Pyramid, VisualEncoder


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The options that every task's visual encoder has: one value for each of the strides 4, 8, 16 and 32.

    Args:
        dims: Channels of the encoder there.
        convolutions: Residual blocks of convolutions there.
        attention: Blocks of attention there.
        attends: Among which places there: none, axial or global.
        head_dim: Width of an attention head of the encoder.
        dropout: Probability of dropping a feature.
    """

    dims: list[int] = field(default_factory=lambda: [32, 64, 128, 192])
    convolutions: list[int] = field(default_factory=lambda: [1, 2, 2, 1])
    attention: list[int] = field(default_factory=lambda: [0, 0, 1, 2])
    attends: list[Attends] = field(default_factory=lambda: ["none", "axial", "global", "global"])
    head_dim: int = 32
    dropout: float = 0.0

    def sight(self, levels: int = len(STRIDES)) -> VisualEncoder:
        """The encoder, with new weights and so many levels."""
        return VisualEncoder(
            Pyramid(
                dims=tuple(self.dims),
                convolutions=tuple(self.convolutions),
                attention=tuple(self.attention),
                attends=tuple(self.attends),
                head_dim=self.head_dim,
                dropout=self.dropout,
            ),
            levels,
        )
