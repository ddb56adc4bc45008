"""Configuration files of pre-commit and GitHub."""

import subprocess

import yaml

from stack.settings import ROOT


def test_pre_commit_runs_the_checks_of_make_lint() -> None:
    recipe = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", "venv", "lint", "STACK_HOME=.stack"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = repo["hooks"]
    assert [hook["entry"] for hook in hooks] == recipe
    assert {hook["language"] for hook in hooks} == {"system"}
    assert not any(hook["pass_filenames"] for hook in hooks)
    assert len({hook["id"] for hook in hooks}) == len(hooks)


def test_dependencies_and_actions_are_updated() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions"}
