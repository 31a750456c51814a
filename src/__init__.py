"""Vehicle re-identification: methods, data sets, exact retrieval evaluation."""
