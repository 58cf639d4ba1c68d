// The view of a training: panels of lines over the epochs, drawn as SVG from what Python sends, a few times a second at
// most. Each line has its dashes beside its colour; each panel is moved through by keys; the epochs are a table, too.

const WIDTH = 320, HEIGHT = 190, LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 28; // px of a panel
const STYLE = `
.affect-board { color-scheme: light dark; --ink: var(--jp-ui-font-color1, CanvasText); --paper: var(--jp-layout-color1, Canvas);
  color: var(--ink); background: var(--paper); border: 1px solid var(--jp-border-color1, GrayText); border-radius: 4px; padding: 8px;
  font: 13px/1.4 system-ui, sans-serif; max-width: 1250px; box-sizing: border-box; }
.affect-board * { box-sizing: border-box; }
.affect-board :focus-visible { outline: 2px solid var(--jp-brand-color1, Highlight); outline-offset: 1px; }
.affect-board .head { display: flex; flex-wrap: wrap; gap: 2px 16px; font-variant-numeric: tabular-nums; }
.affect-board .head strong { font-weight: 600; }
.affect-board .panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 10px; margin: 8px 0; }
.affect-board figure { margin: 0; min-width: 0; }
.affect-board figcaption { font-weight: 600; }
.affect-board svg.panel { display: block; width: 100%; height: auto; cursor: crosshair; }
.affect-board svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
.affect-board .grid { stroke: currentColor; opacity: .18; }
.affect-board .mark, .affect-board .cursor { stroke: currentColor; opacity: .7; }
.affect-board path:not(.point) { fill: none; stroke-width: 1.8; }
.affect-board fieldset { border: 0; padding: 0; margin: 2px 0; display: flex; flex-wrap: wrap; gap: 0 12px; min-width: 0; }
.affect-board fieldset[hidden] { display: none; }
.affect-board legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.affect-board label { display: inline-flex; gap: 4px; align-items: center; white-space: nowrap; }
.affect-board input { margin: 0; accent-color: var(--jp-brand-color1, auto); }
.affect-board .values { min-height: 1.4em; margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.affect-board summary { cursor: pointer; width: max-content; }
.affect-board .wide { overflow-x: auto; }
.affect-board table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.affect-board th, .affect-board td { padding: 1px 8px; text-align: right; border-bottom: 1px solid var(--jp-border-color2, GrayText); }
`;
const SHAPES = { // of a point, by matplotlib's letter
  "o": "M-2.4 0a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0 -4.8 0z", "s": "M-2.3 -2.3h4.6v4.6h-4.6z", "^": "M0 -3L2.9 2.3H-2.9z", "D": "M0 -3.3L3.3 0L0 3.3L-3.3 0z",
  "v": "M0 3L2.9 -2.3H-2.9z", "<": "M-3 0L2.3 2.9V-2.9z", ">": "M3 0L-2.3 2.9V-2.9z", "P": "M-1 -3h2v2h2v2h-2v2h-2v-2h-2v-2h2z",
};
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = ["svg", "path", "line", "text", "circle", "g"].includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "content") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function inWords(value) {
  if (value == null) return "missing";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 1e-4 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

function ticksOf(low, high, most) { // round numbers between two
  const raw = (high - low)/most, power = 10**Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((one) => one*power).find((one) => one >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low/step - 1e-9)*step; tick <= high + step*1e-9; tick += step) ticks.push(Number(tick.toPrecision(6)));
  return ticks;
}

class Panel {
  constructor(board, panel) {
    this.board = board;
    this.title = panel.title;
    this.hidden = new Map(); // line -> is it left out, where somebody chose
    this.at = null;          // epoch of the cursor
    this.svg = make("svg", {class: "panel", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "img", onkeydown: (event) => this.key(event),
      onpointermove: (event) => this.point(event), onblur: () => this.move(null), onpointerleave: () => { if (document.activeElement !== this.svg) this.move(null); }});
    this.choices = make("fieldset", {}, make("legend", {content: `lines of ${panel.title}`}));
    this.values = make("p", {class: "values", "aria-live": "polite"});
    this.element = make("figure", {"data-panel": panel.title}, make("figcaption", {content: panel.title}), this.svg, this.choices, this.values);
    this.boxes = new Map();
  }

