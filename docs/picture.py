"""The README's picture: the first screen of a report, as Chromium shows it, in few colours.

After `uwm demo`: python docs/picture.py store/report/VERSION/report.html
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1280, 900
MOST_BYTES = 200_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write docs/report.png."""
    report, out = Path(sys.argv[1]).resolve(), Path(__file__).with_name("report.png")
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
        ]
        size = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}"]
        subprocess.run([browser, *options, *size, report.as_uri()], check=True, timeout=300, stderr=subprocess.DEVNULL)
        picture = Image.open(shot).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        picture.save(out, optimize=True)
    if out.stat().st_size >= MOST_BYTES:
        raise SystemExit(f"{out} has {out.stat().st_size:,} bytes, expected fewer than {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
