"""The one exception that a user can cause."""


class UserError(Exception):
    """A mistake of the user's: one line that says what is wrong, where, and what to do. The command line exits with 2."""
