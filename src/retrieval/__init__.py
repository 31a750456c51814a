"""From embeddings to rankings and their metrics; usable alone, with NumPy or torch, on CPU and GPU."""

from src.retrieval.distances import Distance, FeatureDistance
from src.retrieval.evaluation import evaluate, evaluate_distance
from src.retrieval.relevance import DISTRACTOR, Relevance
from src.retrieval.rerank import KReciprocalDistance, k_reciprocal
from src.retrieval.result import RetrievalResult
from src.retrieval.search import Backend, search
from src.retrieval.tracks import TrackDistance

__all__ = [
    "DISTRACTOR",
    "Backend",
    "Distance",
    "FeatureDistance",
    "KReciprocalDistance",
    "Relevance",
    "RetrievalResult",
    "TrackDistance",
    "evaluate",
    "evaluate_distance",
    "k_reciprocal",
    "search",
]
