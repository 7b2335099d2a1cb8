"""Scoring predictions: named numbers on each answer."""
