"""What the pages show of a run: its answers arranged sample by round, and as documents for browsers."""
