// The view of `live`: pictures of the camera go to Python, the next one taken while the last is looked at; what comes back
// is drawn over the film. Nothing is kept here.

const ON_THEIR_WAY = 2; // pictures without an answer: one is looked at, one waits, so that the kernel need not
const PATIENCE = 5000; // ms without an answer, after which it is said
const TRACE = 10;      // s of valence and arousal that are drawn
const QUALITY = .8;    // of the JPEGs
const STYLE = `
.affect-live { color-scheme: light dark; color: var(--jp-ui-font-color1, CanvasText); background: var(--jp-layout-color1, Canvas);
  border: 1px solid var(--jp-border-color1, GrayText); border-radius: 4px; padding: 8px; font: 14px/1.4 system-ui, sans-serif; max-width: 980px; }
.affect-live :focus-visible { outline: 3px solid var(--jp-brand-color1, Highlight); outline-offset: 1px; }
.affect-live .row { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; margin: 6px 0; }
.affect-live .stage { position: relative; flex: 1 1 320px; background: #000; min-height: 120px; }
.affect-live video, .affect-live .over { display: block; width: 100%; }
.affect-live .over { position: absolute; inset: 0; height: 100%; }
.affect-live button { font: inherit; color: inherit; background: var(--jp-layout-color2, ButtonFace); border: 1px solid currentColor;
  border-radius: 3px; padding: 3px 9px; cursor: pointer; }
.affect-live .side { flex: 0 0 270px; font-variant-numeric: tabular-nums; }
.affect-live table { border-collapse: collapse; }
.affect-live td { padding: 0 6px 0 0; white-space: nowrap; line-height: 1.25; }
.affect-live tr.on td:first-child { font-weight: bold; }
.affect-live meter { width: 70px; }
.affect-live .traces { display: block; width: 100%; }
.affect-live .alert { font-weight: bold; border-left: 4px solid currentColor; padding-left: 8px; }
.affect-live .alert:empty { display: none; }
`;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

class Live {
  constructor(model, el) {
    this.model = model;
    this.view = String(Math.random()).slice(2);
    this.number = 0;
    this.waiting = new Map(); // number of each picture without an answer -> when it was taken
    this.answers = [];   // times of the last ones
    this.lags = [];
    this.trace = [];
    this.sheet = document.createElement("canvas");
    this.build(el, model.get("about"));
    this.hear = (message) => this.received(message);
    this.hidden = () => { if (!document.hidden && this.stream) this.next(); };
    model.on("msg:custom", this.hear);
    document.addEventListener("visibilitychange", this.hidden);
    this.timer = setInterval(() => {
      if ([...this.waiting.values()].some((at) => performance.now() - at > PATIENCE)) this.warn("The kernel does not answer yet: it may be at work on another cell.");
    }, 1000);
  }

  build(el, about) {
    this.button = make("button", {type: "button", text: "Start the camera", onclick: () => this.stream ? this.stop() : this.start()});
    this.state = make("span", {role: "status", text: about.keeps ? `predictions are kept in ${about.keeps}` : "nothing is kept"});
    this.speed = make("span", {});
    this.alert = make("div", {role: "alert", class: "alert"});
    this.video = make("video", {playsinline: "", "aria-label": "the camera"});
    this.video.muted = true;
    this.over = make("canvas", {class: "over", "aria-hidden": "true"});
    this.traces = make("canvas", {class: "traces", height: "70", "aria-hidden": "true"});
    this.face = make("p", {text: "no face yet"});
    this.meters = {};
    const rows = about.aus.map(([au, name]) => {
      const meter = make("meter", {min: 0, max: 1, value: 0, "aria-label": `AU${au}, ${name}`}), number = make("td");
      const row = make("tr", {}, make("td", {text: `AU${au} ${name}`}), make("td", {}, meter), number);
      this.meters[au] = {meter, number, row};
      return row;
    });
    this.root = make("div", {class: "affect-live", role: "group", "aria-label": "live predictions", "data-lm-suppress-shortcuts": "true"},
      make("style", {text: STYLE}), make("div", {class: "row"}, this.button, this.state, this.speed), this.alert,
      make("div", {class: "row"}, make("div", {class: "stage"}, this.video, this.over), make("div", {class: "side"}, this.face, make("table", {}, ...rows))), this.traces);
    el.append(this.root);
  }

