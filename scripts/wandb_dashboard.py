"""Creates a W&B workspace that compares the runs of a project, and a report with the same panels.

    python -m scripts.wandb_dashboard entity=<user or team> [project=vehicle-reid] [dry_run=true]

Needs `pip install "vehicle-reid[wandb]"` and, without dry_run, a W&B account (`wandb login`). What the panels show is
what src/evaluation/wandb_tables.py and Lightning log; docs/sweeps.md lists it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.config.checks import check_command
from src.config.schema import DashboardConfig
from src.runtime.command import command
from src.runtime.errors import ConfigError

#: Settings that the papers sweep, as axes.
AXES = {
    "α": "method.alpha",
    "β": "method.beta",
    "λ": "method.lambda_value",
    "ω, trained": "method.omega",
    "ω, evaluated": "retrieval.spatio_temporal.omega",
    "learning rate": "optim.optimizer.lr",
}
MEASURES = ("mAP", "rank1", "mINP")
COLUMNS = ("run:displayName", "run:group", "tags:__ALL__", *(f"summary:final/{measure}" for measure in MEASURES))


@command("wandb_dashboard")
def main(cfg: DictConfig) -> None:
    check_command(cfg, DashboardConfig)
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError('wandb-workspaces is missing; pip install "vehicle-reid[wandb]".') from error
    sections = [
        ws.Section(name=name, panels=panels, is_open=True, pinned=True) for name, panels in panels_of(cfg.tasks).items()
    ]
    settings = ws.RunsetSettings(pinned_columns=[*COLUMNS])
    workspace = ws.Workspace(
        entity=cfg.entity, project=cfg.project, name="Comparison", sections=sections, runset_settings=settings
    )
    runs = wr.Runset(name="All runs", pinned_columns=[*COLUMNS])  # of the report's own project
    blocks: list[Any] = [wr.TableOfContents()]
    for name, panels in panels_of(cfg.tasks).items():
        blocks += [wr.H1(name), wr.PanelGrid(runsets=[runs], panels=panels)]
    report = wr.Report(entity=cfg.entity, project=cfg.project, title="Runs side by side", blocks=blocks)
    for name, created in (("workspace", workspace), ("report", report)):
        if cfg.dry_run:
            path = Path(cfg.paths.run_dir) / f"{name}.json"
            # What save() sends; the package has no public name for it.
            said = created._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2)
            path.write_text(said + "\n", encoding="utf-8")
            print(path)
        else:
            created.save()


def panels_of(tasks: Sequence[str]) -> dict[str, list[Any]]:
    """The panels of each section.

    Args:
        tasks: Whose tables and pictures are shown.
    """
    import wandb_workspaces.reports.v2 as wr

    step = "trainer/global_step"
    axes = [
        wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=name, log=name == "learning rate")
        for name, key in AXES.items()
    ]
    target = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("final/mAP"), display_name="mAP")
    wide = wr.Layout(w=24, h=10)
    return {
        "Results": [
            *(wr.BarPlot(title=measure, metrics=[f"final/{measure}"], max_bars_to_show=50) for measure in MEASURES),
            wr.RunComparer(diff_only="split", layout=wide),
        ],
        "Sweeps": [
            wr.ParallelCoordinatesPlot(columns=[*axes, target], layout=wide),
            wr.ParameterImportancePlot(with_respect_to="final/mAP", layout=wide),
        ],
        "Training": [
            wr.LinePlot(title="Loss", x=step, y=["train/total"]),
            wr.LinePlot(title="Loss terms", x=step, metric_regex="train/.*"),
            wr.LinePlot(title="mAP in training", x=step, y=["val/mAP"]),
            wr.LinePlot(title="Learning rate", x=step, metric_regex="lr-.*"),
        ],
        "Errors": [
            wr.WeavePanelSummaryTable(table_name="groups", layout=wide),
            *(
                wr.WeavePanelSummaryTable(table_name=f"{kind}/{task}", layout=wide)
                for task in tasks
                for kind in ("cameras", "domains", "rank_lists")
            ),
            wr.MediaBrowser(media_keys=[f"figures/rank_list_{task}" for task in tasks], layout=wide),
        ],
    }


if __name__ == "__main__":
    main()
