"""Reader studies: which images each reader sees in which order, the pages that show them, and the answers that come back."""
