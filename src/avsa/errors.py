"""The one exception that a user can cause."""


class UserError(Exception):
    """A user's mistake, in one line: what is wrong, where, and what to do. The command line exits with 2."""
