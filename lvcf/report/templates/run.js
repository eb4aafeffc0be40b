// A run's clips: each plays while it is near the window.
for (const root of document.querySelectorAll('.player')) {
  const video = root.querySelector('video'), source = video.getAttribute('src'), poster = video.getAttribute('poster');
  const player = new Player(root, JSON.parse(root.dataset.layout));
  const views = [{source, tiles: player.layout.names.map((_, index) => index), words: root.dataset.words}];
  // the still of what changed most: on the tiles until the video is there, and in print
  video.replaceWith(make('img', {src: poster, alt: video.getAttribute('aria-label'), width: video.width, height: video.height}));
  root.style.setProperty('--poster', `url("${poster}")`);
  player.lay(views);
  const near = ([entry]) => {
    if (!entry.isIntersecting) player.leave();
    else if (!player.videos.length) player.show(views, Number(root.dataset.fps));
  };
  new IntersectionObserver(near, {rootMargin: '50%'}).observe(root.parentElement);
}