  show(panel, mark) {
    this.panel = panel;
    this.mark = mark;
    const names = panel.lines.map((line) => line.name);
    if (names.join() !== [...this.boxes.keys()].join()) this.choose(panel.lines); // not anew each time: a box may have the focus
    this.choices.hidden = panel.lines.length < 2;
    this.draw();
  }

  choose(lines) {
    const had = [...this.boxes].find(([, box]) => box === document.activeElement)?.[0];
    this.choices.replaceChildren(this.choices.firstChild);
    this.boxes.clear();
    for (const line of lines) this.addChoice(line);
    this.boxes.get(had)?.focus();
  }

  addChoice(line) {
    const box = make("input", {type: "checkbox", onchange: () => { this.hidden.set(line.name, !box.checked); this.draw(); }});
    box.checked = this.hidden.has(line.name) ? !this.hidden.get(line.name) : line.on;
    const sample = make("svg", {width: 30, height: 10, "aria-hidden": "true"}, make("path", {d: "M0 5H30", ...strokeOf(line)}), pointAt(line, 15, 5));
    this.boxes.set(line.name, box);
    this.choices.append(make("label", {}, box, sample, line.label));
  }

  lines() { return this.panel.lines.filter((line) => this.hidden.has(line.name) ? !this.hidden.get(line.name) : line.on); }

