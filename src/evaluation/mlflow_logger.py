"""Lightning's MLflow logger, as one MLflow run for everything that a training run logs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from src.runtime.processes import on_first_process

_KEY = "vehicle_reid.run"  # the tag by which a run is found again


class MLflowRun(MLFlowLogger):
    """The MLflow run of a training run: the same for all its stages, for its results, and when it is resumed.

    Args:
        save_dir: The stage's folder, where other loggers write; of no use to MLflow.
        id: Tells the run from all others.
        experiment_name: Experiment of MLflow.
        run_name: How MLflow shows it.
        tracking_uri: Of a server, or another store; None for a data base in `folder`.
        folder: Where that data base is, `mlflow.db`, and what belongs to its runs, `mlartifacts`.
        tags: Further tags; what is None is left out.
    """

    def __init__(
        self,
        save_dir: str,
        id: str,  # noqa: A002  (as W&B calls it)
        experiment_name: str = "vehicle-reid",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        folder: str = "outputs",
        tags: Mapping[str, str | Sequence[str] | None] | None = None,
    ) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        given = {
            name: value if isinstance(value, str) else ", ".join(value) for name, value in (tags or {}).items() if value
        }
        artifacts = None
        if tracking_uri is None:
            home = Path(folder).absolute()
            home.mkdir(parents=True, exist_ok=True)
            # Other processes log nothing, but would lay out the data base at the same time; a server is not asked yet.
            tracking_uri = on_first_process(f"sqlite:///{home}/mlflow.db", "http://localhost")
            artifacts = (home / "mlartifacts").as_uri()
        super().__init__(experiment_name, run_name, tracking_uri, {**given, _KEY: id}, artifact_location=artifacts)
        self._id = id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The client, once it is known which run is meant."""
        if not self._initialized and self._run_id is None:
            self._run_id = self._earlier()
            if self._run_id is not None:
                self._mlflow_client.update_run(self._run_id, status="RUNNING")
        return super().experiment

    def _earlier(self) -> str | None:
        """The id of the MLflow run that an earlier stage, or the run before it was stopped, has begun."""
        if (found := self._mlflow_client.get_experiment_by_name(self._experiment_name)) is None:
            return None
        runs = self._mlflow_client.search_runs([found.experiment_id], f"tags.`{_KEY}` = '{self._id}'")
        return runs[0].info.run_id if runs else None

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Logs what the run was started with: MLflow refuses other values, which a resumed run may have."""
        if not self.experiment.get_run(self.run_id).data.params:
            super().log_hyperparams(params)
