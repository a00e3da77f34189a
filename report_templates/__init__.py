"""Templates, style sheet and fonts of the dossier."""
