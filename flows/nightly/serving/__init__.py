"""Nights by a schedule: when they are due, one at a time, what becomes of killed ones, reports on loopback."""
