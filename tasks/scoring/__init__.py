"""Scores of weights from activation statistics, and their summary."""
