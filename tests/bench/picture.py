"""The picture of a report that README shows, taken of a real run by a headless Chromium.

"$(python3 actors/environments.py path develop)" tests/bench/picture.py STORE/experiments/smollm2-cpu/report.html
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "flows/reporting/report.png"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=Path)
    parser.add_argument("--size", default="1100,900", help="of the window, in pixels")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("error: no chromium on the PATH; install it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as profile:
        asked = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"]
        asked += [f"--window-size={options.size}", f"--screenshot={PICTURE}", options.report.resolve().as_uri()]
        subprocess.run([chromium, *asked], check=True, capture_output=True, timeout=120)
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
