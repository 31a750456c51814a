"""Backbones and the blocks of the papers, as plain modules."""

from src.networks.attribute_guided_network import AttributeGuidedNetwork, AttributeGuidedOutput
from src.networks.backbone.timm_backbone import Backbone
from src.networks.blocks.attention import AttentionNet
from src.networks.blocks.bnneck import BNNeck
from src.networks.blocks.class_awareness import ClassAwareness, Exchange, partners
from src.networks.blocks.division import Branch, Embedding
from src.networks.blocks.glare import GlareSuppression
from src.networks.blocks.pooling import GAP, GeM, Pooling, make_pooling
from src.networks.blocks.structure import StructureEnhancement
from src.networks.dfr_st_network import DFRSTNetwork, DFRSTOutput
from src.networks.dndm_network import DNDMNetwork, DNDMOutput
from src.networks.dndm_released import ReleasedDNDM, ReleasedOutput
from src.networks.transreid_network import TransReIDNetwork, TransReIDOutput

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
    "Pooling",
    "ReleasedDNDM",
    "ReleasedOutput",
    "StructureEnhancement",
    "TransReIDNetwork",
    "TransReIDOutput",
    "make_pooling",
    "partners",
]
