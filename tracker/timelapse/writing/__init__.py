"""Writing rounds: to disk first, then to MLflow."""
