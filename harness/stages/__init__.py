"""One module per stage of an audit: each says which cells it needs and turns their results into rows."""
