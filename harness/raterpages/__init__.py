"""What the dossier shows of raters: tables and figures from stored rows."""
