"""Convolutions as visual encoders use them: each with its norm, in residual pairs."""

from jaxtyping import Float
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """`relu(norm(conv(x)))`: a convolution without bias, batch norm (Ioffe and Szegedy 2015), and a ReLU unless told.

    Args:
        channels: of the inputs.
        outputs: channels of the outputs.
        kernel: its width, odd; the size of a map is kept, or divided by `stride`, rounded up.
        stride: between the places of the kernel.
        relu: whether there is one.
    """

    def __init__(self, channels: int, outputs: int, kernel: int = 3, *, stride: int = 1, relu: bool = True) -> None:
        conv = nn.Conv2d(channels, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else []))


class ConvBlock(nn.Module):
    """`relu(x + norm(conv(relu(norm(conv(x))))))`, ResNet's basic block (He et al. 2016).

    The last norm's scale begins at zero, and the block as the identity (Goyal et al. 2017).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner, self.outer = ConvNorm(channels, channels), ConvNorm(channels, channels, relu=False)
        self.activation = nn.ReLU(inplace=True)
        last = self.outer[1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)

    def forward(
        self, inputs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        return self.activation(inputs + self.outer(self.inner(inputs)))
