"""Division of a data set between day and night: DNDM (Li et al., CVPR 2024), Table 1."""

from dataclasses import dataclass

import pandas as pd

from src.data.table import DOMAINS, known


@dataclass(frozen=True)
class Balance:
    """Day and night on one side of a data set.

    Attributes:
        day: Number of images of the day.
        night: Number of images of the night.
        vehicles: Number of vehicles.
        both: Number of vehicles that are there by day and by night.
        night_share: Share of the night in a vehicle's images, in the median over the vehicles.
    """

    day: int
    night: int
    vehicles: int
    both: int
    night_share: float

    @property
    def proportion(self) -> float:
        """Table 1's "D-N proportion": share of the vehicles that are there by day and by night."""
        return self.both / self.vehicles

    def sentence(self) -> str:
        """Names of what to read."""
        return (
            f"{self.day:,} images by day and {self.night:,} by night ({self.night / (self.day + self.night):.0%}); "
            f"{self.both:,} of {self.vehicles:,} vehicles by day and by night ({self.proportion:.1%}); of a vehicle's "
            f"images {self.night_share:.0%} are of the night in the median."
        )


def balance(records: pd.DataFrame) -> Balance | None:
    """Counts day and night among records of known vehicles.

    Args:
        records: Rows of a record table.

    Returns:
        None if no record says whether it is of the day or of the night.
    """
    said = records[known(records, "domain") & known(records, "vehicle_id")]
    if said.empty:
        return None
    vehicles = [said["dataset"], said["vehicle_id"]]
    day, night = ((said["domain"] == domain).astype(int).groupby(vehicles).sum() for domain in DOMAINS)
    both = int(((day > 0) & (night > 0)).sum())
    return Balance(int(day.sum()), int(night.sum()), len(day), both, float((night / (day + night)).median()))
