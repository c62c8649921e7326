"""The non-local block: attention among all cells of a picture or film, put into a convolutional network."""

from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.normalizers import Normalizer
from regard.attention.scores import Dot, Score
from regard.nn.attention import MultiHeadAttention


class NonLocalBlock(nn.Module):
    """`z_i = x_i + W_z sum_j p_ij g(x_j)`, `p_i = softmax_j theta(x_i) . phi(x_j)`, over all cells (Wang et al. 2018).

    The 1x1 convolutions theta, phi, g and W_z are the projections of one attention head. W_z begins at zero and the
    block as the identity, so that it can be put into a trained network; the paper's batch norm after W_z is left out.

    Args:
        channels: of the inputs and outputs.
        inner: width of theta, phi and g; half of the channels when not given.
        score: `Dot()` when not given, which with softmax is the paper's embedded Gaussian.
        normalize: as in `regard.attend`.
        backend: as in `regard.attend`.
    """

    def __init__(
        self,
        channels: int,
        *,
        inner: int | None = None,
        score: Score | None = None,
        normalize: Normalizer | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(
            channels,
            heads=1,
            head_dim=max(1, channels // 2) if inner is None else inner,
            score=Dot() if score is None else score,
            normalize=normalize,
            backend=backend,
        )
        nn.init.zeros_(self.attention.output.weight)

    def forward(self, inputs: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels *space"]:
        """Attend among the cells of `inputs`: a sequence, a picture, a film or a volume."""
        cells = inputs.flatten(2).mT
        return inputs + self.attention(cells).mT.reshape(inputs.shape)
