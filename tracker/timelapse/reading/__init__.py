"""Reading rounds back: from MLflow into pandas."""
