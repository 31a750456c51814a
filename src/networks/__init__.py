"""Backbones and the blocks of the papers, as plain modules."""

from src.networks.attention import AttentionNet
from src.networks.attribute_guided import AttributeGuidedNetwork, AttributeGuidedOutput
from src.networks.backbone import Backbone
from src.networks.bnneck import BNNeck
from src.networks.class_awareness import ClassAwareness, Exchange, partners
from src.networks.dfr_st import DFRSTNetwork, DFRSTOutput
from src.networks.division import Branch, Embedding
from src.networks.dndm import DNDMNetwork, DNDMOutput
from src.networks.glare import GlareSuppression
from src.networks.pooling import GAP, GeM
from src.networks.released import ReleasedDNDM, ReleasedOutput
from src.networks.structure import StructureEnhancement

__all__ = [
    "GAP",
    "AttentionNet",
    "AttributeGuidedNetwork",
    "AttributeGuidedOutput",
    "BNNeck",
    "Backbone",
    "Branch",
    "ClassAwareness",
    "DFRSTNetwork",
    "DFRSTOutput",
    "DNDMNetwork",
    "DNDMOutput",
    "Embedding",
    "Exchange",
    "GeM",
    "GlareSuppression",
    "ReleasedDNDM",
    "ReleasedOutput",
    "StructureEnhancement",
    "partners",
]
