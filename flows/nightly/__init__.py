"""Watched models measured again, night after night."""
