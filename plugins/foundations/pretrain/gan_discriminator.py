"""The projection discriminator that glyph-biggan is trained against (Miyato & Koyama 2018), spectrally normalised."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...generators.biggan.network import SNConv2d, SNLinear, SpectralNorm

WIDTHS = (24, 48, 80, 112)


class SNEmbedding(nn.Embedding, SpectralNorm):
    """An embedding with spectral normalisation."""

    def __init__(self, rows: int, width: int) -> None:
        nn.Embedding.__init__(self, rows, width)
        self._init_norm()

    def forward(self, y: Tensor) -> Tensor:
        """Look up int64 `(N,)`."""
        return F.embedding(y, self.normalised())


def pooled_conv(x: Tensor, conv: SNConv2d) -> Tensor:
    """Convolve (3x3) and average 2x2 windows, as the one strided 4x4 convolution that this equals."""
    kernel = F.pad(conv.normalised(), (1, 1, 1, 1))
    kernel = kernel[..., :-1, :] + kernel[..., 1:, :]
    kernel = kernel[..., :-1] + kernel[..., 1:]
    return F.conv2d(x, kernel / 4, conv.bias, stride=2, padding=1)


class DBlock(nn.Module):
    """A residual block; `first` takes pixels, `down` halves the side."""

    def __init__(self, inputs: int, outputs: int, *, first: bool = False, down: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = SNConv2d(inputs, outputs), SNConv2d(outputs, outputs)
        self.conv_sc = SNConv2d(inputs, outputs, 1)
        self.first, self.down = first, down

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inputs, S, S)` to `(N, outputs, S/2, S/2)`, or to the same side."""
        h = F.relu(self.conv1(x if self.first else F.relu(x)))
        if not self.down:
            return self.conv2(h) + self.conv_sc(x)
        return pooled_conv(h, self.conv2) + self.conv_sc(F.avg_pool2d(x, 2))


class Discriminator(nn.Module):
    """`D(x, y)`: a score per image; it sees the mean of the colours, since the corpus is grey."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.blocks = nn.Sequential(DBlock(1, a, first=True), DBlock(a, b), DBlock(b, c), DBlock(c, d, down=False))
        self.linear = SNLinear(d, 1)
        self.embed = SNEmbedding(n_classes, d)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return scores `(N,)` of images `(N, 3, 32, 32)` in [-1, 1] and their classes, int64 `(N,)`."""
        x = x.mean(1, keepdim=True).contiguous(memory_format=torch.channels_last)
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embed(y) * h).sum(1)
