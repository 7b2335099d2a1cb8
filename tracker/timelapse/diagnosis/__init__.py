"""What `timelapse doctor` looks at: this installation, MLflow, and the folders on this machine."""
