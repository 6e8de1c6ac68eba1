"""A Prefect server for the length of one run, or the one that the user has configured."""
