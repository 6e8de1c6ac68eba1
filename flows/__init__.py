"""In what order: Prefect flows and the command line."""

import os

# Prefect reads these when it is imported, which every flow does: a run reports to nobody.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
