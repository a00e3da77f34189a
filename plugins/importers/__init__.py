"""Rating importers: what experts wrote down, from files."""

from harness.api import RatingImporter, hookimpl

from .csv_file import CsvFile
from .excel import Excel
from .imrmc import IMRMC
from .label_studio import LabelStudio
from .redcap import Redcap
from .study import Study


@hookimpl
def harness_rating_importers() -> list[type[RatingImporter]]:
    """Offer the importers of this folder."""
    return [CsvFile, Excel, IMRMC, LabelStudio, Redcap, Study]
