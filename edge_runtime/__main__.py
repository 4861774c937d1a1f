"""`python -m edge_runtime` is `irv2-predict`."""

import sys

from edge_runtime._start import predict

if __name__ == "__main__":
    sys.exit(predict())
