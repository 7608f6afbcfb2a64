"""From a name to a version, from a version to its verified bytes."""
