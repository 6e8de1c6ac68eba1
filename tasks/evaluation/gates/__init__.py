"""What two evaluations say of the limits that a watch sets: how sure a change is, and what follows from it."""
