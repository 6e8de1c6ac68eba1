"""What is installed where a bundle is written, as an auditor may compare it with what manifests name."""

import hashlib
import json
import platform
from importlib.metadata import distributions
from pathlib import Path

_LOCK = Path(__file__).resolve().parents[2] / "uv.lock"


def locked_environment() -> bytes | None:
    """`uv.lock` of this program; None where it was installed without its sources."""
    return _LOCK.read_bytes() if _LOCK.is_file() else None


def installed_distributions() -> bytes:
    """All that is installed, as JSON: version by name, and SHA-256 of the RECORD that lists each one's files by hash."""
    found = {}
    for item in distributions():
        record = item.read_text("RECORD")
        digest = None if record is None else hashlib.sha256(record.encode()).hexdigest()
        found[item.metadata["Name"]] = {"version": item.version, "record_sha256": digest}
    content = {"python": platform.python_version(), "platform": platform.platform(), "distributions": found}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
