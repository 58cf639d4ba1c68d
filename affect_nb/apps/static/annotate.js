// The pad of `annotate`: plays a film, notes what the annotator says at each frame that is shown, and sends it in small
// pieces. Python writes each piece to the disk and answers; what was not answered is kept and sent again.

const SEND_EVERY = 250;  // ms; at most so much is lost with a tab, and what the socket holds
const PATIENCE = 3000;   // ms without an answer, after which it is said and sent again
const STEP = .05;        // of valence or arousal by a key
const DEAD = .12;        // of a stick, around its middle
const TRACE = 10;        // s that are drawn of what was noted
const STYLE = `
.affect-annotate { color-scheme: light dark; color: var(--jp-ui-font-color1, CanvasText); background: var(--jp-layout-color1, Canvas);
  border: 1px solid var(--jp-border-color1, GrayText); border-radius: 4px; padding: 8px; font: 14px/1.4 system-ui, sans-serif; max-width: 980px; }
.affect-annotate:focus-visible, .affect-annotate :focus-visible { outline: 3px solid var(--jp-brand-color1, Highlight); outline-offset: 1px; }
.affect-annotate .row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 6px 0; }
.affect-annotate .stage { align-items: stretch; }
.affect-annotate video { flex: 1 1 320px; min-width: 0; max-height: 440px; background: #000; }
.affect-annotate .side { display: flex; flex-direction: column; gap: 4px; }
.affect-annotate .pad { position: relative; width: 240px; height: 240px; touch-action: none; cursor: crosshair;
  border: 1px solid currentColor; background: var(--jp-layout-color2, Canvas); }
.affect-annotate .pad.bar { width: 90px; }
.affect-annotate .pad i { position: absolute; background: currentColor; opacity: .35; }
.affect-annotate .pad span { position: absolute; font-size: 11px; pointer-events: none; }
.affect-annotate .pad b { position: absolute; width: 18px; height: 18px; margin: -10px; border: 2px solid currentColor;
  border-radius: 50%; background: var(--jp-brand-color1, Highlight); pointer-events: none; }
.affect-annotate .choices { flex-wrap: wrap; max-width: 320px; align-content: flex-start; }
.affect-annotate button, .affect-annotate select { font: inherit; color: inherit; background: var(--jp-layout-color2, ButtonFace);
  border: 1px solid currentColor; border-radius: 3px; padding: 3px 9px; cursor: pointer; }
.affect-annotate button[aria-pressed=true] { box-shadow: inset 0 0 0 2px currentColor; font-weight: bold; }
.affect-annotate button[aria-pressed=true]::before { content: "✓ "; }
.affect-annotate .seek { flex: 1 1 300px; }
.affect-annotate canvas { display: block; width: 100%; }
.affect-annotate .alert { font-weight: bold; border-left: 4px solid currentColor; padding-left: 8px; }
.affect-annotate .alert:empty { display: none; }
.affect-annotate .numbers { font-variant-numeric: tabular-nums; }
`;

const clock = (seconds) => {
  const tenths = Math.max(0, Math.round(seconds*10)), part = (number) => String(number).padStart(2, "0");
  return `${part(Math.floor(tenths/600))}:${part(Math.floor(tenths/10) % 60)}.${tenths % 10}`;
};
const signed = (value) => value == null ? "none" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const token = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => "0123456789abcdefghijklmnopqrstuvwxyz"[byte % 36]).join("");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

class Pad {
  constructor(model, el) {
    this.model = model;
    this.task = model.get("task");
    this.view = token();
    this.seq = 0;
    this.queue = [];      // pieces without an answer yet
    this.samples = [];    // of the take in work, those that were not sent and the one before them
    this.sent = 0;        // how many of them were
    this.take = null;
    this.trace = [];
    this.undone = [];
    this.mark = null;     // s, where a span begins
    this.time = 0;
    this.source = "pointer";
    this.recording = false;
    this.values = Object.fromEntries(this.task.columns.map((name) => [name, this.task.held && !name.startsWith("au") ? undefined : 0]));
    this.build(el);
    this.listen();
    this.model.send({type: "hello"});
    this.opened();
  }

