"""What a run would cost, before it costs it."""
