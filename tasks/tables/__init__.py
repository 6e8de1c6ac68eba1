"""Experiments as tables: cells, columns for programs, documents, the terminal."""
