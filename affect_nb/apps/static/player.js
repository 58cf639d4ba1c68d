// The player of one clip: the film with what was found in it, its traces, and lanes to draw in.
// A plain ES module without a build step. All text enters the page by textContent.

const CHUNK = 256 // frames of boxes, landmarks and values that are asked for at once
const KEPT = 8 // chunks
const SHORTEST = 4 // px of a drag that draws a span

const make = (tag, props = {}, ...children) => {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (name === 'text') node.textContent = value
    else if (name === 'class') node.className = value
    else if (name in node) node[name] = value
    else node.setAttribute(name, value)
  }
  node.append(...children)
  return node
}
const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
const signed = value => (value < 0 ? '−' : '+') + Math.abs(value).toFixed(2)
const clock = seconds => {
  const whole = Math.max(0, seconds), minutes = Math.floor(whole/60), hours = Math.floor(minutes/60)
  const rest = (whole % 60).toFixed(2).padStart(5, '0')
  return hours ? `${hours}:${String(minutes % 60).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`
}

// Arrays by name out of one buffer of float32.
const unpack = (parts, buffer) => {
  const values = new Float32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength)), arrays = {}
  let at = 0
  for (const [name, size] of parts) arrays[name] = values.subarray(at, at += size)
  return arrays
}

// When each frame is shown; even rates need no table.
class Clock {
  constructor(about, times) {
    this.n = about.n_frames
    this.period = about.period
    this.duration = about.duration
    this.times = times && times.byteLength ? new Float64Array(times.buffer.slice(times.byteOffset, times.byteOffset + times.byteLength)) : null
  }
  start(frame) { return this.times ? this.times[clamp(frame, 0, this.n - 1)] : clamp(frame, 0, this.n - 1)*this.period }
  frame(time) {
    if (!this.times) return clamp(Math.floor(time/this.period + 1e-3), 0, this.n - 1)
    let low = 0, high = this.n - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.times[middle] <= time + 1e-6) low = middle; else high = middle - 1
    }
    return low
  }
  middle(frame) { // a place well inside of a frame, for a seek
    const next = frame + 1 < this.n ? this.start(frame + 1) : this.duration
    return (this.start(frame) + next)/2
  }
}

// Questions to the kernel; the answer to an outdated question of the same kind is dropped.
class Kernel {
  constructor(model) {
    this.model = model
    this.latest = {}
    this.heard = {}
    this.n = Math.floor(Math.random()*1e9) // another view of the same player has other numbers
    this.listen = (content, buffers) => {
      const {kind, id, topic} = content
      if (id !== undefined && this.latest[topic] !== id) return
      this.heard[kind]?.(content, buffers?.length ? unpack(content.parts, buffers[0]) : {})
    }
    model.on('msg:custom', this.listen)
  }
  ask(kind, more = {}, topic = kind) {
    this.latest[topic] = ++this.n
    this.model.send({kind, topic, id: this.n, ...more})
  }
  on(kind, answer) { this.heard[kind] = answer }
  close() { this.model.off('msg:custom', this.listen) }
}

const colourOf = (root, name) => getComputedStyle(root).getPropertyValue(name).trim() || '#888'

// A canvas as large as its element, in the pixels of the screen.
const fitted = canvas => {
  const dots = window.devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = canvas
  if (canvas.width !== Math.round(width*dots) || canvas.height !== Math.round(height*dots)) {
    canvas.width = Math.round(width*dots)
    canvas.height = Math.round(height*dots)
  }
  const ink = canvas.getContext('2d')
  ink.setTransform(dots, 0, 0, dots, 0, 0)
  ink.clearRect(0, 0, width, height)
  return {ink, width, height}
}

