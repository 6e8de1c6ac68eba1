"""Manifests as somebody rewrites them who knows how their digest is taken."""

import hashlib
import json


def forge(path, change):
    """Change what a manifest says, or a note that files were dropped, and give it the digest that it has then."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    content.pop("digest", None)

    def text():
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    if content.get("format") != 1:
        content["digest"] = hashlib.sha256(text().encode()).hexdigest()
    path.write_text(text(), encoding="utf-8")


def to_format_1(path):
    """Make a manifest what older releases wrote."""

    def older(content):
        content["format"] = 1
        for name in ("inputs", "weights", "settings", "upgrade"):
            content.pop(name)
        for name in (
            "records",
            "hardware",
            "environment",
            "product",
            "run",
            "user",
            "host",
            "system",
            "process",
            "runner",
        ):
            content["circumstances"].pop(name)

    forge(path, older)
