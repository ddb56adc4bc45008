"""The engines the pipeline runs on, and the command line that starts, fills and runs them."""

import sys
from pathlib import Path

# The stack imports modules of the plugins: their names, and the digest with which it stamps the manifests.
sys.path.append(str(Path(__file__).parents[1] / "plugins"))
