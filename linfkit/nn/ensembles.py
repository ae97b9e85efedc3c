"""Ensembles: several models whose logits, softmaxes or worst logits are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_model, check_real
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.nets import SharedExponent


class Members(SharedExponent):
    """Several models of one task, whose logits are combined.

    Args:
        models: the members; all take the same input and give the same number of logits.

    Attributes:
        models: the same, as an ``nn.ModuleList``.

    Raises:
        TypeError: a member is no module.
        ValueError: there is no member.

    >>> from linfkit.nn.nets import LpDistNet
    >>> Members([LpDistNet(4, 8, 2, 3) for _ in range(5)]).logits(torch.rand(2, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__()
        if isinstance(models, str) or not isinstance(models, Iterable):
            raise TypeError(f"models must be several models; got {type(models).__name__}")
        self.models = nn.ModuleList()
        for model in models:
            check_model("each of the models", model)
            self.models.append(model)
        if not len(self.models):
            raise ValueError("models must hold at least one model; got none")
        if all(isinstance(model, SharedExponent) for model in self.models):
            self.arguments = {"models": [model.architecture for model in self.models]}

    def logits(self, x: Tensor) -> Tensor:
        """Each member's logits, (K, B, classes).

        Raises:
            ValueError: the members do not all give the same number of logits.
        """
        logits = [model(x) for model in self.models]
        if any(each.shape != logits[0].shape for each in logits):
            counts = ", ".join(str(each.shape[-1]) for each in logits)
            raise ValueError(f"models must all give the same number of logits; got {counts}")
        return torch.stack(logits)


class Ensemble(Members):
    """The mean of several models' logits: fusion.

    A mean of 1-Lipschitz functions is 1-Lipschitz, so the ensemble is certified by the same rule;
    if every member certifies the same label at ε, so does the mean (Li et al., 2021, section 4).

    Args:
        models: the members; all take the same input and give the same number of logits.

    Raises:
        ValueError: there is no member, or, when it is called, members differ in their logits.

    >>> from linfkit.nn.nets import LpDistNet
    >>> members = [LpDistNet(4, 8, 2, 3) for _ in range(5)]
    >>> ensemble, x = Ensemble(members).eval(), torch.rand(2, 4)
    >>> torch.allclose(ensemble(x), sum(net(x) for net in members) / 5)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, (B, classes)."""
        return self.logits(x).mean(dim=0)


class VotingEnsemble(Members):
    """The mean of several models' softmaxes: voting, mean over k of softmax(s · f⁽ᵏ⁾).

    Its outputs are probabilities, not distances: where each logit is 1-Lipschitz, a probability can
    still change s/2 times as fast as the pixels, so half their difference is no certified radius,
    and `linfkit.certify` refuses it (Li et al., 2021, section 4, compare voting with fusion).

    Args:
        models: the members; all take the same input and give the same number of logits.
        logit_scale: s, the factor of the logits, in pixels, before the softmax. If it is large,
            each member gives a whole vote to its own class.

    Raises:
        TypeError, ValueError: there is no member, the scale is no positive number, or, when it is
            called, members differ in their logits.

    >>> from linfkit.nn.nets import LpDistNet
    >>> voting = VotingEnsemble([LpDistNet(4, 8, 2, 3) for _ in range(5)], logit_scale=10).eval()
    >>> torch.allclose(voting(torch.rand(2, 4)).sum(dim=1), torch.ones(2))
    True
    """

    def __init__(self, models: Iterable[nn.Module], logit_scale: float) -> None:
        super().__init__(models)
        self.logit_scale = check_real(
            "logit_scale", logit_scale, "a positive number", lambda s: 0 < s < math.inf
        )
        if self.arguments is not None:
            self.arguments |= {"logit_scale": self.logit_scale}

    def forward(self, x: Tensor) -> Tensor:
        """Mean probabilities, (B, classes)."""
        return (self.logit_scale * self.logits(x)).softmax(dim=-1).mean(dim=0)


class HybridEnsemble(Members):
    """The mean of several hybrids' logits, certified by the mean of their worst logits.

    The largest that f_j − f_y of the mean can be is at most the mean of the members' largest (Li et
    al., 2021, section 4).

    Args:
        models: the members, each a `HybridNet`, of one width.

    Raises:
        TypeError, ValueError: there is no member, or one that is no `HybridNet`.

    >>> from linfkit.nn.nets import LpDistNet
    >>> members = [HybridNet(LpDistNet(4, 8, 2, 3), hidden=6) for _ in range(3)]
    >>> ensemble, x, labels = HybridEnsemble(members).eval(), torch.rand(2, 4), torch.tensor([0, 2])
    >>> worst = sum(net.worst_logits(x, labels, 0.1) for net in members) / 3
    >>> torch.allclose(ensemble.worst_logits(x, labels, 0.1), worst, atol=1e-6)
    True
    """

    scale: Tensor

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__(models)
        for model in self.models:
            if not isinstance(model, HybridNet):
                raise TypeError(f"models must be hybrid nets; got a {type(model).__name__}")
        widths = {net.mlp.hidden.in_features for net in self.members()}
        if len(widths) > 1:
            raise ValueError(f"models must be of one width; got {sorted(widths)}")
        # the unit of the logits, in pixels
        self.register_buffer("scale", next(self.members()).scale.clone())

    def members(self) -> Iterator[HybridNet]:
        """The members, each typed as a `HybridNet`."""
        return (model for model in self.models if isinstance(model, HybridNet))

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, (B, classes)."""
        return self.logits(x).mean(dim=0)

    def logits_and_worst(
        self, x: Tensor, labels: Tensor, eps: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean logits and mean worst logits, (B, classes) each."""
        each = [net.logits_and_worst(x, labels, eps) for net in self.members()]
        logits, worst = (torch.stack(part).mean(dim=0) for part in zip(*each, strict=True))
        return logits, worst

    def worst_logits(self, x: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """Mean worst logits, (B, classes); arguments and errors are those of `HybridNet`."""
        return self.logits_and_worst(x, labels, eps)[1]


def ensemble_of(models: Sequence[nn.Module]) -> Ensemble | HybridEnsemble:
    """Average the logits of several nets, with worst logits where all are hybrids.

    >>> from linfkit.nn.nets import LpDistNet
    >>> type(ensemble_of([LpDistNet(4, 8, 2, 3) for _ in range(2)])).__name__
    'Ensemble'
    """
    hybrids = all(isinstance(model, HybridNet) for model in models)
    return HybridEnsemble(models) if hybrids else Ensemble(models)