  // what is seen

  build(el) {
    const task = this.task, press = (text, key, act, more = {}) =>
      make("button", {type: "button", text, title: `key ${key}`, "aria-keyshortcuts": key, onclick: act, ...more});
    this.video = make("video", {playsinline: true, preload: "auto", "aria-label": "the film"});
    this.playButton = press("Play", "Space", () => this.play());
    this.recordButton = press("Record", "R", () => this.record(), {"aria-pressed": "false"});
    this.undoButton = press("Undo", "Z", () => this.undo());
    this.redoButton = press("Redo", "Shift+Z", () => this.redo());
    this.seek = make("input", {type: "range", class: "seek", min: 0, max: 1, step: .01, value: 0, "aria-label": "time in the film",
      oninput: () => this.jump(Number(this.seek.value))});
    this.clock = make("span", {class: "numbers"});
    this.covered = make("canvas", {height: 12, "aria-hidden": "true"});
    this.share = make("span", {class: "numbers"});
    this.saved = make("span", {role: "status"});
    this.alert = make("div", {role: "alert", class: "alert"});
    this.drawn = make("canvas", {height: 60, "aria-hidden": "true"});
    this.title = make("strong");
    this.choice = make("select", {"aria-label": "clip", onchange: () => this.model.send({type: "open", number: Number(this.choice.value)})});
    const speed = make("select", {"aria-label": "speed", title: "speed", onchange: () => { this.video.playbackRate = Number(speed.value); }},
      ...[.5, .75, 1, 1.5, 2].map((rate) => make("option", {value: rate, text: `${rate} ×`, selected: rate === 1})));
    const volume = make("input", {type: "range", min: 0, max: 1, step: .05, value: 1, "aria-label": "volume", title: "volume",
      oninput: () => { this.video.volume = Number(volume.value); }});
    this.root = make("div", {class: "affect-annotate", tabindex: "0", role: "group", "data-lm-suppress-shortcuts": "true",
      "aria-label": `annotation of ${task.name} by ${task.annotator}`},
      make("style", {text: STYLE}),
      make("div", {class: "row"}, this.title, this.choice, make("span", {text: `${task.name}, by ${task.annotator}`})),
      make("div", {class: "row stage"}, this.video, task.held ? this.choices() : this.sliders()),
      make("div", {class: "row"}, this.playButton, this.recordButton, this.undoButton, this.redoButton,
        press("− 5 s", "J", () => this.jump(this.time - 5)), press("+ 5 s", "L", () => this.jump(this.time + 5)),
        press("Frame −", ",", () => this.step(-1)), press("Frame +", ".", () => this.step(1)), speed, volume),
      make("div", {class: "row"}, this.seek, this.clock), this.covered,
      make("div", {class: "row"}, this.share, this.saved), this.alert, this.drawn,
      make("details", {}, make("summary", {text: "Keys"}), make("p", {text: this.help()})));
    el.append(this.root);
  }

  sliders() {
    const plane = this.task.columns.length === 2;
    this.dot = make("b");
    this.pad = make("div", {class: plane ? "pad" : "pad bar", "aria-hidden": "true"},
      make("i", {style: "left:0;right:0;top:50%;height:1px"}), ...(plane ? [make("i", {style: "top:0;bottom:0;left:50%;width:1px"})] : []),
      make("span", {text: plane ? "active" : "+1", style: "top:2px;left:4px"}), make("span", {text: plane ? "passive" : "−1", style: "bottom:2px;left:4px"}),
      ...(plane ? [make("span", {text: "negative", style: "left:2px;top:52%"}), make("span", {text: "positive", style: "right:2px;top:52%"})] : []), this.dot);
    this.inputs = {};
    this.readings = {};
    const side = make("div", {class: "side"}, this.pad);
    for (const name of this.task.columns) {
      this.inputs[name] = make("input", {type: "range", min: -1, max: 1, step: .01, value: 0, "aria-label": name,
        oninput: () => { this.source = "slider"; this.set(name, Number(this.inputs[name].value)); }});
      this.readings[name] = make("span", {class: "numbers"});
      side.append(make("label", {}, this.inputs[name], " ", this.readings[name]));
    }
    return side;
  }

