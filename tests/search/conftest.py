"""What all tests of the search share: the exporter's table of operators, read once."""

from tests.compress.conftest import registry_of_operators

__all__ = ["registry_of_operators"]
