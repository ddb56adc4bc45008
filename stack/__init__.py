"""The engines the pipeline runs on, and the command line that starts, fills and runs them."""

import sys
from pathlib import Path

# The stack uses the names of the plugins, and their digest, with which it stamps the manifests.
sys.path.append(str(Path(__file__).parents[1] / "plugins"))