  choices() {
    this.buttons = this.task.choices.map((choice) => make("button", {type: "button", text: `${choice.key.toUpperCase()}  ${choice.label}${choice.title === choice.label ? "" : ` ${choice.title}`}`, title: choice.title,
      "aria-pressed": "false", "aria-keyshortcuts": choice.key, onclick: () => this.choose(choice)}));
    this.markText = make("span", {class: "numbers"});
    return make("div", {class: "row choices"}, ...this.buttons,
      make("button", {type: "button", text: "X  take away", "aria-keyshortcuts": "X", onclick: () => this.choose(null)}),
      make("button", {type: "button", text: "M  span from here", "aria-keyshortcuts": "M", onclick: () => this.setMark()}), this.markText);
  }

  help() {
    const common = "Space plays and halts, R records while it plays, Z undoes the last take, Shift+Z does it again, J and L go 5 s back and ahead, comma and full stop one frame.";
    if (this.task.held) return `${common} The keys on the buttons choose: while recording until the next choice, while halted for the frame shown, or for all since the mark (M).`;
    const arrows = this.task.columns.length === 2 ? "Arrow keys left and right change valence, up and down arousal" : "Arrow keys change the value";
    return `${common} ${arrows} by ${STEP}, with Shift by ${STEP/5}; 0 is the middle. The mouse is followed over the field while recording, or while its button is held. The left stick of a gamepad does the same, its first button plays.`;
  }

  listen() {
    const video = this.video;
    this.hear = (message) => this.received(message);
    this.open = () => this.opened();
    this.hidden = () => { if (document.hidden) { this.halt(); this.flush(); } };
    this.leave = (event) => { this.flush(); if (this.queue.length) event.preventDefault(); };
    this.model.on("msg:custom", this.hear);
    this.model.on("change:film", this.open);
    document.addEventListener("visibilitychange", this.hidden);
    window.addEventListener("pagehide", this.hidden);
    window.addEventListener("beforeunload", this.leave);
    this.root.addEventListener("keydown", (event) => { this.pointed = false; this.key(event); });
    this.root.addEventListener("pointerdown", (event) => {
      this.pointed = true;
      if (!event.target.closest("button, input, select, summary")) this.root.focus({preventScroll: true});
    });
    // what a pointer has used gives the keys back: Space then plays and presses no button again, arrows move no slider
    for (const name of ["click", "change", "pointerup"]) this.root.addEventListener(name, (event) => {
      const chosen = name === "click" ? "button, summary" : name === "change" ? "select, input" : "input[type=range]";
      if (this.pointed && event.target.closest(chosen)) this.root.focus({preventScroll: true});
    });
    for (const name of ["play", "pause", "ended", "seeking", "seeked"]) video.addEventListener(name, () => this.turned(name));
    video.addEventListener("loadedmetadata", () => this.loaded());
    video.addEventListener("error", () => this.warn(this.model.get("film").url ? "This browser does not play the film. H.264 with AAC in an .mp4 is played everywhere; " +
      "ffmpeg -i film.avi film.mp4 makes one." : ""));
    if (this.pad) for (const name of ["pointerdown", "pointermove"]) this.pad.addEventListener(name, (event) => this.point(event));
    this.timer = setInterval(() => this.flush(), SEND_EVERY);
    this.watch();
    const tick = () => { this.stick(); this.frame = requestAnimationFrame(tick); };
    tick();
  }

