"""Folds that break off, as those of a killed process do."""


def dying_at(fold, call):
    """A kind of fold that fails at its n-th batch."""

    class Dying(fold):
        n_calls = 0

        def take(self, batch, plan):
            self.n_calls += 1
            if self.n_calls == call:
                raise OSError("the disk is away")
            super().take(batch, plan)

    return Dying
