"""Pictures and tables of a run."""

from src.figures.curves import draw_curves, draw_roc
from src.figures.tables import print_metrics
from src.figures.write import write_rank_lists

__all__ = ["draw_curves", "draw_roc", "print_metrics", "write_rank_lists"]
