// A run's clips: each plays while it is near the window, with another run's of the same clip below it, in step.
for (const root of document.querySelectorAll('.player')) {
  const player = new Player(root, JSON.parse(root.dataset.layout));
  const tiles = player.layout.names.map((_, index) => index);
  const views = [...root.querySelectorAll('video')].map(video => {
    const [source, poster, {title}] = [video.getAttribute('src'), video.getAttribute('poster'), video.dataset];
    // the still of what changed most: on the tiles until the video is there, and in print
    video.replaceWith(make('img', {src: poster, alt: video.getAttribute('aria-label'), width: video.width, height: video.height}));
    return {title, source, poster: poster && `url("${poster}")`, tiles, words: title ? `${root.dataset.words}, ${title}` : root.dataset.words};
  });
  player.lay(views);
  const near = ([entry]) => {
    if (!entry.isIntersecting) player.leave();
    else if (!player.videos.length) player.show(views, Number(root.dataset.fps));
  };
  new IntersectionObserver(near, {rootMargin: '50%'}).observe(root.parentElement);
}
