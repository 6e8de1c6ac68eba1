"""Who is told how a night ended, and in which words."""