function render({model, el}) {
  const about = model.get('about'), times = new Clock(about, model.get('times')), kernel = new Kernel(model)
  const state = {
    time: 0, start: 0, stop: times.duration, face: model.get('face'), others: false, chosen: -1,
    shown: new Set(model.get('shown')), overlays: new Set(['boxes', 'landmarks']), drag: null, open: {}, chunks: new Map(), asked: new Set(),
    traces: null, target: null,
  }
  const root = make('div', {class: 'affect-player', tabIndex: -1, role: 'group', 'aria-label': `Player: ${about.title}`,
    'data-lm-suppress-shortcuts': 'true'})

  // ---- the parts of the page
  const button = (text, title, onclick, props = {}) => make('button', { // a sign alone needs a name
    type: 'button', text, title, ...(/[a-z]/i.test(text) ? {} : {'aria-label': title}), onclick, ...props})
  const choice = (text, checked, onchange) => {
    const box = make('input', {type: 'checkbox', checked, onchange: () => onchange(box.checked)})
    return make('label', {class: 'choice'}, box, make('span', {text}))
  }
  const video = make('video', {preload: 'auto', playsInline: true, 'aria-label': `Film ${about.title}`})
  video.disablePictureInPicture = true
  const overlay = make('canvas', {class: 'overlay', 'aria-hidden': 'true'})
  const crop = make('canvas', {class: 'crop', role: 'img', 'aria-label': 'The aligned crop of the chosen face'})
  const values = make('dl', {class: 'values', 'aria-label': 'Values of this frame'})
  const stage = make('div', {class: 'stage'}, video, overlay)
  stage.style.aspectRatio = `${about.width} / ${about.height}`
  stage.style.setProperty('--ratio', about.width/about.height)
  const message = make('div', {class: 'message', role: 'status', 'aria-live': 'polite'})
  const place = make('output', {class: 'place', 'aria-label': 'Time and frame'})
  const plot = make('canvas', {class: 'plot', 'aria-hidden': 'true'}), cursor = make('canvas', {class: 'cursor', 'aria-hidden': 'true'})
  const timeline = make('div', {class: 'timeline', tabIndex: 0, role: 'slider', 'aria-label': 'Timeline', 'aria-valuemin': 0,
    'aria-valuemax': times.duration.toFixed(2)}, plot, cursor)
  const say = text => { message.textContent = text }

  // ---- time
  const show = time => {
    state.time = clamp(time, 0, Math.max(0, times.duration - 1e-6))
    const frame = times.frame(state.time)
    place.textContent = `${clock(state.time)} / ${clock(times.duration)}, frame ${frame}`
    timeline.setAttribute('aria-valuenow', state.time.toFixed(2))
    timeline.setAttribute('aria-valuetext', place.textContent)
    root.dataset.frame = frame
    follow()
    fetchChunk(frame)
    drawOverlay(frame)
    drawCursor()
  }
  const seekVideo = () => { // while one seek is under way, only the newest of the next ones counts
    if (state.target === null || video.seeking || !video.duration) return
    const wanted = clamp(state.target, 0, video.duration)
    state.target = null
    video.currentTime = wanted
  }
  const seek = time => {
    const frame = times.frame(clamp(time, 0, times.duration))
    show(times.start(frame))
    state.target = times.middle(frame)
    seekVideo()
    tell()
  }
  const step = frames => { video.pause(); seek(times.middle(clamp(times.frame(state.time) + frames, 0, times.n - 1))) }
  let told = null
  const tell = () => { // the kernel knows the time, a little later
    clearTimeout(told)
    told = setTimeout(() => { model.set('time', state.time); model.save_changes() }, 300)
  }
  const presented = (now, picture) => {
    root.dataset.presented = times.frame(picture.mediaTime + times.period*.25)
    root.dataset.presentations = Number(root.dataset.presentations || 0) + 1
    if (!video.paused && !video.seeking) show(picture.mediaTime)
    else drawOverlay(times.frame(state.time))
    video.requestVideoFrameCallback(presented)
  }
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(presented)
  else video.addEventListener('timeupdate', () => show(video.currentTime))
  video.addEventListener('seeked', () => { seekVideo(); drawOverlay(times.frame(state.time)) })
  video.addEventListener('loadedmetadata', () => { root.dataset.ready = 'true'; seekVideo(); drawOverlay(times.frame(state.time)) })
  video.addEventListener('loadeddata', () => drawOverlay(times.frame(state.time)))
  const played = () => {
    play.textContent = video.paused ? '▶' : '❚❚'
    play.setAttribute('aria-label', play.title = video.paused ? 'Play (space)' : 'Pause (space)')
    tell()
  }
  video.addEventListener('play', played)
  video.addEventListener('pause', played)
  const toggle = () => { if (!about.film) return; if (video.paused) video.play().catch(error => say(error.message)); else video.pause() }

  // ---- where the film comes from
  const filesAddress = path => {
    try {
      const page = JSON.parse(document.getElementById('jupyter-config-data').textContent)
      const root = page.baseUrl ?? page.base_url
      return root ? new URL(`${root}files/${path}`, location.href).href : null
    } catch { return null }
  }
  const served = about.film?.served ? filesAddress(about.film.served) : null
  let lent = false
  const lend = () => { lent = true; kernel.ask('stream') }
  kernel.on('stream', ({url}) => { video.src = url })
  video.addEventListener('error', () => {
    if (!lent && video.error?.code !== 3) lend() // not by the server: by the kernel
    else { stage.classList.add('broken'); say(`The browser cannot play ${about.film.name}. H.264 or VP9 in .mp4 or .webm plays everywhere: ffmpeg -i "${about.film.name}" -c:v libx264 -pix_fmt yuv420p playable.mp4`) }
  })
  if (!about.film) { stage.classList.add('broken'); say('There is no film: traces alone are shown.') }
  else if (served) video.src = served
  else lend()

  // ---- the window of time that is shown
  const view = (start, stop) => {
    const least = Math.max(8*times.period, 1e-3), length = clamp(stop - start, Math.min(least, times.duration), times.duration)
    state.start = clamp(start, 0, times.duration - length)
    state.stop = state.start + length
    askTraces()
    draw()
  }
  const zoom = (factor, around = state.time) => {
    const share = clamp((around - state.start)/(state.stop - state.start), 0, 1), length = (state.stop - state.start)*factor
    view(around - share*length, around + (1 - share)*length)
  }
  const follow = () => {
    const length = state.stop - state.start
    if (state.drag || length >= times.duration) return
    if (state.time < state.start || state.time >= state.stop) view(state.time - length*(video.paused ? .5 : .05), state.time + length*(video.paused ? .5 : .95))
  }

  // ---- what the kernel answers
  let waiting = null
  const askTraces = (wait = 60) => {
    clearTimeout(waiting)
    waiting = setTimeout(() => {
      const start = times.frame(state.start), stop = Math.min(times.n, times.frame(state.stop - 1e-6) + 1)
      const columns = Math.min(stop - start, Math.max(50, Math.round(area.width)))
      kernel.ask('traces', {face: state.face, start, stop, columns, others: state.others ? faces().map(face => face.id).filter(id => id !== state.face) : []})
    }, wait)
  }
  kernel.on('traces', ({start, stop, columns}, arrays) => { state.traces = {start, stop, columns, arrays}; root.dataset.traces = `${start}-${stop}`; draw() })
  const fetchChunk = frame => {
    for (const chunk of new Set([Math.floor(frame/CHUNK), Math.floor((frame + (video.paused ? 0 : 60))/CHUNK)])) {
      if (state.chunks.has(chunk) || state.asked.has(chunk) || chunk*CHUNK >= times.n) continue
      state.asked.add(chunk)
      kernel.ask('moment', {chunk, face: state.face, start: chunk*CHUNK, stop: Math.min(times.n, (chunk + 1)*CHUNK)}, `moment${chunk}`)
    }
  }
  kernel.on('moment', ({chunk, face, start, stop}, arrays) => {
    state.asked.delete(chunk)
    if (face !== state.face) return
    const byFrame = new Map()
    arrays.frame.forEach((frame, row) => byFrame.has(frame) ? byFrame.get(frame).push(row) : byFrame.set(frame, [row]))
    state.chunks.set(chunk, {start, stop, byFrame, arrays})
    while (state.chunks.size > KEPT) state.chunks.delete(state.chunks.keys().next().value)
    drawOverlay(times.frame(state.time))
  })
  const forget = () => { state.chunks.clear(); state.asked.clear(); fetchChunk(times.frame(state.time)); askTraces(0) }
  kernel.on('jump', ({time, stop, text}) => {
    say(text)
    if (time === null) return
    video.pause()
    if (state.stop - state.start >= times.duration && times.duration > 30) view(time - 8, time + 8)
    seek(time)
  })
  kernel.on('error', ({text}) => say(text))

  // ---- faces
  const faces = () => model.get('faces')
  const nameOf = id => faces().find(face => face.id === id)?.name || `face ${id}`
  const who = make('select', {'aria-label': 'Face', onchange: () => choose(Number(who.value))})
  const name = make('input', {type: 'text', placeholder: 'name', 'aria-label': 'Name of this face', maxLength: 60,
    onchange: () => kernel.ask('name', {face: state.face, name: name.value})})
  const into = make('select', {'aria-label': 'The same person as'})
  const join = button('Merge', 'Make this face and the chosen one the same person', () => into.value !== '' && kernel.ask('merge', {face: Number(into.value), into: state.face}))
  const part = button('Part', 'Undo all merges into this face', () => kernel.ask('part', {face: state.face}))
  const choose = id => {
    state.face = id
    model.set('face', id)
    model.save_changes()
    fillFaces()
    forget()
  }
  const fillFaces = () => {
    const option = face => make('option', {value: face.id, text: `${face.name || `face ${face.id}`} (${face.share})`})
    if (!faces().some(face => face.id === state.face)) state.face = faces()[0]?.id ?? -1
    who.replaceChildren(...faces().map(option))
    who.value = String(state.face)
    name.value = faces().find(face => face.id === state.face)?.name ?? ''
    into.replaceChildren(make('option', {value: '', text: 'same as …'}), ...faces().filter(face => face.id !== state.face).map(option))
    for (const control of [into, join]) control.disabled = faces().length < 2
    part.disabled = !faces().find(face => face.id === state.face)?.merged
    root.dataset.face = state.face
  }

  // ---- spans that a user draws
  const spans = () => model.get('spans')
  const setSpans = changed => {
    model.set('spans', [...changed].sort((one, other) => one.start - other.start))
    model.save_changes()
    fillSpans()
    draw()
  }
  const LANES = [['event', 'Events'], ['exclude', 'Excluded']]
  const addSpan = (lane, start, stop) => {
    const span = {lane, start: Math.min(start, stop), stop: Math.min(times.duration, Math.max(start, stop)), label: ''}
    setSpans([...spans(), span])
    say(`${lane === 'event' ? 'Event' : 'Excluded span'} from ${clock(span.start)} to ${clock(span.stop)}`)
  }
  const mark = lane => { // by key: begins one, then ends it
    if (state.open[lane] === undefined) { state.open[lane] = state.time; say(`${lane === 'event' ? 'Event' : 'Excluded span'} begins at ${clock(state.time)}; the same key ends it`) }
    else {
      const began = state.open[lane]
      delete state.open[lane]
      addSpan(lane, Math.min(began, state.time), Math.max(began, state.time) + times.period)
    }
    draw()
  }
  const list = make('ol', {class: 'spans'})
  const counted = make('summary', {})
  const spansPart = make('details', {}, counted, list)
  const fillSpans = () => {
    counted.textContent = `Events and excluded spans: ${spans().length}`
    list.replaceChildren(...spans().map((span, number) => {
      const set = (key, value) => setSpans(spans().map((other, at) => at === number ? {...other, [key]: value} : other))
      const edge = (key, label) => make('input', {type: 'number', step: 'any', min: 0, max: times.duration, value: Number(span[key].toFixed(3)), 'aria-label': label,
        onchange: event => { const value = clamp(Number(event.target.value) || 0, 0, times.duration); set(key, key === 'start' ? Math.min(value, span.stop) : Math.max(value, span.start)) }})
      return make('li', {},
        button(span.lane === 'event' ? 'Event' : 'Excluded', 'Go to its start', () => seek(span.start)),
        edge('start', 'Start, s'), make('span', {text: '–'}), edge('stop', 'End, s'), make('span', {text: 's'}),
        make('input', {type: 'text', value: span.label, placeholder: 'label', 'aria-label': 'Label', maxLength: 200, onchange: event => set('label', event.target.value)}),
        button('Delete', 'Delete this span', () => setSpans(spans().filter((_, at) => at !== number))))
    }))
  }

  // ---- the picture
  const drawOverlay = frame => {
    const {ink, width} = fitted(overlay), scale = width/about.width
    const moment = state.chunks.get(Math.floor(frame/CHUNK)), rows = moment?.byFrame.get(frame) ?? []
    for (const row of rows) {
      const id = moment.arrays.face[row], main = id === state.face
      const [left, top, right, bottom] = moment.arrays.box.subarray(4*row, 4*row + 4).map(value => value*scale)
      if (state.overlays.has('boxes') && Number.isFinite(left)) {
        for (const [colour, thick] of [['#000', main ? 5 : 3], ['#fff', main ? 2.5 : 1.5]]) {
          ink.strokeStyle = colour
          ink.lineWidth = thick
          ink.setLineDash(main ? [] : [5, 4])
          ink.strokeRect(left, top, right - left, bottom - top)
        }
        ink.font = '12px sans-serif'
        const text = nameOf(id), wide = ink.measureText(text).width + 8, y = top > 18 ? top - 18 : bottom + 2
        ink.fillStyle = 'rgba(0, 0, 0, .75)'
        ink.fillRect(left, y, wide, 16)
        ink.fillStyle = '#fff'
        ink.fillText(text, left + 4, y + 12)
      }
      if (state.overlays.has('landmarks') && moment.arrays.points.length) {
        const points = moment.arrays.points.subarray(136*row, 136*row + 136)
        ink.setLineDash([])
        for (let at = 0; at < 136; at += 2) {
          if (!Number.isFinite(points[at])) break
          ink.beginPath()
          ink.arc(points[at]*scale, points[at + 1]*scale, 1.6, 0, 7)
          ink.fillStyle = '#fff'
          ink.fill()
          ink.lineWidth = .7
          ink.strokeStyle = '#000'
          ink.stroke()
        }
      }
    }
    const main = rows.find(row => moment.arrays.face[row] === state.face)
    drawCrop(moment, main)
    fillValues(moment, frame, main !== undefined)
    root.dataset.boxes = rows.length
  }
  const drawCrop = (moment, row) => {
    const {ink, width} = fitted(crop), matrix = row === undefined ? null : moment.arrays.matrix.subarray(6*row, 6*row + 6)
    if (!width || !matrix || !Number.isFinite(matrix[0]) || video.readyState < 2) return
    const [a, b, x, c, d, y] = matrix, scale = width/96, dots = crop.width/width
    ink.setTransform(dots*scale*a, dots*scale*c, dots*scale*b, dots*scale*d, dots*scale*x, dots*scale*y)
    ink.drawImage(video, 0, 0, about.width, about.height)
  }
  const fillValues = (moment, frame, found) => {
    const rows = [], at = moment ? frame - moment.start : 0, value = key => moment?.arrays[`value.${key}`]?.[at]
    const row = (title, predicted, labelled) => (predicted !== undefined || labelled !== undefined) && rows.push(
      make('dt', {text: title}), make('dd', {text: [predicted ?? '–', labelled === undefined ? '' : `label ${labelled}`].filter(Boolean).join(', ')}))
    const number = key => Number.isFinite(value(key)) ? signed(value(key)) : undefined
    const expression = key => value(key) >= 0 ? about.expressions[value(key)] : undefined
    const active = prefix => {
      const known = about.aus.filter(au => Number.isFinite(value(`${prefix}au${au}`)))
      return known.length ? known.filter(au => value(`${prefix}au${au}`) >= .5).map(au => `${au}`).join(' ') || 'none' : undefined
    }
    if (about.faced) row('face', found ? nameOf(state.face) : 'not found')
    for (const key of ['valence', 'arousal']) row(key, number(`${key}.mean`), number(`label.${key}.mean`))
    row('expression', expression('expression'), expression('label.expression'))
    row('AUs', active(''), active('label.'))
    values.replaceChildren(...rows)
  }
  overlay.addEventListener('click', event => {
    const scale = overlay.clientWidth/about.width, x = event.offsetX/scale, y = event.offsetY/scale
    const frame = times.frame(state.time), moment = state.chunks.get(Math.floor(frame/CHUNK))
    const hit = (moment?.byFrame.get(frame) ?? []).find(row => {
      const [left, top, right, bottom] = moment.arrays.box.subarray(4*row, 4*row + 4)
      return x >= left && x <= right && y >= top && y <= bottom
    })
    if (hit === undefined) return toggle()
    choose(moment.arrays.face[hit])
    facesPart.open = true // where it can be named
    timeline.focus({preventScroll: true})
  })

  // ---- the timeline
  const LINES = { // nothing is told by colour alone: each line has a dash of its own, named at its side
    valence: [], arousal: [7, 3], 'label.valence': [1.5, 2.5], 'label.arousal': [7, 2.5, 1.5, 2.5]}
  let area = {left: 104, width: 40} // as it was drawn last: each look at an element's width lets the browser lay the page out
  const measure = () => {
    const wide = timeline.clientWidth, left = wide < 520 ? 76 : 104
    area = {left, width: Math.max(40, wide - left - 6)}
  }
  const rows = () => { // name, height
    const laid = []
    if (['valence', 'arousal'].some(key => state.shown.has(key) && about.tracks.includes(key))) laid.push(['va', 118])
    if (state.shown.has('expression')) for (const key of ['expression', 'label.expression']) if (about.tracks.includes(key)) laid.push([key, 18])
    for (const au of about.aus) if (state.shown.has(`au${au}`)) laid.push([`au${au}`, 16])
    if (about.faced) laid.push(['seen', 12])
    return [...laid, ['event', 22], ['exclude', 22], ['axis', 18], ['overview', 14]]
  }
  const layout = () => {
    let top = 2
    return rows().map(([key, height]) => { const row = {key, top, height}; top += height + 3; return row })
  }
  const x = time => area.left + (time - state.start)/(state.stop - state.start)*area.width
  const timeAt = px => clamp(state.start + (px - area.left)/area.width*(state.stop - state.start), 0, times.duration)
  const resize = () => {
    const laid = layout(), last = laid[laid.length - 1]
    timeline.style.height = `${last.top + last.height + 4}px`
  }
  const draw = () => {
    if (!root.isConnected) return
    resize()
    measure()
    const {ink} = fitted(plot), {left} = area
    const colours = Object.fromEntries(['ink', 'faint', 'paper', 'mark', 'bad'].map(key => [key, colourOf(root, `--affect-${key}`)]))
    ink.font = '11px sans-serif'
    ink.textBaseline = 'middle'
    for (const row of layout()) {
      ink.save()
      painters[row.key.startsWith('au') ? 'au' : row.key](ink, row, colours)
      ink.restore()
      if (row.key === 'va' || row.key === 'axis') continue
      ink.fillStyle = colours.ink
      const title = {expression: 'expression', 'label.expression': '… label', seen: 'face found', event: 'Events (e)', exclude: 'Excluded (x)', overview: 'whole clip'}[row.key]
      ink.fillText(title ?? row.key.toUpperCase(), 2, row.top + row.height/2, left - 6)
    }
    drawCursor()
  }
  const columnX = column => { // the left edge of a column of the traces that were answered last
    const {start, stop, columns} = state.traces
    return x(times.start(start) + (times.start(stop - 1) + times.period - times.start(start))*column/columns)
  }
  const clipped = (ink, row) => {
    ink.beginPath()
    ink.rect(area.left, row.top, area.width, row.height)
    ink.clip()
  }
  const frameOf = (ink, row, colours) => {
    ink.strokeStyle = colours.faint
    ink.lineWidth = 1
    ink.setLineDash([])
    ink.strokeRect(area.left + .5, row.top + .5, area.width - 1, row.height - 1)
  }
  const line = (ink, row, low, high, mean, colour, dash, thick) => {
    const y = value => row.top + (1 - value)/2*row.height
    const half = (columnX(1) - columnX(0))/2
    if (low && state.traces.stop - state.traces.start > state.traces.columns) {
      ink.fillStyle = colour
      ink.globalAlpha = .3
      low.forEach((value, at) => Number.isFinite(value) && ink.fillRect(columnX(at), y(high[at]), Math.max(1, 2*half), Math.max(1, y(value) - y(high[at]))))
      ink.globalAlpha = 1
    }
    ink.strokeStyle = colour
    ink.lineWidth = thick
    ink.setLineDash(dash)
    ink.beginPath()
    let pen = false
    mean.forEach((value, at) => {
      if (!Number.isFinite(value)) { pen = false; return }
      const to = columnX(at) + half
      if (pen) ink.lineTo(to, y(value)); else { ink.moveTo(to, y(value)); ink.lineTo(to + .5, y(value)) }
      pen = true
    })
    ink.stroke()
  }
  const band = (ink, row, classes, colours) => {
    const runs = []
    classes.forEach((value, at) => {
      const last = runs[runs.length - 1]
      if (last && last.value === value) last.stop = at + 1
      else runs.push({value, start: at, stop: at + 1})
    })
    ink.textAlign = 'center'
    for (const {value, start, stop} of runs) {
      if (value < 0) continue
      const left = Math.max(columnX(start), area.left), wide = Math.min(columnX(stop), area.left + area.width) - left, text = about.expressions[value]
      ink.fillStyle = about.colours.expressions[value]
      ink.fillRect(left, row.top, Math.max(1, wide), row.height)
      const shown = [text, text.slice(0, 2)].find(part => ink.measureText(part).width + 4 < wide)
      if (!shown) continue
      ink.fillStyle = about.dark[value] ? '#fff' : '#000'
      ink.fillText(shown, left + wide/2, row.top + row.height/2)
    }
  }
  const painters = {
    va(ink, row, colours) {
      const arrays = state.traces?.arrays ?? {}, {left, width} = area
      let at = 0
      ink.textAlign = 'left'
      for (const key of ['valence', 'arousal', 'label.valence', 'label.arousal']) {
        const plain = key.replace('label.', '')
        if (!state.shown.has(plain) || !about.tracks.includes(key)) continue
        if (key !== plain && !arrays[`${key}.mean`]) continue
        const y = row.top + 10 + 15*at++, colour = about.colours[plain], end = left - 20, wide = left > 80
        ink.fillStyle = colours.ink
        ink.fillText(wide ? (key === plain ? key : `label ${plain[0]}.`) : (key === plain ? plain.slice(0, 3) : `l. ${plain.slice(0, 3)}`), 2, y)
        ink.strokeStyle = colour
        ink.lineWidth = 2
        ink.setLineDash(LINES[key])
        ink.beginPath()
        ink.moveTo(wide ? 56 : 33, y)
        ink.lineTo(end, y)
        ink.stroke()
      }
      ink.textAlign = 'right'
      ink.fillStyle = colours.ink
      for (const value of [1, 0, -1]) ink.fillText(value === -1 ? '−1' : String(value), left - 3, clamp(row.top + (1 - value)/2*row.height, row.top + 6, row.top + row.height - 6))
      frameOf(ink, row, colours)
      ink.beginPath()
      ink.moveTo(left, row.top + row.height/2)
      ink.lineTo(left + width, row.top + row.height/2)
      ink.stroke()
      if (!state.traces) return
      clipped(ink, row)
      for (const key of Object.keys(arrays)) {
        const [, id, plain] = key.match(/^face(\d+)\.(valence|arousal)$/) ?? []
        if (!plain || !state.shown.has(plain)) continue
        line(ink, row, null, null, arrays[key], colours.faint, LINES[plain], 1)
        const first = arrays[key].findIndex(Number.isFinite)
        if (first >= 0 && plain === 'valence') { ink.textAlign = 'left'; ink.fillStyle = colours.ink; ink.fillText(nameOf(Number(id)), columnX(first) + 3, row.top + (1 - arrays[key][first])/2*row.height - 7) }
      }
      for (const key of ['label.valence', 'label.arousal', 'valence', 'arousal']) {
        if (!arrays[`${key}.mean`] || !state.shown.has(key.replace('label.', ''))) continue
        line(ink, row, arrays[`${key}.low`], arrays[`${key}.high`], arrays[`${key}.mean`], about.colours[key.replace('label.', '')], LINES[key], key.startsWith('label') ? 2 : 1.6)
      }
    },
    expression(ink, row, colours) {
      frameOf(ink, row, colours)
      clipped(ink, row)
      if (state.traces?.arrays[row.key]) band(ink, row, state.traces.arrays[row.key], colours)
    },
    au(ink, row, colours) { // the height is the probability; a line below is the label
      frameOf(ink, row, colours)
      if (!state.traces) return
      const predicted = state.traces.arrays[row.key], labelled = state.traces.arrays[`label.${row.key}`]
      clipped(ink, row)
      const wide = Math.max(1, columnX(1) - columnX(0) + .5), high = row.height - 4
      ink.fillStyle = colours.ink
      ink.globalAlpha = .6
      predicted?.forEach((value, at) => value > 0 && ink.fillRect(columnX(at), row.top + (1 - value)*high, wide, value*high))
      ink.globalAlpha = 1
      labelled?.forEach((value, at) => value >= .5 && ink.fillRect(columnX(at), row.top + row.height - 3, wide, 3))
    },
    seen(ink, row, colours) {
      clipped(ink, row)
      const seen = state.traces?.arrays.seen
      if (!seen) return
      const wide = Math.max(1, columnX(1) - columnX(0) + .5)
      seen.forEach((value, at) => { // found: a thick line; lost: a thin cross-hatched one
        ink.fillStyle = value > .5 ? colours.mark : colours.bad
        ink.fillRect(columnX(at), row.top + (value > .5 ? 2 : row.height/2 - 1), wide, value > .5 ? row.height - 4 : 2)
      })
    },
    event(ink, row, colours) {
      frameOf(ink, row, colours)
      clipped(ink, row)
      const drawn = spans().filter(span => span.lane === row.key)
      if (state.drag?.lane === row.key) drawn.push({start: Math.min(state.drag.from, state.drag.to), stop: Math.max(state.drag.from, state.drag.to), label: ''})
      if (state.open[row.key] !== undefined) drawn.push({start: Math.min(state.open[row.key], state.time), stop: Math.max(state.open[row.key], state.time) + times.period, label: '…'})
      for (const span of drawn) {
        const left = x(span.start), wide = Math.max(2, x(span.stop) - left)
        ink.fillStyle = row.key === 'event' ? colours.mark : colours.bad
        ink.globalAlpha = .35
        ink.fillRect(left, row.top + 1, wide, row.height - 2)
        ink.globalAlpha = 1
        ink.strokeStyle = ink.fillStyle
        ink.lineWidth = 1.5
        ink.beginPath()
        ink.rect(left, row.top + 2, wide, row.height - 4)
        ink.stroke()
        ink.save()
        ink.clip()
        ink.beginPath()
        if (row.key === 'exclude') for (let at = left - row.height; at < left + wide; at += 7) { // hatched
          ink.moveTo(at, row.top + row.height)
          ink.lineTo(at + row.height, row.top)
        }
        ink.stroke()
        ink.restore()
        ink.fillStyle = colours.ink
        ink.textAlign = 'left'
        if (span.label) ink.fillText(span.label, Math.max(left, area.left) + 4, row.top + row.height/2, Math.max(4, wide - 6))
      }
    },
    axis(ink, row, colours) {
      const length = state.stop - state.start, wanted = length/Math.max(2, area.width/90)
      const nice = [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find(gap => gap >= wanted) ?? 7200
      ink.fillStyle = ink.strokeStyle = colours.ink
      ink.textAlign = 'center'
      for (let tick = Math.ceil(state.start/nice - 1e-9)*nice; tick <= state.stop; tick += nice) {
        const at = x(tick)
        ink.beginPath()
        ink.moveTo(at, row.top)
        ink.lineTo(at, row.top + 4)
        ink.stroke()
        const text = nice < 1 ? clock(tick) : clock(tick).replace(/\.\d+$/, ''), half = ink.measureText(text).width/2
        if (at - half > area.left - 24 && at + half < area.left + area.width + 6) ink.fillText(text, at, row.top + 11)
      }
    },
    overview(ink, row, colours) {
      frameOf(ink, row, colours)
      const {left, width} = area, scale = width/times.duration
      for (const span of spans()) {
        ink.fillStyle = span.lane === 'event' ? colours.mark : colours.bad
        ink.fillRect(left + span.start*scale, row.top + (span.lane === 'event' ? 2 : row.height/2), Math.max(1.5, (span.stop - span.start)*scale), row.height/2 - 2)
      }
      ink.strokeStyle = colours.ink
      ink.lineWidth = 2
      ink.strokeRect(left + state.start*scale + 1, row.top + 1, Math.max(4, (state.stop - state.start)*scale) - 2, row.height - 2)
    },
  }
  painters['label.expression'] = painters.expression
  painters.exclude = painters.event
  const drawCursor = () => {
    const {ink, height} = fitted(cursor), {left, width} = area, at = x(times.start(times.frame(state.time)) + times.period/2)
    const overview = layout().find(row => row.key === 'overview')
    ink.strokeStyle = colourOf(root, '--affect-ink')
    ink.lineWidth = 1.5
    for (const [to, top, bottom] of [[at, 0, overview.top - 3], [left + state.time/times.duration*width, overview.top, height]]) {
      if (to < left - 1 || to > left + width + 1) continue
      ink.beginPath()
      ink.moveTo(to, top)
      ink.lineTo(to, bottom)
      ink.stroke()
    }
  }

  // ---- pointer on the timeline
  const pointed = event => {
    const edge = timeline.getBoundingClientRect(), px = event.clientX - edge.left, py = event.clientY - edge.top
    return {px, row: layout().find(row => py >= row.top - 1.5 && py < row.top + row.height + 1.5)}
  }
  timeline.addEventListener('pointerdown', event => {
    if (event.button) return
    const {px, row} = pointed(event)
    timeline.setPointerCapture(event.pointerId)
    timeline.focus({preventScroll: true})
    event.preventDefault()
    const lane = row && LANES.some(([key]) => key === row.key) ? row.key : null
    state.drag = {lane, overview: row?.key === 'overview', px, from: timeAt(px), to: timeAt(px)}
    drag(px)
  })
  const drag = px => {
    if (state.drag.overview) {
      const time = clamp((px - area.left)/area.width, 0, 1)*times.duration, length = state.stop - state.start
      if (length < times.duration) view(time - length/2, time + length/2)
      seek(time)
    } else if (state.drag.lane) {
      const frame = time => times.start(times.frame(time))
      state.drag.to = frame(timeAt(px)) + (px > state.drag.px ? times.period : 0)
      state.drag.from = frame(timeAt(state.drag.px)) + (px > state.drag.px ? 0 : times.period)
      draw()
    } else seek(timeAt(px))
  }
  timeline.addEventListener('pointermove', event => state.drag && drag(pointed(event).px))
  const dropped = event => {
    const done = state.drag
    state.drag = null
    if (!done) return
    const px = pointed(event).px
    if (done.lane && event.type === 'pointerup') {
      if (Math.abs(px - done.px) >= SHORTEST) addSpan(done.lane, done.from, done.to)
      else seek(spans().find(span => span.lane === done.lane && span.start <= timeAt(px) && timeAt(px) < span.stop)?.start ?? timeAt(px))
    }
    if (done.lane) draw()
  }
  timeline.addEventListener('pointerup', dropped)
  timeline.addEventListener('pointercancel', dropped)
  timeline.addEventListener('wheel', event => { // the wheel alone scrolls the page
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX
    if (event.ctrlKey || event.metaKey) zoom(event.deltaY > 0 ? 1.25 : .8, timeAt(pointed(event).px))
    else if (sideways && Math.abs(sideways) >= Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      const shift = sideways/area.width*(state.stop - state.start)
      view(state.start + shift, state.stop + shift)
    } else return
    event.preventDefault()
  }, {passive: false})

  // ---- keys
  const worst = () => kernel.ask('worst', {time: state.time}, 'jump'), lost = () => kernel.ask('lost', {face: state.face, frame: times.frame(state.time)}, 'jump')
  const second = sign => { video.pause(); seek(state.time + sign) }
  const keys = {
    ' ': toggle, ArrowLeft: event => event.shiftKey ? second(-1) : step(-1), ArrowRight: event => event.shiftKey ? second(1) : step(1),
    Home: () => seek(0), End: () => seek(times.duration), '+': () => zoom(.5), '=': () => zoom(.5), '-': () => zoom(2), 0: () => view(0, times.duration),
    e: () => mark('event'), x: () => mark('exclude'), w: worst, l: lost}
  let byPointer = false // what a pointer has used gives the keys back: Space then plays and presses no button again
  root.addEventListener('pointerdown', () => { byPointer = true })
  for (const kind of ['click', 'change', 'pointerup']) root.addEventListener(kind, event => {
    const used = {click: 'button, summary, input[type=checkbox]', change: 'select, input[type=range]', pointerup: 'input[type=range]'}[kind]
    if (byPointer && event.target.closest(used)) timeline.focus({preventScroll: true})
  })
  root.addEventListener('keydown', event => {
    byPointer = false
    event.stopPropagation() // the notebook has other uses for these keys
    const {target} = event, kind = target.tagName
    if (event.ctrlKey || event.metaKey || event.altKey || (kind === 'INPUT' && target.type !== 'checkbox' && target.type !== 'range') || kind === 'SELECT') return
    if (event.key === ' ' && ['BUTTON', 'INPUT', 'SUMMARY'].includes(kind)) return
    if (target.type === 'range' && event.key.startsWith('Arrow')) return
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]
    if (!act) return
    event.preventDefault()
    act(event)
  })

  // ---- put together
  const play = button('▶', 'Play (space)', toggle, {disabled: !about.film, class: 'wide'})
  const loud = make('input', {type: 'range', min: 0, max: 1, step: .05, value: 1, 'aria-label': 'Volume', title: 'Volume', oninput: () => { video.volume = Number(loud.value); video.muted = video.volume === 0 }})
  const speed = make('select', {'aria-label': 'Speed', title: 'Speed', onchange: () => { video.playbackRate = Number(speed.value) }},
    ...[.25, .5, 1, 1.5, 2].map(rate => make('option', {value: rate, text: `${rate} ×`, selected: rate === 1})))
  const toolbar = make('div', {class: 'bar', role: 'toolbar', 'aria-label': 'Playing'}, play,
    button('◂', 'One frame back (left arrow)', () => step(-1)), button('▸', 'One frame on (right arrow)', () => step(1)), speed, loud, place,
    make('span', {class: 'gap'}),
    button('−', 'Zoom out (-)', () => zoom(2)), button('+', 'Zoom in (+)', () => zoom(.5)), button('All', 'Show the whole clip (0)', () => view(0, times.duration)),
    button('Worst disagreement', 'Go to the next worst disagreement of labels and predictions (w)', worst, {disabled: !about.labelled}),
    button('Next lost frames', 'Go to the next frames without this face (l)', lost, {disabled: !about.faced}))
  const shownChoice = (key, text) => choice(text, state.shown.has(key), on => { on ? state.shown.add(key) : state.shown.delete(key); model.set('shown', [...state.shown]); model.save_changes(); draw() })
  const traces = make('fieldset', {}, make('legend', {text: 'Traces'}),
    ...['valence', 'arousal'].filter(key => about.tracks.includes(key)).map(key => shownChoice(key, key)),
    ...(about.tracks.includes('expression') || about.tracks.includes('label.expression') ? [shownChoice('expression', 'expressions')] : []),
    ...about.aus.map(au => shownChoice(`au${au}`, `AU${au}`)),
    ...(faces().length > 1 ? [choice('other faces', false, on => { state.others = on; askTraces(0) })] : []))
  const over = make('fieldset', {}, make('legend', {text: 'Over the film'}),
    ...['boxes', 'landmarks'].map(key => choice(key, true, on => { on ? state.overlays.add(key) : state.overlays.delete(key); drawOverlay(times.frame(state.time)) })),
    choice('crop', true, on => { crop.hidden = !on; drawOverlay(times.frame(state.time)) }))
  const facesPart = make('details', {}, make('summary', {text: 'Faces: name, merge'}), make('div', {class: 'bar'}, make('label', {text: 'Name '}, name), into, join, part))
  const help = make('details', {}, make('summary', {text: 'Keys'}), make('p', {text:
    'Space plays and pauses; arrows go one frame, with Shift one second; Home and End go to the ends; + and − zoom, 0 shows all; e begins and ends an event, x an excluded span; w goes to the worst disagreement, l to lost frames. Drag in a lane to draw a span; Ctrl and the wheel zoom, Shift and the wheel move.'}))
  const settings = make('details', {open: true}, make('summary', {text: 'What is shown'}), traces, ...(about.faced ? [over] : []))
  const aside = make('div', {class: 'aside'}, ...(about.faced ? [make('label', {class: 'who'}, make('span', {text: 'Face '}), who), crop] : []), values)
  root.append(make('div', {class: 'top'}, stage, aside), toolbar, message, timeline, settings, ...(about.faced ? [facesPart] : []), spansPart, help)
  el.append(root)

  // ---- what changes from outside
  const changed = {
    'change:spans': () => { fillSpans(); draw() },
    'change:faces': () => { fillFaces(); forget(); draw() },
    'change:face': () => { if (model.get('face') !== state.face) choose(model.get('face')) },
    'change:view': () => view(...model.get('view')),
  }
  for (const [name, react] of Object.entries(changed)) model.on(name, react)
  kernel.on('seek', ({time}) => { video.pause(); seek(time) })
  const sized = new ResizeObserver(() => { draw(); drawOverlay(times.frame(state.time)); askTraces() })
  for (const part of [timeline, stage]) sized.observe(part)
  const themed = new MutationObserver(draw), dark = matchMedia('(prefers-color-scheme: dark)')
  themed.observe(document.body, {attributes: true})
  dark.addEventListener('change', draw)
  fillFaces()
  fillSpans()
  show(model.get('time'))
  state.target = times.middle(times.frame(state.time))
  askTraces(0)
  return () => {
    for (const [name, react] of Object.entries(changed)) model.off(name, react)
    kernel.close()
    sized.disconnect()
    themed.disconnect()
    dark.removeEventListener('change', draw)
    clearTimeout(told)
    clearTimeout(waiting)
    video.pause()
    video.removeAttribute('src')
    video.load()
  }
}

export default {render}
