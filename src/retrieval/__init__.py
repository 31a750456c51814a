"""From embeddings to rankings and their metrics; usable alone, with NumPy or torch, on CPU and GPU."""

from src.retrieval.distances.feature_distance import Distance, FeatureDistance, Metric, PairDistance, as_euclidean
from src.retrieval.distances.k_reciprocal import KReciprocalDistance, k_reciprocal
from src.retrieval.distances.spatio_temporal import (
    Falling,
    LogNormal,
    SpatioTemporalTerm,
    TripModel,
    camera_rows,
    trips,
)
from src.retrieval.distances.spatio_temporal_relation import SpatioTemporalRelation
from src.retrieval.distances.terms import Mismatch, SameGroupFilter, Sum, Term, TimeFilter
from src.retrieval.distances.track_distance import TrackDistance, label_of_track
from src.retrieval.embeddings import Embeddings, read_embeddings, read_meta, same_images, write_embeddings
from src.retrieval.embeddings_meta import DataVersion, EmbeddingsMeta
from src.retrieval.exact_evaluation import evaluate, evaluate_distance, rank_lists
from src.retrieval.identity_mining import Mined, Mining, kmeans_labels, mine_identities, purity
from src.retrieval.index.faiss_index import Index, IndexKind, recall
from src.retrieval.index.nearest import Backend, search
from src.retrieval.metrics import MISSED, FilterCounts, RetrievalResult
from src.retrieval.query_expansion import alpha_query_expansion, dbscan_query_expansion, group_queries
from src.retrieval.relevance import DISTRACTOR, Relevance
from src.retrieval.reordering import ExpandedTracks, GroupReranking
from src.retrieval.steps import STEPS, Step, StepError, make_steps, take
from src.retrieval.steps.state import Context, State, start
from src.retrieval.track_features import average_track_features, track_numbers, weighted_track_features
from src.retrieval.verification import VerificationResult, VerificationSummary, verify

__all__ = [
    "DISTRACTOR",
    "MISSED",
    "STEPS",
    "Backend",
    "Context",
    "DataVersion",
    "Distance",
    "Embeddings",
    "EmbeddingsMeta",
    "ExpandedTracks",
    "Falling",
    "FeatureDistance",
    "FilterCounts",
    "GroupReranking",
    "Index",
    "IndexKind",
    "KReciprocalDistance",
    "LogNormal",
    "Metric",
    "Mined",
    "Mining",
    "Mismatch",
    "PairDistance",
    "Relevance",
    "RetrievalResult",
    "SameGroupFilter",
    "SpatioTemporalRelation",
    "SpatioTemporalTerm",
    "State",
    "Step",
    "StepError",
    "Sum",
    "Term",
    "TimeFilter",
    "TrackDistance",
    "TripModel",
    "VerificationResult",
    "VerificationSummary",
    "alpha_query_expansion",
    "as_euclidean",
    "average_track_features",
    "camera_rows",
    "dbscan_query_expansion",
    "evaluate",
    "evaluate_distance",
    "group_queries",
    "k_reciprocal",
    "kmeans_labels",
    "label_of_track",
    "make_steps",
    "mine_identities",
    "purity",
    "rank_lists",
    "read_embeddings",
    "read_meta",
    "recall",
    "same_images",
    "search",
    "start",
    "take",
    "track_numbers",
    "trips",
    "verify",
    "weighted_track_features",
    "write_embeddings",
]
