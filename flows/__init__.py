"""In what order: Prefect flows and the command line."""

import os
import warnings

# Prefect reads these when it is imported, which every flow does: a run reports to nobody.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# In a notebook a library that draws no bars asks for what would draw them.
warnings.filterwarnings("ignore", message="IProgress not found")
