"""The parts of `timelapse launch`: the child process, what it says, and the run that it belongs to."""
