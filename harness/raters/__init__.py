"""What raters say of images, and what that is worth: agreement, correctness, shares, models beside experts."""

from .analysis import analyse

__all__ = ["analyse"]
