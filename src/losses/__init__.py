"""Loss functions. None of them looks at the position of a sample in the batch."""

from src.losses.center import CenterLoss
from src.losses.cross_entropy import cross_entropy
from src.losses.gate import gate_loss
from src.losses.triplet import Reduction, batch_hard_triplet, cross_domain_triplet

__all__ = ["CenterLoss", "Reduction", "batch_hard_triplet", "cross_domain_triplet", "cross_entropy", "gate_loss"]
