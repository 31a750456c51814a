"""Pictures and tables of a run."""

from src.figures.attention import write_attention
from src.figures.curves import draw_curves, draw_roc
from src.figures.tables import print_metrics
from src.figures.trips import draw_trips
from src.figures.write import choose_rank_lists, write_rank_lists

__all__ = [
    "choose_rank_lists",
    "draw_curves",
    "draw_roc",
    "draw_trips",
    "print_metrics",
    "write_attention",
    "write_rank_lists",
]
