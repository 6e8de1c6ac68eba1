"""Processes that help a run to do work that is values: one a device, on this machine."""
