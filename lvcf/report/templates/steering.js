// A steering run.  Marks the best method under every intervention; of the clip that compare.js chose, shows each method's
// prompt, what the evaluating judge answered, and its attempts.
for (const list of document.querySelectorAll('#interventions tbody')) {
  const heads = [...list.closest('table').querySelectorAll('th[data-figure]')];
  mark(list, heads, new Map([...list.children].map(row => [row, JSON.parse(row.dataset.values)])));
}
{
  const about = text => make('span', {className: 'about', textContent: text});
  const row = (name, note, asked, cells) => make('tr', {}, make('th', {scope: 'row'}, name, about(note)), make('td', {textContent: asked}), ...cells);
  const cell = (...content) => make('td', {}, ...content);
  const none = () => make('td', {className: 'quiet', textContent: '–'});
  const sign = right => make('span', {className: `badge ${right ? 'reached' : 'failed'}`, textContent: right ? 'right' : 'wrong'});

  const answered = answer => cell(answer.observed, ' ', sign(answer.realised), about(`confidence ${answer.confidence.toFixed(2)}`));
  const scrolled = (label, table) => make('div', {className: 'scroll framed', tabIndex: 0, role: 'region', ariaLabel: label}, table);
  const columns = names => make('thead', {}, make('tr', {}, ...names.map(name => make('th', {scope: 'col', textContent: name}))));

  // one column per method, one line per attribute
  const answers = (clip, shown) => {
    const of = tell => shown.map(({one}) => one?.attempts ? tell(one) : none());
    const lines = clip.asked.map(({name, role, before, after}) => row(
      name, role, role === 'stays' && before === after ? after : `${before} → ${after}`,
      of(one => one.answers[name] ? answered(one.answers[name]) : cell(make('span', {className: 'gone', textContent: 'unavailable'}))),
    ));
    const rows = [row('prompt', '', clip.source, of(one => cell(one.prompt)))];
    if (shown.some(({one}) => one?.negative)) rows.push(row('negative prompt', '', '', of(one => cell(one.negative || '–'))));
    rows.push(...lines, row('violations', 'wrong though not set', '', of(one => cell(one.violations || 'unavailable'))));
    rows.push(row('stopped', '', '', of(one => cell(one.stopped))), row('cost', '', '', of(one => cell(one.cost))));
    const head = columns(['', 'factual → expected', ...shown.map(({name}) => name)]);
    return scrolled('Prompts and answers', make('table', {className: 'answers'}, head, make('tbody', {}, ...rows)));
  };

  // a method's attempts, from the first prompt on
  const attempts = ({name, one}) => {
    const rows = one.attempts.map(({prompt, negative, right, said, kept}, place) => make('tr', {},
      make('th', {scope: 'row', textContent: place + 1}),
      cell(prompt, about(negative && `not: ${negative}`)),
      cell(right, about(kept ? '★ kept: the best' : '')),
      cell(said.join('; ') || '–'),
    ));
    const table = make('table', {}, columns(['attempt', 'prompt', 'right', 'criticism by the steering judge']), make('tbody', {}, ...rows));
    const parts = [scrolled(`Attempts of ${name}`, table), ...one.problems.map(problem => make('p', {className: 'hint', textContent: problem}))];
    if (one.progression) {
      const href = ['predictions', one.folder, 'progression.mp4'].map(encodeURIComponent).join('/');
      parts.push(make('p', {}, make('a', {href, textContent: 'The clip and every attempt, one after the other (progression.mp4)'})));
    }
    const count = `${one.attempts.length} attempt${one.attempts.length === 1 ? '' : 's'}`;
    return make('details', {}, make('summary', {textContent: `${name}: ${count}`}), ...parts);
  };

  const viewer = document.getElementById('viewer'), place = make('div', {id: 'more'});
  viewer?.after(place);
  viewer?.addEventListener('chosen', ({detail: {clip, shown, methods}}) => {
    const columns = clip ? shown.map(index => ({name: methods[index].name, one: clip.methods[index]})) : [];
    const finished = columns.some(({one}) => one?.attempts);
    const loops = columns.filter(({one}) => one?.attempts && (one.attempts.length > 1 || one.problems.length));
    place.replaceChildren(...(finished ? [answers(clip, columns), ...loops.map(attempts)] : []));
  });
}
