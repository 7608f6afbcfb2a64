"""Who may, whose signatures count, and whether the state is whole."""
