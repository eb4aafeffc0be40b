"""The one exception a user's mistake raises; the command line prints its message alone and exits with 2."""


class UserError(Exception):
    """Something the user can put right: the message names the file, the value and the fix."""
