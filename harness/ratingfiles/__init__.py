"""Files of ratings without an audit: which column is what, what they say, and the report on them."""
