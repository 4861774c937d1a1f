"""`python -m edge_runtime` is `irv2-predict`."""

import sys

from edge_runtime.predict import main

if __name__ == "__main__":
    sys.exit(main())
