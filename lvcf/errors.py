"""The one exception a user's mistake raises; the command line prints its message alone and exits with 2."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches

FIXES = {
    errno.EACCES: "allow it, or choose another path",
    errno.EPERM: "allow it, or choose another path",
    errno.EROFS: "choose a path that can be written",
    errno.ENOENT: "correct the path",
    errno.EISDIR: "move the folder away, or name a file",
    errno.ENOTDIR: "move the file away, or name a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the links that point in a circle",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs: the machine has no file left to open",
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
}
"""What a user can do about an error of the operating system."""
NAMELESS = (errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that are the user's to put right even where the system names no file."""
LONGEST = 400
"""Characters of what an exception says."""
FROM_A_WORKER = re.compile(r"\w+: \[Errno (\d+)\] [^:]*: '(.*)'")
"""The last line of an OSError that a loader process handed over: it carries a traceback instead of a file's name."""
PARSER = "jsonargparse"
"""Makes the objects that a configuration names."""


class UserError(Exception):
    """Something the user can put right: the message names the file, the value and the fix."""


USER_ERROR = f"{UserError.__module__}.{UserError.__name__}: "


def last_line(error: Exception) -> str:
    """The message of an error; of one that a loader process hands over with its traceback, the message in that."""
    return (str(error).strip().splitlines() or [""])[-1].removeprefix(USER_ERROR)


def os_error_line(error: OSError) -> str:
    """An error of the operating system in one line, or nothing if it is none that a user can put right."""
    number, name = error.errno, error.filename
    if number is None and (found := FROM_A_WORKER.fullmatch(last_line(error))):
        number, name = int(found[1]), found[2]
    if number is None or (name is None and number not in NAMELESS):
        return ""
    full = number in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else error.strerror or os.strerror(number)
    where = "the output folder" if name is None else " ".join(str(name).split())
    return f"{where[:300]}: {reason}; {FIXES.get(number, 'correct it, or choose another path')}"


def nearest(word: str, choices: Sequence[str]) -> str:
    """The choice that a misspelt word is nearest to, whatever its case; empty if none is near."""
    known = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else ""


def hint(word: str, choices: Sequence[str]) -> str:
    """What to write instead of a word that is none of the choices."""
    near = nearest(word, choices)
    return f"did you mean {near}?" if near else f"choose one of {', '.join(choices)}"


def cause_of(error: BaseException) -> BaseException:
    """The user's mistake behind a parser's error, which wraps what a constructor raises; else the error itself."""
    cause = error
    while not isinstance(cause, UserError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return cause
    of_a_class = _of_a_class(cause)
    return UserError(of_a_class) if of_a_class else error


def _of_a_class(error: BaseException) -> str:
    """What a class or function raised that a configuration names, with its name and line; empty if it was none."""
    frames = list(traceback.walk_tb(error.__traceback__))
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    packages = [module.partition(".")[0] for module in modules]
    made = len(packages) - packages[::-1].index(PARSER) if PARSER in packages else len(packages)
    while made < len(packages) and packages[made] in (*sys.stdlib_module_names, "yaml"):
        made += 1
    if made == len(packages):
        return ""
    number = [number for (_, number), module in zip(frames, modules, strict=True) if module == modules[made]][-1]
    code = frames[made][0].f_code
    name = f"{modules[made]}.{code.co_qualname}".removesuffix(".__init__").removesuffix(".<module>")
    return f"{name}: fails with {told(error)} ({code.co_filename}, line {number}); correct it, or its init_args"


def line(text: str, most: int = LONGEST) -> str:
    """Text of whatever origin on one line: white space is one space, what moves a cursor or paints is dropped."""
    words = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text).split()
    told = " ".join(words)
    return told if len(told) <= most else f"{told[: most - 3]}..."


def said(error: BaseException, most: int = LONGEST) -> str:
    """What an exception says, in one line; its class where it says nothing."""
    return line(str(error), most) or type(error).__name__


def told(error: BaseException) -> str:
    """Any exception in one line: its class and what it says."""
    text = line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
