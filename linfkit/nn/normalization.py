"""Normalisation inside a net: pixels outside, (x − mean) / scale inside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_real, check_tensor


class Normalization(nn.Module):
    """A net that takes images in [0, 1], and works on (x − mean) / scale inside.

    What is 1-Lipschitz in ℓ∞ of the normalised input is so in the pixels' when it is multiplied by
    `scale`: one number for all channels, so that ε is ε / scale inside, whichever pixel it falls on
    (as in Zhang et al., ICLR 2022).

    Args:
        in_features: pixels of one image, channels included.
        mean: subtracted from the pixels; one number, or one for each channel.
        scale: the number to divide them by.
        channels: of one image; None where nothing but the mean tells how many there are.

    Attributes:
        channels: of one image, as far as is known; 1 where nothing tells.
        mean: (1,) or (channels,).
        scale: a scalar.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`), s
            starting at 1.

    Raises:
        TypeError, ValueError: mean or scale is out of range; its name is in the message.

    >>> units = Normalization(in_features=12, mean=[0.1, 0.2, 0.3], scale=0.5, channels=3)
    >>> units.normalise(torch.ones(1, 3, 2, 2)).view(3, 4)[:, 0]
    tensor([1.8000, 1.6000, 1.4000])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        in_features: int,
        mean: float | Sequence[float],
        scale: float,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        wanted = f"one number or one for each channel of the {in_features} inputs, all finite"
        try:
            means = torch.as_tensor(mean, dtype=torch.get_default_dtype()).flatten()
        except (TypeError, ValueError) as error:
            raise TypeError(f"mean must be {wanted}; got {mean!r}") from error
        count, tiny = means.numel(), torch.finfo(torch.float32).tiny
        self.in_features, self.channels = in_features, count if channels is None else channels
        fits = count in (1, self.channels) and count and in_features % count == 0
        if not (fits and means.isfinite().all()):
            raise ValueError(f"mean must be {wanted}; got {mean}")
        wanted = "a positive number that float32 can divide by"
        scale = check_real("scale", scale, wanted, lambda s: tiny <= s <= 1 / tiny)
        self.register_buffer("mean", means)
        self.register_buffer("scale", torch.tensor(scale))
        self.logit_scale = nn.Parameter(torch.tensor(1.0 / scale))

    def normalise(self, x: Tensor) -> Tensor:
        """(x − mean) / scale as rows, (B, in_features), of images (B, C, H, W) or of rows."""
        check_tensor("x", x)
        if x.dim() < 2 or x.shape[0] == 0 or x.shape[1:].numel() != self.in_features:
            raise ValueError(
                f"x must be a batch of images with {self.in_features} pixels each; "
                f"got shape {tuple(x.shape)}"
            )
        if x.dim() == 4 and self.channels > 1 and x.shape[1] != self.channels:
            last = x.shape[3] == self.channels
            hint = ", with the channels last: write x.permute(0, 3, 1, 2)" if last else ""
            raise ValueError(
                f"x must be images of {self.channels} channels, (B, {self.channels}, H, W); "
                f"got shape {tuple(x.shape)}{hint}"
            )
        own = self.mean.dtype
        if torch.promote_types(x.dtype, own) != own:
            raise TypeError(f"x must be {own}, as the model is; got {x.dtype}")
        # len(x) would be a constant to torch.export and torch.jit.trace
        channels = x.reshape(x.shape[0], self.mean.numel(), -1)
        return ((channels - self.mean[:, None]) / self.scale).flatten(1)
