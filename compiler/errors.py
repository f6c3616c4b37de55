"""The one exception that means "the user's input is at fault"."""

from __future__ import annotations


class UserError(Exception):
    """The user's input is at fault; the command line prints it without a traceback and exits with status 2.

    Args:
        what: what is wrong, one sentence.
        where: the file, node, tensor or key it was found in.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)
