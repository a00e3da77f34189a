"""The numbers that the host owns: intervals, agreement of raters, trends over doses."""
