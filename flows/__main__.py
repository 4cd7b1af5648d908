"""`python -m flows`: in the driver's environment, whichever Python it was; the command line is `flows/cli.py`."""

import os
import sys
from pathlib import Path

from actors import environments

if __name__ == "__main__":
    if Path(sys.prefix).parent.resolve() != environments.home().resolve():
        # A Ray job's entrypoint gets the first `python` on its node's path. The driver lives in its own.
        try:
            driver = str(environments.interpreter("driver"))
        except environments.EnvironmentMissing as missing:
            print(f"error: {missing}", file=sys.stderr)
            sys.exit(2)
        os.execv(driver, [driver, "-m", "flows", *sys.argv[1:]])

    from flows.cli import main

    sys.exit(main())