  draw() {
    const lines = this.lines(), values = lines.flatMap((line) => line.y).filter((value) => value != null), end = this.panel.end;
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    if (this.panel.zero) low = Math.min(low, 0);
    if (high - low < 1e-12) [low, high] = [low - Math.abs(low)*.1 - 1e-6, high + Math.abs(high)*.1 + 1e-6];
    else if (!this.panel.zero) [low, high] = [low - (high - low)*.05, high + (high - low)*.05];
    const x = (epoch) => LEFT + (WIDTH - LEFT - RIGHT)*epoch/end, y = (value) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP)*(value - low)/(high - low);
    Object.assign(this, {x, end});
    const parts = [];
    for (const tick of ticksOf(low, high, 4)) parts.push(make("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick)}),
      make("text", {x: LEFT - 4, y: y(tick) + 4, "text-anchor": "end", content: inWords(tick)}));
    for (const tick of ticksOf(0, end, Math.min(6, end)).filter(Number.isInteger)) parts.push(make("text", {x: x(tick), y: HEIGHT - 15, "text-anchor": "middle", content: tick}));
    parts.push(make("text", {x: WIDTH - RIGHT, y: HEIGHT - 3, "text-anchor": "end", content: "epoch"}));
    if (this.mark) parts.push(make("line", {class: "mark", "stroke-dasharray": "2 2", x1: x(this.mark.at), x2: x(this.mark.at), y1: TOP, y2: HEIGHT - BOTTOM}),
      make("text", {x: x(this.mark.at) + (x(this.mark.at) > 90 ? -3 : 3), y: TOP + 9, "text-anchor": x(this.mark.at) > 90 ? "end" : "start", content: this.mark.word}));
    for (const line of lines) parts.push(...this.drawn(line, x, y));
    this.cursor = make("line", {class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden"});
    this.svg.replaceChildren(...parts, this.cursor);
    const last = lines.map((line) => `${line.label} ${inWords(line.y.findLast((value) => value != null))}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title} over the epochs, last: ${last || "nothing yet"}. Arrow keys read the values.`);
    if (this.at != null) this.move(this.at);
  }

  drawn(line, x, y) { // a path with gaps where a value is missing; points where there are few
    let path = "", on = false;
    line.x.forEach((epoch, place) => {
      if (line.y[place] != null) path += `${on ? "L" : "M"}${x(epoch).toFixed(1)} ${y(line.y[place]).toFixed(1)}`;
      on = line.y[place] != null;
    });
    const points = line.x.length <= 30 ? line.x.map((epoch, place) => [epoch, line.y[place]]).filter(([, value]) => value != null) : [];
    return [make("path", {d: path, "data-line": line.name, ...strokeOf(line)}),
      ...points.map(([epoch, value]) => pointAt(line, x(epoch), y(value)))];
  }

  places() { return [...new Set(this.lines().flatMap((line) => line.x))].sort((a, b) => a - b); }

  key(event) {
    const places = this.places(), now = this.at == null ? places.length : places.findIndex((place) => place >= this.at - 1e-9);
    const to = {ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 20, PageDown: now + 20, Home: 0, End: places.length - 1}[event.key];
    if (event.key === "Escape") this.move(null);
    if (to === undefined || !places.length) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(places[Math.max(0, Math.min(places.length - 1, to))]);
  }

  point(event) {
    const box = this.svg.getBoundingClientRect(), epoch = ((event.clientX - box.left)*WIDTH/box.width - LEFT)*this.end/(WIDTH - LEFT - RIGHT);
    const places = this.places();
    if (places.length) this.move(places.reduce((best, place) => Math.abs(place - epoch) < Math.abs(best - epoch) ? place : best));
  }

  move(epoch) {
    this.at = epoch;
    this.cursor.setAttribute("visibility", epoch == null ? "hidden" : "visible");
    if (epoch == null) { this.values.textContent = ""; return; }
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, this.x(epoch));
    const values = this.lines().map((line) => `${line.label} ${inWords(valueAt(line, epoch))}`);
    this.values.textContent = `epoch ${Number(epoch.toFixed(2))}: ${values.join(", ")}`;
  }
}

function pointAt(line, x, y) {
  return make("path", {class: "point", d: SHAPES[line.marker], transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, fill: line.colour || "currentColor"});
}

function strokeOf(line) { return {stroke: line.colour || "currentColor", "stroke-dasharray": line.dashes.join(" ")}; }

function valueAt(line, epoch) { // of the nearest place
  let best = -1;
  line.x.forEach((place, number) => { if (best < 0 || Math.abs(place - epoch) < Math.abs(line.x[best] - epoch)) best = number; });
  return best < 0 ? null : line.y[best];
}

class Board {
  constructor(model, el) {
    this.model = model;
    this.title = make("strong");
    this.state = make("span", {role: "status"});
    this.numbers = make("span", {class: "numbers"});
    this.panels = new Map();
    this.place = make("div", {class: "panels"});
    this.table = make("table");
    this.root = make("section", {class: "affect-board", "aria-label": "a training", "data-lm-suppress-shortcuts": "true"}, make("style", {content: STYLE}),
      make("div", {class: "head"}, this.title, this.state, this.numbers), this.place,
      make("details", {}, make("summary", {content: "The epochs as a table"}), make("div", {class: "wide"}, this.table)));
    el.append(this.root);
    this.update = () => this.show();
    model.on("change:shown", this.update);
    this.show();
  }

  show() {
    const shown = this.model.get("shown");
    if (!shown.panels) return;
    this.title.textContent = shown.title;
    if (this.state.textContent !== shown.state) this.state.textContent = shown.state; // told anew only when it is new
    this.numbers.textContent = shown.numbers;
    for (const panel of shown.panels) {
      if (!this.panels.has(panel.title)) {
        this.panels.set(panel.title, new Panel(this, panel));
        this.place.append(this.panels.get(panel.title).element);
      }
      this.panels.get(panel.title).show(panel, panel.marked ? shown.mark : null);
    }
    const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, tag === "th" ? {content: cell, scope: "col"} : {content: cell})));
    this.table.replaceChildren(make("caption", {content: shown.table.length > 1 ? "" : "no epoch has ended yet"}),
      ...shown.table.map((cells, number) => row(cells, number ? "td" : "th")));
    Object.assign(this.root.dataset, {state: shown.state, epochs: shown.table.length - 1});
  }

  close() { this.model.off("change:shown", this.update); }
}

function render({model, el}) {
  const board = new Board(model, el);
  return () => board.close();
}

export default {render};
