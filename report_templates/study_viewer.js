"use strict";

/* Shows one or several images of one size side by side; zoom, position, window, slice and channel are the same for all. */

const OUTLINE_COLOUR = "#ffb000";
const NEAREST = 0.25, FARTHEST = 32;

/** Return the bytes of base64 text that holds a zlib stream. */
async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** Return a picture of a slot with its intensities and the regions of its mask as arrays. */
async function unpacked(picture, bits) {
  const pixels = await inflated(picture.pixels);
  return {
    pixels: bits === 16 ? new Uint16Array(pixels) : new Uint8Array(pixels),
    mask: picture.mask === null ? null : new Uint8Array(await inflated(picture.mask)),
  };
}

const between = (low, value, high) => Math.min(Math.max(value, low), high);

class Viewer {
  /** host: the element that holds the tiles. sheet: shape [channels, slices, rows, columns], spacing and bits. */
  constructor(host, sheet, changed, chosen) {
    this.host = host;
    this.changed = changed;
    this.chosen = chosen;
    [this.channels, this.slices, this.rows, this.columns] = sheet.shape;
    const spacing = sheet.spacing.slice(-2);
    this.pixelHeight = spacing[0] / Math.min(...spacing);
    this.pixelWidth = spacing[1] / Math.min(...spacing);
    this.most = 2 ** sheet.bits - 1;
    this.colour = this.channels === 3;
    this.tiles = [];
    this.outline = false;
    this.smooth = true;
    this.asked = false;
    this.initial();
    new ResizeObserver(() => this.redraw()).observe(host);
  }

