"""CCA: cross-domain class awareness."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from src.networks.blocks.bnneck import Classifier
from src.networks.blocks.covariance import mean_covariance
from src.runtime.precision import full_precision

Form = Literal["auto", "plain", "folded"]
Pairing = Literal["mean", "random"]
AtTest = Literal["none", "mean", "own"]


class Exchange(NamedTuple):
    """Class maps that samples receive: whose they are, and of which class.

    Attributes:
        weight: `(B, C4)`, the row of the classifier that belongs to each sample's class.
        bias: `(B,)`, likewise.
        partners: `(B, B)`, the weights with which a sample receives the class maps of the others (see `partners`); None
            if each receives its own.
    """

    weight: Tensor
    bias: Tensor
    partners: Tensor | None


def partners(labels: Tensor, domains: Tensor, pairing: Pairing = "mean") -> Tensor:
    """Class maps that a sample receives: those of its identity's samples in the other domain.

    Args:
        labels: `(B,)` identities, in any order and number.
        domains: `(B,)`, 0 for day and 1 for night; a negative (unknown) one has no partners.
        pairing: `"mean"` weighs all of them equally, `"random"` picks one. The paper speaks of pairs, the authors'
            code takes the mean.

    Returns:
        `(B, B)` float32 weights; a row sums to one, or to zero where a sample has no partner.

    Raises:
        ValueError: An unknown `pairing`.
    """
    if pairing not in ("mean", "random"):
        raise ValueError(f"pairing must be 'mean' or 'random', got {pairing!r}.")
    known = domains >= 0
    match = (labels[:, None] == labels) & (domains[:, None] != domains) & known[:, None] & known
    if pairing == "random":
        chosen = torch.rand(match.shape, device=match.device).masked_fill(~match, -1).argmax(dim=1)
        match = match & (chosen[:, None] == torch.arange(len(labels), device=labels.device))
    return match.float() / match.sum(dim=1, keepdim=True).clamp(min=1)


class ClassAwareness(nn.Module):
    """Modulates a projection of the features with the class maps of the other domain, and adds it to them.

    `P = BN(conv1×1(T))`; in training `P ← P ⊙ A`, where A is the mean over the sample's partners of their class maps
    `sigmoid(⟨w_y, P⟩ + b_y)`; `T ← T + ReLU(BN(conv1×1(P)))`. DNDM (CVPR 2024), Eq. 10 to 13.

    At test nothing is exchanged. The paper leaves P as it is then, and adds more than it did in training: the second
    normalisation knows the modulated P, and A is about one half. `at_test` offers two ways around that: `P ← ā P`, with
    the mean ā of all A that training has multiplied with (a running one, as BatchNorm's), or `P ← P ⊙ A`, with the
    sample's own map of the class that its P scores highest on average.

    The plain form computes just that. The folded one uses that nothing non-linear lies between the two convolutions: A
    is one number a position, so `conv(A ⊙ P) = A ⊙ conv(P)`, biases apart, P is affine in T, and its batch statistics
    follow from the mean and covariance of T. With the rows of P scaled by `s = γ / σ`, one C × C matrix
    `M = W2 diag(s) W1` maps T, and the wide map P never exists. Parameters, statistics and gradients are the same.

    Args:
        channels: Channels C of the stage.
        class_channels: Channels C4 of the last stage, which the classifier knows.
        form: `"auto"` takes whichever form needs fewer operations for the input at hand.
        at_test: What P is multiplied with where nothing is exchanged: `"none"`, nothing, as in the paper; `"mean"`,
            the mean of training; `"own"`, the sample's own map.

    Attributes:
        running_map: Running mean over training of what P was multiplied with, ā: a number.
    """

    running_map: Tensor

    def __init__(self, channels: int, class_channels: int, form: Form = "auto", at_test: AtTest = "none") -> None:
        super().__init__()
        if form not in ("auto", "plain", "folded"):
            raise ValueError(f"form must be 'auto', 'plain' or 'folded', got {form!r}.")
        if at_test not in ("none", "mean", "own"):
            raise ValueError(f"awareness_at_test must be 'none', 'mean' or 'own', got {at_test!r}.")
        self.form = form
        self.at_test = at_test
        self.register_buffer("running_map", torch.tensor(0.5))  # of rows of a classifier that are close to zero
        self.project = nn.Conv2d(channels, class_channels, kernel_size=1)
        self.project_norm = nn.BatchNorm2d(class_channels)
        self.restore = nn.Conv2d(class_channels, channels, kernel_size=1)
        self.restore_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, exchange: Exchange | None = None, classifier: Classifier | None = None) -> Tensor:
        """Modulates features.

        Args:
            x: `(B, C, h, w)`.
            exchange: Of a training step; None at test.
            classifier: Needed at test with the sample's own map.

        Raises:
            ValueError: The classifier is needed and missing.
        """
        scores = None
        if exchange is None and self.at_test == "own":
            if not isinstance(classifier, Classifier):
                raise ValueError(
                    "awareness_at_test='own' takes the map of the class that scores highest and needs the classifier, "
                    "which is not there; pass 'none' or 'mean'."
                )
            scores = classifier
        y = self._folded(x, exchange, scores) if self._folds(x) else self._plain(x, exchange, scores)
        return x + F.relu(self.restore_norm(y))

    def class_map(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Class maps A `(B, h, w)` of features `(B, C, h, w)`, with the rows of the classifier of an `Exchange`."""
        p = self.project_norm(self.project(x))
        return torch.sigmoid(torch.einsum("bc,bchw->bhw", weight, p) + bias[:, None, None])

    def _folds(self, x: Tensor) -> bool:
        if self.form != "auto":
            return self.form == "folded"
        wide, narrow = self.project.out_channels, self.project.in_channels
        positions = x.numel() // narrow
        if isinstance(positions, torch.SymInt):  # exported for any batch: what is best for a single image
            positions = x.shape[2] * x.shape[3]
        products = 2 if self.project_norm.training else 1  # in training the covariance comes on top
        return products * narrow**2 * (positions + wide) < 2 * positions * narrow * wide

    def _plain(self, x: Tensor, exchange: Exchange | None, scores: Classifier | None) -> Tensor:
        p = self.project_norm(self.project(x))
        if scores is not None:
            exchange = _own(p.mean(dim=(2, 3)), scores)
        if exchange is not None:
            logits = torch.einsum("bc,bchw->bhw", exchange.weight.to(p.dtype), p)
            p = p * self._received(logits, exchange).to(p.dtype)
        elif self.at_test == "mean":
            p = p * self.running_map.to(p.dtype)
        return self.restore(p)

    def _folded(self, x: Tensor, exchange: Exchange | None, scores: Classifier | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            w1, w2 = self.project.weight.flatten(1), self.restore.weight.flatten(1)
            scale, shift = self._affine(x)  # P = scale ⊙ W1 T + shift
            scaled = scale[:, None] * w1
            if scores is not None:
                exchange = _own(x.mean(dim=(2, 3), dtype=scaled.dtype) @ scaled.T + shift, scores)
            elif exchange is None and self.at_test == "mean":
                scaled, shift = self.running_map * scaled, self.running_map * shift
            vector = w2 @ shift
        matrix = w2 @ scaled  # in half precision under autocast, where the convolution would round it anyway
        y = F.conv2d(x, matrix[:, :, None, None].to(x.dtype), vector.to(x.dtype))
        bias = self.restore.get_parameter("bias")[:, None, None].to(y.dtype)
        if exchange is not None:
            with torch.autocast(x.device.type, enabled=False):
                rows = exchange.weight.to(scaled.dtype)
                rows, offset = rows @ scaled, rows @ shift
            logits = torch.einsum("bc,bchw->bhw", rows.to(x.dtype), x) + offset[:, None, None]
            return torch.addcmul(bias, y, self._received(logits, exchange).to(y.dtype))
        return bias + y

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift that make P out of `W1 T`; in training, the running statistics are updated on the way."""
        norm = self.project_norm
        w1, b1 = self.project.weight.flatten(1), self.project.get_parameter("bias")
        running_mean, running_var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        if norm.training:
            mean, covariance, count = mean_covariance(x, self._synchronised)
            with full_precision(x.device.type):
                mean, variance = w1 @ mean + b1, ((w1 @ covariance) * w1).sum(dim=1)
            with torch.no_grad():
                norm.get_buffer("num_batches_tracked").add_(1)
                running_mean.lerp_(mean.to(running_mean.dtype), self._momentum)
                running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), self._momentum)
        else:
            mean, variance = running_mean, running_var
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return scale, norm.bias + scale * (b1 - mean)

    @property
    def _momentum(self) -> float:
        """Weight of the current batch in running statistics, once it is counted."""
        momentum, tracked = self.project_norm.momentum, self.project_norm.get_buffer("num_batches_tracked")
        return 1 / int(tracked) if momentum is None else momentum

    @property
    def _synchronised(self) -> bool:
        return isinstance(self.project_norm, nn.SyncBatchNorm) and distributed.is_initialized()

    def _received(self, logits: Tensor, exchange: Exchange) -> Tensor:
        """The factors `(B, 1, h, w)` that samples receive: their partners' class maps, or one without partners."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        maps = torch.sigmoid(logits + exchange.bias.to(logits.dtype)[:, None, None])
        if exchange.partners is None:
            return maps.unsqueeze(1)
        weights = exchange.partners.to(maps.dtype)
        with torch.autocast(maps.device.type, enabled=False):
            received = (weights @ maps.flatten(1)).view_as(maps)
        factors = (received + (1 - weights.sum(dim=1))[:, None, None]).unsqueeze(1)
        if self.project_norm.training:
            self._record(factors)
        return factors

    @torch.no_grad()
    def _record(self, factors: Tensor) -> None:
        mean = factors.mean()
        if self._synchronised:  # every process has as many samples
            distributed.all_reduce(mean)
            mean /= distributed.get_world_size()
        self.running_map.lerp_(mean.to(self.running_map.dtype), self._momentum)


def _own(p: Tensor, classifier: Classifier) -> Exchange:
    """Each sample's own class map, of the class that its mean projection `(B, C4)` scores highest."""
    weight, bias = classifier.weight, classifier.bias
    chosen = F.linear(p, weight, bias).argmax(dim=1)
    return Exchange(weight[chosen], bias[chosen], None)
