"""One LightningModule a paper."""
