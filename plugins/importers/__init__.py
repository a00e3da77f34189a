"""Importers: files of expert ratings."""

from harness.api import RatingImporter, hookimpl

from .csv_file import CsvFile


@hookimpl
def harness_rating_importers() -> list[type[RatingImporter]]:
    """Offer the importers of this folder."""
    return [CsvFile]