  close() {
    this.flush();
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
    this.model.off("msg:custom", this.hear);
    this.model.off("change:film", this.open);
    document.removeEventListener("visibilitychange", this.hidden);
    window.removeEventListener("pagehide", this.hidden);
    window.removeEventListener("beforeunload", this.leave);
    this.video.removeAttribute("src");
    this.video.load();
  }

  // the film

  opened() {
    const film = this.model.get("film");
    if (film.clip !== this.clip || film.url !== this.url) {
      this.endTake();
      this.clip = film.clip;
      this.url = film.url;
      this.trace = [];
      this.mark = null;
      this.warn(film.error || "");
      if (film.url) this.video.src = film.url; else this.video.removeAttribute("src");
    }
    this.spans = film.covered || [];
    this.takes = film.takes || [];
    this.title.textContent = `${film.clip} (${film.number + 1} of ${film.clips.length})`;
    this.choice.replaceChildren(...film.clips.map((name, place) => make("option", {value: place, text: name, selected: place === film.number})));
    this.choice.hidden = film.clips.length < 2;
    this.seek.max = film.duration || 1;
    this.draw();
  }

  loaded() {
    const film = this.model.get("film");
    if (film.resume > 0) {
      this.video.currentTime = film.resume;
      this.saved.textContent = `goes on at ${clock(film.resume)}, where it was left`;
    }
  }

  watch() {
    const video = this.video;
    if (video.requestVideoFrameCallback) {
      const each = (now, facts) => { this.shown(facts.mediaTime); video.requestVideoFrameCallback(each); };
      video.requestVideoFrameCallback(each);
    } else {
      const each = () => { if (!this.root.isConnected && this.time) return; if (video.currentTime !== this.time) this.shown(video.currentTime); requestAnimationFrame(each); };
      requestAnimationFrame(each);
    }
  }

  shown(time) {
    this.time = time;
    if (this.recording && !this.video.paused && !this.video.seeking) this.sample(time);
    this.draw();
  }

  turned(name) {
    if (name !== "play" && name !== "seeked") this.endTake();
    if (name === "play") { this.mark = null; this.showMark(); }
    if (name === "ended" && this.recording) this.record();
    this.playButton.textContent = this.video.paused ? "Play" : "Halt";
    this.draw();
  }

  play() { if (this.video.paused) this.video.play().catch((error) => this.warn(`The film does not play: ${error.message}`)); else this.halt(); }
  halt() { if (!this.video.paused) this.video.pause(); }

  record() {
    this.recording = !this.recording;
    this.recordButton.setAttribute("aria-pressed", String(this.recording));
    this.recordButton.textContent = this.recording ? "Recording" : "Record";
    if (!this.recording) return this.endTake();
    if (!this.video.seeking) this.sample(this.time); // from the frame that is shown: the next to be told of may be a later one
    if (this.video.paused) this.play();
  }

  jump(time) {
    this.endTake();
    this.video.currentTime = Math.min(Math.max(0, time), this.model.get("film").duration || 0);
  }

  step(frames) {
    this.halt();
    const film = this.model.get("film"); // half a frame in, so that rounding shows no neighbour
    const from = this.video.seeking ? Math.floor(this.video.currentTime/film.step) : Math.round(this.time/film.step); // keys pressed quickly add up
    this.jump((from + frames + .5)*film.step);
  }

  // what is noted

  set(name, value) { this.values[name] = Math.round(Math.min(1, Math.max(-1, value))*1000)/1000; this.draw(); }

  point(event) {
    const following = this.recording && !this.video.paused;
    if (!following && !event.buttons) return;
    if (event.type === "pointerdown") this.pad.setPointerCapture(event.pointerId);
    const box = this.pad.getBoundingClientRect(), columns = this.task.columns;
    const x = 2*(event.clientX - box.left)/box.width - 1, y = 1 - 2*(event.clientY - box.top)/box.height;
    this.source = "pointer";
    if (columns.length === 2) this.set(columns[0], x);
    this.set(columns.at(-1), y);
  }