  async start() {
    this.warn("");
    if (!navigator.mediaDevices) return this.warn("This page may not use a camera: browsers allow it on https and on localhost only.");
    try { this.stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}, height: {ideal: 480}}, audio: false}); }
    catch (error) {
      const why = {NotAllowedError: "it was not allowed", NotFoundError: "there is none", NotReadableError: "another program uses it"}[error.name] || error.message;
      return this.warn(`The camera does not open: ${why}.`);
    }
    this.video.srcObject = this.stream;
    await this.video.play();
    this.button.textContent = "Stop the camera";
    this.began = performance.now();
    this.waiting.clear();
    this.next();
  }

  stop() {
    for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
    this.stream = this.video.srcObject = null;
    this.waiting.clear();
    this.button.textContent = "Start the camera";
    this.model.send({type: "stop", view: this.view});
    this.over.getContext("2d").clearRect(0, 0, this.over.width, this.over.height);
  }

  close() {
    if (this.stream) this.stop();
    clearInterval(this.timer);
    this.model.off("msg:custom", this.hear);
    document.removeEventListener("visibilitychange", this.hidden);
  }

  next() { // with the next picture of the camera, not twice with the same
    if (!this.stream || this.waiting.size >= ON_THEIR_WAY || this.taking) return;
    this.taking = true; // until it is sent: one after the other, so that they arrive in order
    const go = () => this.send();
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(go); else requestAnimationFrame(go);
  }

  send() {
    const {videoWidth, videoHeight} = this.video;
    if (!this.stream || !videoWidth) { this.taking = false; return; }
    const width = Math.min(this.model.get("about").width, videoWidth), height = Math.round(videoHeight*width/videoWidth);
    this.sheet.width = width;
    this.sheet.height = height;
    this.sheet.getContext("2d").drawImage(this.video, 0, 0, width, height);
    const number = ++this.number, at = performance.now();
    this.waiting.set(number, at);
    this.sheet.toBlob(async (blob) => {
      const bytes = blob && await blob.arrayBuffer();
      this.taking = false;
      if (!this.waiting.has(number)) return this.next(); // stopped meanwhile, and perhaps started again
      if (!bytes) { this.waiting.delete(number); return this.next(); }
      this.model.send({type: "frame", view: this.view, number, time: (at - this.began)/1000}, undefined, [bytes]);
      this.next(); // taken while the kernel looks at this one
    }, "image/jpeg", QUALITY);
  }

  received(message) {
    if (message.view !== this.view || !this.waiting.has(message.number)) return;
    const now = performance.now(), sent = this.waiting.get(message.number);
    this.waiting.delete(message.number);
    if (message.type === "refused") {
      this.warn(`No prediction: ${message.reason}`);
      setTimeout(() => this.next(), 500);
      return;
    }
    this.warn("");
    this.answers = [...this.answers.filter((time) => now - time < 3000), now];
    this.show(message);
    requestAnimationFrame(() => { // drawn by now
      this.lags = [...this.lags.slice(-29), performance.now() - sent];
      const lag = [...this.lags].sort((a, b) => a - b)[this.lags.length >> 1], span = (now - this.answers[0])/1000;
      const rate = span > .2 ? (this.answers.length - 1)/span : 0;
      this.speed.textContent = `${rate.toFixed(1)} predictions/s, ${Math.round(lag)} ms from picture to overlay`;
      Object.assign(this.root.dataset, {answers: message.number, rate: rate.toFixed(2), lag: Math.round(lag), faces: message.faces.length});
    });
    this.next();
  }

  show(message) {
    const over = this.over, scale = Math.max(1, over.clientWidth)/message.width;
    over.width = over.clientWidth;
    over.height = Math.round(message.height*scale);
    const pen = over.getContext("2d");
    pen.font = "14px system-ui, sans-serif";
    pen.lineWidth = 2;
    for (const face of message.faces) {
      const [left, top, right, bottom] = face.box.map((side) => side*scale), seen = face.status === "ok";
      pen.setLineDash(seen ? [] : [6, 4]);
      for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.strokeRect(left, top, right - left, bottom - top);
      }
      const lines = [seen ? `face ${face.face_id}` : `face ${face.face_id}: ${face.status.replace("_", " ")}`];
      if (face.expression) lines.push(`${face.expression} ${face.probability.toFixed(2)}`);
      if (face.valence != null) lines.push(`valence ${signed(face.valence)}  arousal ${signed(face.arousal)}`);
      lines.forEach((line, place) => this.label(pen, line, left, Math.min(bottom + 4, over.height - 18*lines.length) + 18*place));
    }
    this.showFirst(message);
  }

  label(pen, text, x, y) {
    pen.fillStyle = "rgba(0, 0, 0, .75)";
    pen.fillRect(x, y, pen.measureText(text).width + 8, 18);
    pen.fillStyle = "#fff";
    pen.fillText(text, x + 4, y + 14);
  }

  showFirst(message) {
    const face = message.faces.find((each) => each.status === "ok");
    this.trace.push({time: message.time, valence: face ? face.valence : null, arousal: face ? face.arousal : null});
    while (this.trace[0].time < message.time - TRACE) this.trace.shift();
    this.face.textContent = !face ? "no face" : `${face.expression ? `${face.expression}, ` : ""}` +
      (face.valence != null ? `valence ${signed(face.valence)}, arousal ${signed(face.arousal)}` : "");
    for (const [au, {meter, number, row}] of Object.entries(this.meters)) {
      const value = face ? face.aus[au] : null;
      meter.value = value ?? 0;
      number.textContent = value == null ? "" : value >= .5 ? `${value.toFixed(2)} active` : value.toFixed(2);
      row.className = value >= .5 ? "on" : "";
    }
    this.drawTraces(message.time);
  }

  drawTraces(end) {
    const canvas = this.traces, pen = canvas.getContext("2d");
    if (canvas.width !== canvas.clientWidth) canvas.width = canvas.clientWidth;
    const {width, height} = canvas, from = Math.max(end, TRACE) - TRACE;
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(this.root).color;
    pen.font = "12px system-ui, sans-serif";
    pen.globalAlpha = .4;
    pen.setLineDash([]);
    pen.strokeRect(.5, .5, width - 1, height - 1);
    pen.strokeRect(0, height/2, width, 0);
    pen.globalAlpha = 1;
    for (const [name, dashes] of [["valence", []], ["arousal", [6, 4]]]) {
      pen.setLineDash(dashes);
      pen.beginPath();
      let goesOn = false;
      for (const point of this.trace) {
        if (point[name] == null) { goesOn = false; continue; }
        const x = width*(point.time - from)/TRACE, y = height/2 - point[name]*(height/2 - 3);
        if (goesOn) pen.lineTo(x, y); else pen.moveTo(x, y);
        goesOn = true;
      }
      pen.stroke();
    }
    pen.fillText("valence: line, arousal: dashes, the last 10 s", 6, 13);
  }

  warn(text) { if (this.alert.textContent !== text) this.alert.textContent = text; }
}

function render({model, el}) {
  const live = new Live(model, el);
  return () => live.close();
}

export default {render};
