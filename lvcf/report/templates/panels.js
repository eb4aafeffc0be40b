// Panels: one or several videos, shown tile by tile on canvases.  A frame is sought in every video before any is drawn,
// so all tiles always show the same moment.
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const loaded = source => new Promise(done => {
  const video = make('video', {muted: true, playsInline: true, preload: 'auto'});
  video.onloadeddata = () => done(video);
  video.onerror = () => done(null);
  video.src = source;
});
const sought = (video, time) => new Promise(done => {
  const ends = ['seeked', 'error', 'emptied'];
  const over = () => { for (const end of ends) video.removeEventListener(end, over); done(); };
  for (const end of ends) video.addEventListener(end, over);
  video.currentTime = time;
});
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

class Player {
  // root: .player with its bar; layout: how a video is divided into tiles, {names, gap, header, footer}
  constructor(root, layout) {
    Object.assign(this, {root, layout, screens: [], videos: [], frame: -1, frames: 1, turn: 0, running: -1, playing: !calm});
    const part = selector => root.querySelector(selector);
    [this.place, this.button, this.slider, this.count] = ['.tiles', '.play', '[type=range]', 'output'].map(part);
    this.button.onclick = () => this.play(!this.playing);
    this.slider.oninput = () => { this.play(false); this.to(Number(this.slider.value)); };
    root.classList.add('live');
  }

  // views: [{title, notes, source, poster, tiles, words, names}]: elements above, the video's address, its still as CSS has it, which of
  // its tiles, alt texts
  async show(views, fps) {
    const turn = this.leave();
    const frame = Math.max(this.frame, 0);
    this.fps = fps;
    if (views !== this.views) this.lay(views);
    const sources = [...new Set(views.map(view => view.source).filter(Boolean))];
    const videos = await Promise.all(sources.map(loaded));
    if (turn !== this.turn) return;
    this.videos = videos.filter(Boolean);
    for (const screen of this.screens) this.connect(screen, videos[sources.indexOf(screen.source)]);
    this.frames = Math.max(1, ...this.videos.map(video => Math.round(video.duration * fps)));
    this.slider.max = this.frames - 1;
    this.frame = -1;
    await this.to(Math.min(frame, this.frames - 1));
    if (turn === this.turn) this.play(this.playing);
  }

  // the tiles' places, before their videos are there
  lay(views) {
    Object.assign(this, {views, screens: []});
    this.place.replaceChildren(...views.map(view => this.build(view)));
  }

  build({title, notes = [], source, poster, tiles = [], words, names = this.layout.names}) {
    const figures = tiles.map(index => {
      const name = names[index], canvas = make('canvas', {role: 'img', ariaLabel: `${name}, ${words}`});
      if (this.layout.width) this.still(canvas, index);
      this.screens.push({source, index, canvas});
      return make('figure', {}, canvas, make('figcaption', {textContent: name}));
    });
    const view = make('div', {className: 'view'}, ...(title ? [make('h4', {textContent: title})] : []), ...notes, ...figures);
    if (title) Object.assign(view, {role: 'group', ariaLabel: title});
    if (poster) view.style.setProperty('--poster', poster);
    return view;
  }

  // a tile's part of the poster, behind what is drawn later
  still(canvas, index) {
    const {width, height} = Object.assign(canvas, this.size(this.layout)), {layout} = this;
    const percent = (part, whole) => `${100 * part / whole}%`;
    Object.assign(canvas.style, {
      backgroundSize: `${percent(layout.width, width)} ${percent(layout.height, height)}`,
      backgroundPosition: `${percent(index * (width + layout.gap), layout.width - width)} ${percent(layout.header, layout.height - height)}`,
    });
  }

  // of one tile, from the width and height of all
  size({width, height}) {
    const {names, gap, header, footer} = this.layout;
    return {width: Math.floor((width - gap * (names.length - 1)) / names.length), height: height - header - footer};
  }

  connect(screen, video) {
    if (!video) return screen.canvas.replaceWith(make('p', {className: 'small', textContent: 'This video can not be read: keep the folder together.'}));
    const {width, height} = this.size({width: video.videoWidth, height: video.videoHeight});
    if (screen.canvas.width !== width || screen.canvas.height !== height) Object.assign(screen.canvas, {width, height});
    Object.assign(screen, {video, left: screen.index * (width + this.layout.gap), top: this.layout.header});
  }

  async to(frame) {
    this.wanted = frame;
    if (this.busy) return;
    this.busy = true;
    while (this.frame !== this.wanted) {
      const next = this.wanted, turn = this.turn;
      await Promise.all(this.videos.map(video => sought(video, Math.min(next + 0.5, video.duration * this.fps - 0.5) / this.fps)));
      if (turn === this.turn) this.draw(next);
    }
    this.busy = false;
  }

  draw(frame) {
    this.frame = frame;
    for (const {video, canvas, left, top} of this.screens) {
      if (video?.readyState > 1) canvas.getContext('2d').drawImage(video, left, top, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
    }
    this.slider.value = frame;
    this.slider.setAttribute('aria-valuetext', `frame ${frame + 1} of ${this.frames}, ${(frame / this.fps).toFixed(2)} seconds`);
    this.count.textContent = `frame ${frame + 1} of ${this.frames} · ${(frame / this.fps).toFixed(2)} s`;
    for (const head of this.root.parentElement.querySelectorAll('.playhead')) {
      const {left, right} = head.dataset, x = Number(left) + (right - left) * frame / Math.max(this.frames - 1, 1);
      head.setAttribute('x1', x);
      head.setAttribute('x2', x);
    }
  }

  async play(on) {
    this.playing = on;
    this.button.textContent = on ? 'Pause' : 'Play';
    const turn = this.turn;
    if (!on || this.running === turn) return;
    this.running = turn;
    while (this.playing && turn === this.turn) {
      const began = performance.now();
      await this.to((this.frame + 1) % this.frames);
      await pause(Math.max(10, 1000 / this.fps - (performance.now() - began)));
    }
    if (this.running === turn) this.running = -1;
  }

  // let go of the videos: browsers hold some 75 at once.  The canvases keep what they show.
  leave() {
    for (const video of this.videos) { video.removeAttribute('src'); video.load(); }
    this.videos = [];
    return ++this.turn;
  }
}
