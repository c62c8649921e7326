"""Modern Hopfield memory: retrieval of stored patterns as attention (Ramsauer et al. 2021)."""

from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.api import attend, observe
from regard.attention.masks import Mask
from regard.attention.observations import LogSumExp
from regard.attention.scores import ScaledDot


class Hopfield(nn.Module):
    """`state <- softmax(beta state X') X`, `steps` times: attention whose keys and values are the stored patterns X.

    A large beta retrieves the one pattern nearest to the state; a small one a mean of several. One step with learned
    projections and beta = 1 / sqrt(head_dim) is `MultiHeadAttention`.

    Args:
        beta: inverse temperature, > 0.
        steps: how often the state is updated; one is mostly enough where the patterns are well apart (theorem 4).
        backend: as in `regard.attend`.
    """

    def __init__(self, beta: float, *, steps: int = 1, backend: str = "auto") -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"Hopfield needs beta > 0, got {beta}")
        if steps < 1:
            raise ValueError(f"Hopfield needs steps >= 1, got {steps}")
        self.beta, self.steps, self.backend = float(beta), steps, backend

    def extra_repr(self) -> str:
        return f"beta={self.beta}, steps={self.steps}"

    def forward(
        self,
        state: Float[Tensor, "batch states dim"],
        patterns: Float[Tensor, "batch patterns dim"],
        *,
        mask: Mask | None = None,
    ) -> Float[Tensor, "batch states dim"]:
        """The patterns that the states retrieve; each state is for itself.

        Args:
            state: noisy or incomplete patterns, `(batch, states, dim)`.
            patterns: what is stored, `(batch, patterns, dim)`.
            mask: which patterns a state may retrieve: `regard.Lengths(counts)` where rows hold several counts.
        """
        query, stored = state.unsqueeze(1), patterns.unsqueeze(1)
        for _ in range(self.steps):
            query = attend(query, stored, stored, score=ScaledDot(self.beta), mask=mask, backend=self.backend)
        return query.squeeze(1)

    def energy(
        self,
        state: Float[Tensor, "batch states dim"],
        patterns: Float[Tensor, "batch patterns dim"],
        *,
        mask: Mask | None = None,
    ) -> Float[Tensor, "batch states"]:
        """`|state|^2 / 2 - logsumexp(beta state X') / beta`, which no step raises: a step is `state - d energy`.

        The paper's equation 2 without its constant, `log(patterns) / beta + max_j |x_j|^2 / 2`. In float32, or float64
        for such inputs; infinite for a state that may retrieve nothing.
        """
        query, stored = state.unsqueeze(1), patterns.unsqueeze(1)
        _, seen = observe(query, stored, stored, score=ScaledDot(self.beta), mask=mask, record=[LogSumExp()])
        logsumexp = seen.logsumexp.squeeze(1)
        return 0.5 * state.to(logsumexp.dtype).square().sum(-1) - logsumexp / self.beta
