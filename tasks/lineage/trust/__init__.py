"""What may be trusted: keys and signatures, and the append-only log with its check."""
