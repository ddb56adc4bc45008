"""The launcher's output: long lines (URLs, paths) stay whole, and tables fold only on a terminal."""

import sys

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
table_console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
