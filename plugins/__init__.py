"""The components that come with the harness; they enter through the same entry points as everyone else's."""
