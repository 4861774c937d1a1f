"""ai-edge-quantizer from a Keras file on: TFLiteConverter, then the quantizer, in one script."""

from __future__ import annotations

import sys
from pathlib import Path

import ai_edge_quantizer_default
from lowering import lower

if __name__ == "__main__":
    lower(Path(sys.argv[1]))
    ai_edge_quantizer_default.main(Path(sys.argv[1]))
