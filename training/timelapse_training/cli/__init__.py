"""The commands that need the training packages."""