  stick() {
    if (this.task.held || !navigator.getGamepads) return;
    const pad = [...navigator.getGamepads()].find((each) => each && each.connected);
    if (!pad) return;
    const [x, y] = [pad.axes[0] || 0, -(pad.axes[1] || 0)].map((axis) => Math.abs(axis) < DEAD ? 0 : Math.sign(axis)*(Math.abs(axis) - DEAD)/(1 - DEAD));
    if (x || y) this.source = "gamepad";
    if (this.source === "gamepad") {
      if (this.task.columns.length === 2) this.set(this.task.columns[0], x);
      this.set(this.task.columns.at(-1), y);
    }
    const pressed = Boolean(pad.buttons[0] && pad.buttons[0].pressed);
    if (pressed && !this.pressed) this.play();
    this.pressed = pressed;
  }

  key(event) {
    const {key, target} = event, native = target.closest("input, select, summary");
    if (event.ctrlKey && key.toLowerCase() === "z" && !event.altKey && !event.metaKey) return this.used(event, () => event.shiftKey ? this.redo() : this.undo());
    if (event.ctrlKey || event.altKey || event.metaKey || key === "Tab" || key === "Escape") return;
    if (native && (key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown", "Enter"].includes(key))) return event.stopPropagation();
    if (target.closest("button, summary, select") && (key === " " || key === "Enter")) return event.stopPropagation();
    const act = this.actions(key, event.shiftKey);
    if (act) this.used(event, act);
    else event.stopPropagation(); // no key of the notebook cuts a cell while somebody annotates
  }

  used(event, act) { event.preventDefault(); event.stopPropagation(); act(); }

  actions(key, shift) {
    const fixed = {" ": () => this.play(), ",": () => this.step(-1), ".": () => this.step(1), j: () => this.jump(this.time - 5), l: () => this.jump(this.time + 5),
      r: () => this.record(), z: () => shift ? this.redo() : this.undo()}[key.toLowerCase()];
    if (fixed) return fixed;
    if (this.task.held) {
      if (key.toLowerCase() === "m") return () => this.setMark();
      if (key.toLowerCase() === "x") return () => this.choose(null);
      const choice = this.task.choices.find((each) => each.key === key.toLowerCase());
      return choice && (() => this.choose(choice));
    }
    const columns = this.task.columns, last = columns.at(-1), step = shift ? STEP/5 : STEP;
    const move = (name, by) => () => { this.source = "keys"; this.set(name, this.values[name] + by); };
    if (key === "ArrowUp") return move(last, step);
    if (key === "ArrowDown") return move(last, -step);
    if (key === "ArrowRight") return move(columns[0], step);
    if (key === "ArrowLeft") return move(columns[0], -step);
    if (key === "0") return () => { this.source = "keys"; for (const name of columns) this.set(name, 0); };
    return null;
  }

  choose(choice) {
    for (const name of this.task.columns) {
      if (!choice) this.values[name] = null;
      else if (name === choice.column) this.values[name] = name.startsWith("au") ? (this.values[name] ? 0 : 1) : choice.value;
      else if (this.values[name] === null) this.values[name] = 0; // one AU is noted again, so the others are as well
    }
    if (this.video.paused) this.writeSpan();
    this.draw();
  }

  setMark() { this.mark = this.time; this.showMark(); }
  showMark() { if (this.markText) this.markText.textContent = this.mark == null ? "" : `span from ${clock(this.mark)}`; }

  writeSpan() {
    const [from, to] = [this.mark ?? this.time, this.time].sort((a, b) => a - b), take = token();
    const values = Object.fromEntries(this.task.columns.map((name) => [name, [this.values[name] ?? null, this.values[name] ?? null]]));
    this.takes.push(take);
    this.undone = [];
    if (Object.values(values).every(([value]) => value == null)) this.uncover(from, to + this.model.get("film").step);
    else this.cover(from, to + this.model.get("film").step);
    this.post([{take, at: [from, to], span: true, ...values}]);
  }

  sample(time) {
    if (this.task.columns.some((name) => this.values[name] === undefined)) return;
    const last = this.samples.at(-1);
    if (last && time <= last.time) { if (time < last.time) this.endTake(); else return; }
    if (!this.take) {
      this.take = token();
      this.takes.push(this.take);
      this.undone = [];
    }
    const one = {time: Math.round(time*1e6)/1e6, values: {...this.values}};
    this.samples.push(one);
    this.trace.push(one);
    while (this.trace[0] && Math.abs(this.trace[0].time - time) > TRACE) this.trace.shift();
    if (last && time - last.time < .5) {
      if (Object.values(this.values).every((value) => value == null)) this.uncover(last.time, time); else this.cover(last.time, time);
    }
  }

  endTake() {
    this.flush();
    this.take = null;
    this.samples = [];
    this.sent = 0;
  }

  flush() {
    if (this.take && this.samples.length > this.sent) {
      const entry = {take: this.take, at: this.samples.map((each) => each.time)};
      for (const name of this.task.columns) entry[name] = this.samples.map((each) => each.values[name]);
      this.samples = this.samples.slice(-1); // the next piece begins with it, so that each is whole by itself
      this.sent = 1;
      this.post([entry]);
    }
    const now = performance.now(), late = this.queue.filter((piece) => now - piece.at > PATIENCE);
    if (late.length) {
      this.warn("Not saved yet: the kernel does not answer. Keep this tab open; it is sent again.");
      this.late = true;
      for (const piece of late) { piece.at = now; this.model.send(piece.message); }
    }
  }

  post(entries) {
    const message = {type: "entries", view: this.view, seq: ++this.seq, clip: this.clip, entries};
    this.queue.push({message, at: performance.now()});
    this.model.send(message);
  }

  undo() {
    this.endTake();
    const take = this.takes.pop();
    if (!take) return;
    this.undone.push(take);
    this.trace = [];
    this.post([{undo: take}]);
  }

  redo() {
    const take = this.undone.pop();
    if (!take) return;
    this.takes.push(take);
    this.post([{redo: take}]);
  }

  received(message) {
    if (message.view !== this.view) return;
    this.queue = this.queue.filter((piece) => piece.message.seq !== message.seq);
    if (message.type === "saved") {
      this.saved.textContent = message.until == null ? "saved" : `saved up to ${clock(message.until)}`;
      if (message.covered && message.clip === this.clip) this.spans = message.covered;
      if (this.late && !this.queue.length) { this.late = false; this.warn(""); }
    } else if (message.type === "refused") {
      if (this.recording) this.record();
      this.warn(`Not saved: ${message.reason}`);
    }
    this.draw();
  }

  cover(from, to) {
    const last = this.spans.at(-1);
    if (last && from >= last[0] && from <= last[1] + .5) last[1] = Math.max(last[1], to);
    else this.spans.push([from, to]);
  }

  uncover(from, to) {
    this.spans = this.spans.flatMap(([first, last]) => last <= from || first >= to ? [[first, last]] : [[first, from], [to, last]].filter(([a, b]) => a < b));
  }

  warn(text) { if (this.alert.textContent !== text) this.alert.textContent = text; }

  // drawing

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => { this.drawing = false; if (this.root.isConnected) this.redraw(); });
  }

