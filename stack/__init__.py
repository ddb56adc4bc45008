"""The engines the pipeline runs on, and the command line that starts, fills and runs them."""

import sys
from pathlib import Path

# The stack stamps the manifests with the digest that the tasks compare.
sys.path.append(str(Path(__file__).parents[1] / "plugins"))
