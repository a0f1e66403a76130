"""Says in one sentence what is missing before a virtual environment can be made."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file runs on whatever python3 is there
    sys.exit(
        f"Pithead needs Python 3.11 or newer, and {sys.executable} is "
        f"{sys.version.split()[0]}: name a newer one with `make PYTHON=python3.12 ...`"
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        f"the venv package of {sys.executable} is missing: install it, on Debian and Ubuntu "
        "with `apt-get install python3-venv`"
    )
