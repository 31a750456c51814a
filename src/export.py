"""`python -m src.export checkpoint=… out=… format=onnx`: a checkpoint for other run times."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("export")
def main(cfg: DictConfig) -> None:
    """Exports."""
    from src.config.checks import check_command
    from src.config.schema import ExportConfig
    from src.evaluation.reduced_exports import run

    check_command(cfg, ExportConfig)
    exported = run(cfg)
    if cfg.card:
        from src.runs.model_card import write_card

        write_card(cfg, exported)


if __name__ == "__main__":
    main()
