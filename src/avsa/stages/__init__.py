"""The stages behind the verbs: here, and only here, the rooms are joined."""