  redraw() {
    const film = this.model.get("film"), duration = film.duration || 0, ink = getComputedStyle(this.root).color;
    this.clock.textContent = `${clock(this.time)} of ${clock(duration)}`;
    if (document.activeElement !== this.seek) this.seek.value = this.time;
    this.seek.setAttribute("aria-valuetext", clock(this.time));
    this.undoButton.disabled = !this.takes.length;
    this.redoButton.disabled = !this.undone.length;
    for (const name of Object.keys(this.inputs || {})) {
      this.readings[name].textContent = `${name} ${signed(this.values[name])}`;
      this.inputs[name].value = this.values[name] ?? 0;
    }
    if (this.dot) {
      const columns = this.task.columns;
      this.dot.style.left = columns.length === 2 ? `${50 + 50*this.values[columns[0]]}%` : "50%";
      this.dot.style.top = `${50 - 50*this.values[columns.at(-1)]}%`;
    }
    (this.buttons || []).forEach((button, place) => {
      const {column, value} = this.task.choices[place];
      button.setAttribute("aria-pressed", String(this.values[column] === value));
    });
    this.drawCovered(ink, duration);
    this.drawTrace(ink);
  }

  canvas(canvas) {
    const width = Math.max(1, Math.round(canvas.clientWidth*devicePixelRatio)), height = Math.round(canvas.clientHeight*devicePixelRatio) || canvas.height;
    if (canvas.width !== width) canvas.width = width;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    return pen;
  }

