"""Making an artifact again from its manifest and comparing bytes."""
