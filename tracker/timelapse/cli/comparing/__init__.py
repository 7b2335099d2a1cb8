"""What `timelapse compare` and `timelapse diff` share: options, gates, and forms of output."""
