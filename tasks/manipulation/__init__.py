"""The edit: which weights are multiplied by alpha, how that is applied, and how it is undone."""
