"""Where the launcher prints: one console, whose long lines (URLs, paths) stay whole."""

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
