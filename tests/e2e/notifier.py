"""A notifier like those that users write. The tests' stack is configured with it."""

from pathlib import Path

from airflow.sdk import BaseNotifier, Context


class FileNotifier(BaseNotifier):
    """Appends a line to a file."""

    template_fields = ("text",)

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context: Context) -> None:
        """Write the text, rendered for the failed task or the missed deadline."""
        with Path(self.path).open("a") as file:
            print(self.text, file=file)
