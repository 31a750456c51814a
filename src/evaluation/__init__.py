"""From a checkpoint and a data set to embeddings, task results and metrics.json."""
