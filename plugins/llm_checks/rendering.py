"""Pictures that are shown to a model: PNG files made from the arrays, which hold pixels and nothing else."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_OUTLINE = np.array([255, 220, 0], dtype=np.uint8)


def picture(image: np.ndarray, longest: int | None, mask: np.ndarray | None = None) -> bytes:
    """Return a PNG of one image (C, H, W) or (C, D, H, W), floating point in [0, 1], with the outline of its mask where one is given.

    mask: (H, W) or (D, H, W), nonzero inside. Three channels are colours; of any other number each becomes a grey picture, side by side.
    Of a volume the slice in the middle of the first axis is shown. longest: larger pictures are made smaller until their longer side has
    so many pixels; None leaves all as they are. The outline is yellow.
    """
    if image.ndim == 4:
        middle = image.shape[1] // 2
        image, mask = image[:, middle], None if mask is None else mask[middle]
    pixels = _shrunk(image.astype(np.float64), longest)
    shown = np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
    panels = [np.moveaxis(shown, 0, -1)] if len(shown) == 3 else list(shown)
    if mask is not None:
        edge = _edge(mask != 0, shown.shape[1:])
        panels = [_outlined(panel, edge) for panel in panels]
    return _png(np.concatenate(panels, axis=1))


def pixels(png: bytes) -> np.ndarray:
    """Return the pixels of a PNG that `picture` made, (H, W, 3) uint8; a grey one gives three equal channels."""
    width, height = size_of(png)
    channels = 3 if png[25] == 2 else 1
    start = png.index(b"IDAT")
    data = zlib.decompress(png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start])])
    rows = np.frombuffer(data, dtype=np.uint8).reshape(height, 1 + width * channels)[:, 1:]
    return np.broadcast_to(rows.reshape(height, width, channels), (height, width, 3)).copy()


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height that the header of a PNG states (px)."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _shrunk(image: np.ndarray, longest: int | None) -> np.ndarray:
    """Return (C, H, W) scaled down so that the longer side has at most so many pixels, smoothed first against aliasing."""
    from scipy import ndimage

    largest = max(image.shape[1:])
    if longest is None or largest <= longest:
        return image
    factor = largest / longest
    height, width = (max(1, round(side / factor)) for side in image.shape[1:])
    spread = (factor - 1) / 2
    smooth = ndimage.gaussian_filter(image, (0.0, spread, spread), mode="nearest")
    zoom = (1.0, height / image.shape[1], width / image.shape[2])
    return ndimage.zoom(smooth, zoom, order=1, mode="nearest", grid_mode=True)


def _edge(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return where the outline of a mask lies in a picture of this size, boolean (H, W)."""
    from scipy import ndimage

    rows, columns = (np.minimum(np.arange(new) * old // new, old - 1) for new, old in zip(size, mask.shape, strict=True))
    inside = mask[np.ix_(rows, columns)]
    edge: np.ndarray = inside & ~ndimage.binary_erosion(inside)
    return edge


def _outlined(panel: np.ndarray, edge: np.ndarray) -> np.ndarray:
    colour = np.repeat(panel[:, :, None], 3, axis=2) if panel.ndim == 2 else panel.copy()
    colour[edge] = _OUTLINE
    return colour


def _png(pixels: np.ndarray) -> bytes:
    """Return the PNG of (H, W) grey or (H, W, 3) RGB uint8: header, pixels, end, and no other chunk."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    raw = np.hstack([np.zeros((height, 1), dtype=np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
