"""What calibration and evaluation data share, and what they hold twice."""