  drawCovered(ink, duration) {
    const pen = this.canvas(this.covered), {width, height} = this.covered, merged = [];
    for (const [from, to] of [...this.spans].sort((a, b) => a[0] - b[0])) {
      if (merged.length && from <= merged.at(-1)[1]) merged.at(-1)[1] = Math.max(merged.at(-1)[1], to); else merged.push([from, to]);
    }
    const total = merged.reduce((sum, [from, to]) => sum + to - from, 0);
    this.share.textContent = `${duration ? Math.min(100, Math.round(100*total/duration)) : 0} % annotated`;
    pen.strokeStyle = pen.fillStyle = ink;
    pen.strokeRect(.5, .5, width - 1, height - 1);
    for (const [from, to] of merged) pen.fillRect(width*from/duration, 2, Math.max(2, width*(to - from)/duration), height - 4);
    const here = width*this.time/Math.max(duration, .001);
    pen.fillRect(here - 1, 0, 3, height);
  }

  drawTrace(ink) {
    const pen = this.canvas(this.drawn), {width, height} = this.drawn, end = Math.max(this.time, TRACE), x = (time) => width*(1 - (end - time)/TRACE);
    pen.strokeStyle = pen.fillStyle = ink;
    pen.globalAlpha = .4;
    pen.strokeRect(.5, .5, width - 1, height - 1);
    pen.globalAlpha = 1;
    const columns = this.task.columns, span = this.task.held ? Math.max(1, ...this.task.choices.map((choice) => choice.value)) : 1;
    columns.forEach((name, place) => {
      const lane = height/columns.length; // AUs: a lane each
      const y = (value) => name.startsWith("au") ? lane*(place + 1) - 1 - value*lane*.7 : this.task.held ? height - 4 - (height - 8)*value/span : height/2 - value*(height/2 - 3);
      pen.beginPath();
      pen.setLineDash(name === "arousal" && columns.length === 2 ? [6, 4] : []);
      let before = null;
      for (const {time, values} of this.trace) {
        if (values[name] == null) { before = null; continue; }
        if (before != null && time - before.time < .5 && time > before.time) {
          if (this.task.held) pen.lineTo(x(time), y(before.value));
          pen.lineTo(x(time), y(values[name]));
        } else pen.moveTo(x(time), y(values[name]));
        before = {time, value: values[name]};
      }
      pen.stroke();
      if (name.startsWith("au") && lane >= 12) pen.fillText(name.toUpperCase(), 6, lane*place + 11);
    });
    pen.setLineDash([]);
    if (columns.length === 2 && !this.task.held) pen.fillText("valence: line, arousal: dashes", 6, 12);
  }
}

function render({model, el}) {
  const pad = new Pad(model, el);
  return () => pad.close();
}

export default {render};
