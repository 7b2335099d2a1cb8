"""What rounds say: how answers changed, within a run and between runs."""