  /** Set what `reset` and a new item begin with. */
  initial() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, level: 0.5, width: 1, slice: this.slices >> 1, channel: 0 });
  }

  /** Show these pictures; several make a grid from which one is chosen. */
  show(pictures, label) {
    this.initial();
    this.host.replaceChildren();
    const many = pictures.length > 1;
    this.host.classList.toggle("grid", many);
    this.tiles = pictures.map((picture, index) => this.tile(picture, index, many ? `${label}, picture ${index + 1}` : label, many));
    this.arrange();
    this.redraw();
  }

  tile(picture, index, label, numbered) {
    const element = document.createElement("div");
    const canvas = document.createElement("canvas");
    element.className = "tile";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    element.append(canvas);
    if (numbered) {
      const number = document.createElement("span");
      number.className = "number";
      number.textContent = index + 1;
      element.append(number);
    }
    this.host.append(element);
    this.listen(canvas, index, numbered);
    const drawn = document.createElement("canvas");
    [drawn.width, drawn.height] = [this.columns, this.rows];
    return { ...picture, element, canvas, drawn, painted: "", outlined: -1, path: null };
  }

  /** Choose the number of columns with which the images come out largest. */
  arrange() {
    const n = this.tiles.length, { clientWidth: width, clientHeight: height } = this.host;
    let best = [0, 1];
    for (let columns = 1; columns <= n; columns++) {
      const scale = Math.min(width / columns / (this.columns * this.pixelWidth),
        height / Math.ceil(n / columns) / (this.rows * this.pixelHeight));
      if (scale > best[0] * 1.001) best = [scale, columns];
    }
    this.host.style.setProperty("--columns", best[1]);
  }

  /** Mark the tile that was chosen; -1 for none. */
  mark(index) {
    this.tiles.forEach((tile, i) => tile.element.classList.toggle("chosen", i === index));
  }

  reset() {
    const { slice, channel } = this;
    this.initial();
    this.set({ slice, channel });
  }

  /** Change some of zoom, x, y, level, width, slice, channel, outline and smooth, each kept within its range. */
  set(values) {
    Object.assign(this, values);
    this.zoom = between(NEAREST, this.zoom, FARTHEST);
    this.level = between(0, this.level, 1);
    this.width = between(0.005, this.width, 1.5);
    this.slice = between(0, Math.round(this.slice), this.slices - 1);
    this.channel = between(0, Math.round(this.channel), this.channels - 1);
    const reach = this.zoom / 2 + 0.25;
    this.x = between(-reach, this.x, reach);
    this.y = between(-reach, this.y, reach);
    this.redraw();
  }

  /** Zoom by a factor about a point, given as shares of the fitted image from the middle of the tile. */
  zoomBy(factor, x = 0, y = 0) {
    const zoom = between(NEAREST, this.zoom * factor, FARTHEST), ratio = zoom / this.zoom;
    this.set({ zoom, x: x + (this.x - x) * ratio, y: y + (this.y - y) * ratio });
  }

  redraw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.arrange();
      this.tiles.forEach((tile) => this.draw(tile));
      this.changed(this);
    });
  }

  /** Return device pixels per image pixel, across and down, in a tile of this size. */
  scale(width, height) {
    const fit = Math.min(width / (this.columns * this.pixelWidth), height / (this.rows * this.pixelHeight));
    return { fit, across: fit * this.pixelWidth * this.zoom, down: fit * this.pixelHeight * this.zoom };
  }

  draw(tile) {
    const ratio = window.devicePixelRatio || 1, { canvas } = tile;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.paint(tile);
    const { fit, across, down } = this.scale(width, height);
    const side = fit * Math.max(this.columns * this.pixelWidth, this.rows * this.pixelHeight);
    const left = (width - this.columns * across) / 2 + this.x * side, top = (height - this.rows * down) / 2 + this.y * side;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = this.smooth;
    context.imageSmoothingQuality = "high";
    context.setTransform(across, 0, 0, down, left, top);
    context.drawImage(tile.drawn, 0, 0);
    if (this.outline && tile.mask) {
      const path = new Path2D();
      path.addPath(this.outlineOf(tile), new DOMMatrix([across, 0, 0, down, left, top]));
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.lineWidth = 1.5 * ratio;
      context.strokeStyle = OUTLINE_COLOUR;
      context.stroke(path);
    }
  }

  /** Turn the stored intensities of the slice into grey levels or colours, through level and window. */
  paint(tile) {
    const want = [this.level, this.width, this.slice, this.channel].join();
    if (tile.painted === want) return;
    tile.painted = want;
    const plane = this.rows * this.columns, volume = plane * this.slices, table = new Uint8ClampedArray(this.most + 1);
    const low = this.level - this.width / 2;
    for (let i = 0; i <= this.most; i++) table[i] = (255 * (i / this.most - low)) / this.width;
    const context = tile.drawn.getContext("2d"), image = context.createImageData(this.columns, this.rows);
    const from = [0, 1, 2].map((k) => (this.colour ? k : this.channel) * volume + this.slice * plane);
    for (let i = 0, j = 0; i < plane; i++, j += 4) {
      for (let k = 0; k < 3; k++) image.data[j + k] = table[tile.pixels[from[k] + i]];
      image.data[j + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  /** Return the borders between the regions of the mask in this slice, in image pixels. */
  outlineOf(tile) {
    if (tile.outlined === this.slice) return tile.path;
    const { rows, columns } = this, start = this.slice * rows * columns, path = new Path2D();
    const region = (row, column) => (row < 0 || column < 0 || row >= rows || column >= columns ? 0 : tile.mask[start + row * columns + column]);
    for (let row = 0; row <= rows; row++) {
      for (let column = 0; column <= columns; column++) {
        const here = region(row, column);
        if (here !== region(row - 1, column)) { path.moveTo(column, row); path.lineTo(column + 1, row); }
        if (here !== region(row, column - 1)) { path.moveTo(column, row); path.lineTo(column, row + 1); }
      }
    }
    Object.assign(tile, { outlined: this.slice, path });
    return path;
  }

  listen(canvas, index, selectable) {
    let from = null, moved = false;
    const side = () => {
      const { fit } = this.scale(canvas.clientWidth, canvas.clientHeight);
      return fit * Math.max(this.columns * this.pixelWidth, this.rows * this.pixelHeight);
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const turn = event.deltaY || event.deltaX;
      if (event.shiftKey && this.slices > 1) return this.set({ slice: this.slice + Math.sign(turn) });
      const box = canvas.getBoundingClientRect(), length = side();
      this.zoomBy(Math.exp(-turn / 400), (event.clientX - box.left - box.width / 2) / length,
        (event.clientY - box.top - box.height / 2) / length);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, right: event.button === 2 };
      moved = false;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const across = event.clientX - from.x, down = event.clientY - from.y;
      if (!moved && Math.hypot(across, down) < 4) return;
      moved = true;
      Object.assign(from, { x: event.clientX, y: event.clientY });
      if (from.right) this.set({ width: this.width + across / 300, level: this.level - down / 300 });
      else this.set({ x: this.x + across / side(), y: this.y + down / side() });
    });
    const ended = () => { from = null; };
    canvas.addEventListener("pointerup", ended);
    canvas.addEventListener("pointercancel", ended);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("click", () => { if (selectable && !moved) this.chosen(index); });
  }
}
