"""The git repository that a project lies in, if it does: its revision, what was edited since, a revision's files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from kpi.errors import ConfigError
from kpi.presentation import one_line

_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # what git sets for what it calls itself


def run(root: Path, *words: str, index: Path | None = None) -> subprocess.CompletedProcess[bytes] | None:
    """Run git in a folder, with an index of its own where one is named. None where there is no git.

    A hook of another repository may call it: what git sets for its hooks does not count.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _HOOKS}
    environment |= {"GIT_INDEX_FILE": str(index)} if index else {}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False, env=environment)
    except OSError:
        return None


def output(root: Path, *words: str, index: Path | None = None) -> str:
    """Return what git prints. Raises ConfigError, with what git says, when it fails or is not there."""
    done = run(root, *words, index=index)
    if done is None:
        raise ConfigError("git cannot be run: is it installed?")
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip() or f"git {words[0]} ended with {done.returncode}"
        raise ConfigError(one_line(message, 500))
    return os.fsdecode(done.stdout)


def answer(root: Path, *words: str) -> str:
    """Return what git prints, without blanks around it; empty when it fails or is not there."""
    done = run(root, *words)
    return done.stdout.decode("utf-8", "replace").strip() if done and done.returncode == 0 else ""


def revision_of(root: Path) -> str:
    """Return the id of the commit that is checked out; empty without git, or before the first commit."""
    return answer(root, "rev-parse", "--verify", "--quiet", "HEAD")


def edited_files(root: Path, *but: str) -> list[str]:
    """Return the files below a folder that are other than in the commit, or not in it; not those below `but`."""
    status = run(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".",
                 *(f":(exclude){folder}" for folder in but))  # fmt: skip
    if not status or status.returncode:
        return []
    top = Path(answer(root, "rev-parse", "--show-toplevel"))
    paths = [top / entry[3:].decode("utf-8", "backslashreplace") for entry in status.stdout.split(b"\0") if entry]
    return sorted(path.relative_to(root.resolve()).as_posix() for path in paths if path.is_relative_to(root.resolve()))


def has_revision(root: Path, revision: str) -> bool:
    """Tell whether a commit is in this clone."""
    done = run(root, "cat-file", "-e", f"{revision}^{{commit}}")
    return bool(done and done.returncode == 0)


def user_of(root: Path) -> str:
    """Return name and address that git knows its user by; empty when it knows none."""
    name, address = answer(root, "config", "user.name"), answer(root, "config", "user.email")
    return f"{name} <{address}>" if name and address else name or address


def top_of(root: Path) -> Path:
    """Return the folder of the repository that a folder lies in. Raises ConfigError when there is no git, or none."""
    return Path(output(root, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()


def write_revision(root: Path, revision: str, folder: Path) -> Path:
    """Write all files that a commit has into a folder, and return the place in it of `root`.

    By an index of its own: `git archive` leaves out what export-ignore names. Raises ConfigError when git cannot.
    """
    top, index = top_of(root), folder.with_name(f"{folder.name}.index")
    output(top, "read-tree", revision, index=index)
    output(top, "checkout-index", "--all", "--quiet", f"--prefix={folder}/", index=index)
    return folder / root.resolve().relative_to(top)
