"""Samples from files and data sets: reading rows, recognising their format, splitting input from answer."""
