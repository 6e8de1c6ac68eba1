"""Hears what the user is told."""


class Notices:
    """Keeps notices, and nothing else of progress."""

    def __init__(self):
        self.texts = []

    def start(self, stage, total, unit):
        return

    def advance(self, stage, n):
        return

    def finish(self, stage):
        return

    def notice(self, text):
        self.texts.append(text)
