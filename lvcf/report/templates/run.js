// A run's clips: each plays while it is near the window.
for (const root of document.querySelectorAll('.player')) {
  const still = root.querySelector('video'), source = still.getAttribute('src');
  const player = new Player(root, JSON.parse(root.dataset.layout));
  const tiles = player.layout.names.map((_, index) => index);
  still.removeAttribute('src');
  const near = ([entry]) => {
    if (!entry.isIntersecting) player.leave();
    else if (!player.videos.length) player.show([{source, tiles, words: root.dataset.words}], Number(root.dataset.fps));
  };
  new IntersectionObserver(near, {rootMargin: '50%'}).observe(root.parentElement);
}
