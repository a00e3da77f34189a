"""SQL and JSON schemas of the results, as package resources."""
