"""Activation statistics of the target layers."""
