"""The timelapse program: one file a command."""
