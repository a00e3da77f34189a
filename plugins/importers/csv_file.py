"""Expert ratings from a CSV file."""

from __future__ import annotations

from pydantic import Field

from harness.api import Context

from .sheets import Sheet, text_sheet
from .tables import RatingTable


class CsvFile(RatingTable):
    """Reads ratings from a CSV file: a row per rating, or a column per rater, per scale, or per rater and scale.

    `item`, `rater`, `scale`, `value`, and where there are any `occasion` and `seconds`, name the columns; several columns for
    one of item, rater, scale and occasion are joined by a slash. `scale_name` and `rater_name` take the place of a column where the
    file has a single scale or rater. `raters` names one column per rater, `scales` one per scale, and a pattern such as
    `columns: "{rater}_{scale}"` one per both. `text`: a column of free text, which becomes a scale called SCALE_comment. `facts`: columns
    (or {fact: column}) with what the file knows of an item, such as its truth. `where: {column: value}` keeps the rows that have it.

    `categories: {scale: [...]}` and `limits: {scale: [low, high]}` say what is on a scale: the rest is kept as unusable. `texts` and
    `sets`: scales of free text, and of answers with several categories. `same: {BENIGN: benign}`: what stands for what. Empty values, and
    the words of `missing`, are kept as missing ratings. `duplicates`: identical counts equal ratings of one item by one rater once, set
    joins them. `delimiter`, `encoding` and `decimal` are detected where they are not given, and a note says so.
    """

    name = "csv"
    version = "2"
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None

    def sheet(self, context: Context) -> Sheet:
        """Return the table of the file."""
        return text_sheet(self.path, self.delimiter, self.encoding, self.name)
