// A run's clips: each plays while it is near the window.
for (const root of document.querySelectorAll('.player')) {
  const still = root.querySelector('video'), source = still.getAttribute('src');
  const player = new Player(root, JSON.parse(root.dataset.layout));
  const views = [{source, tiles: player.layout.names.map((_, index) => index), words: root.dataset.words}];
  still.removeAttribute('src');
  player.lay(views);
  const near = ([entry]) => {
    if (!entry.isIntersecting) player.leave();
    else if (!player.videos.length) player.show(views, Number(root.dataset.fps));
  };
  new IntersectionObserver(near, {rootMargin: '50%'}).observe(root.parentElement);
}
