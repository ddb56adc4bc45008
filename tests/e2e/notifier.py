"""A notifier as a user of this project may write one. The stack of the end-to-end tests uses it."""

from pathlib import Path

from airflow.sdk import BaseNotifier, Context


class FileNotifier(BaseNotifier):
    """A notifier that appends a line to a file."""

    template_fields = ("text",)

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context: Context) -> None:
        """Write the text. Airflow has rendered it for the failed task or the missed deadline."""
        with Path(self.path).open("a") as file:
            print(self.text, file=file)
