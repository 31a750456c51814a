"""From embeddings to rankings and their metrics; usable alone, with NumPy or torch, on CPU and GPU."""

from src.retrieval.distances import Distance, FeatureDistance
from src.retrieval.evaluation import evaluate, evaluate_distance
from src.retrieval.relevance import DISTRACTOR, Relevance
from src.retrieval.result import RetrievalResult
from src.retrieval.search import search
from src.retrieval.tracks import TrackDistance

__all__ = [
    "DISTRACTOR",
    "Distance",
    "FeatureDistance",
    "Relevance",
    "RetrievalResult",
    "TrackDistance",
    "evaluate",
    "evaluate_distance",
    "search",
]
