"""Plugin-based audit harness for generators of synthetic medical images."""

__version__ = "0.1.0"
