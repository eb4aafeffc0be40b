// One clip under several methods, in step, and a table of clips and methods to choose it from: of an ablation, and of a
// steering run, whose clips are in groups by intervention and lie in the run's own folder.
{
  const data = JSON.parse(document.getElementById('comparison').textContent);
  const get = id => document.getElementById(id);
  const form = get('choices'), {figure, group} = form.elements, table = get('matrix');
  const player = new Player(get('viewer'), data.layout);
  let shown = data.chosen, status = '', sorting = {method: null, down: false}, current = null;

  const {figures, methods, clips} = data;
  const value = (clip, method) => clip.methods[method]?.values[Number(figure.value)] ?? null;
  const fits = clip => {
    if (group?.value && clip.group !== group.value) return false;
    const all = shown.map(method => clip.methods[method]).filter(Boolean);
    if (!status) return true;
    if (status === 'all') return all.every(one => one.status === 'reached');
    return all.some(one => status === 'failed' ? one.status === status : !['reached', 'failed'].includes(one.status));
  };
  const sorted = () => {
    const found = clips.filter(fits), {method, down} = sorting;
    if (method === null) return down ? found.reverse() : found;
    return found.sort((one, other) => {
      const [a, b] = [value(one, method), value(other, method)];
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? b - a : a - b;
    });
  };
  const head = (name, method) => {
    const button = make('button', {type: 'button', textContent: name});
    button.onclick = () => {
      const down = sorting.method === method ? !sorting.down : false;
      sorting = {method, down};
      list();
      table.tHead.rows[0].cells[method === null ? 0 : shown.indexOf(method) + 1].firstChild.focus();
    };
    const cell = make('th', {scope: 'col', className: method === null ? '' : 'num'}, button);
    if (sorting.method === method) cell.ariaSort = sorting.down ? 'descending' : 'ascending';
    return cell;
  };
  const badge = status => make('span', {className: `badge ${status}`, textContent: data.statuses[status]});
  const entry = (clip, method) => {
    const one = clip.methods[method];
    if (!one) return make('td', {className: 'num gone', textContent: 'not run'});
    const number = value(clip, method);
    const sign = make('span', {className: `badge ${one.status}`, role: 'img', ariaLabel: data.statuses[one.status]});
    return make('td', {className: 'num'}, number === null ? '–' : String(number), ' ', sign);
  };
  const list = () => {
    const found = sorted();
    table.tHead.rows[0].replaceChildren(head('clip', null), ...shown.map(method => head(methods[method].name, method)));
    table.tBodies[0].replaceChildren(...found.map(clip => {
      const button = make('button', {type: 'button', textContent: clip.id});
      button.onclick = () => choose(clip);
      const row = make('tr', {}, make('th', {scope: 'row'}, button), ...shown.map(method => entry(clip, method)));
      row.dataset.id = clip.id;
      return row;
    }));
    for (const button of form.querySelectorAll('[data-status]')) button.ariaPressed = button.dataset.status === status;
    get('found').textContent = `${found.length} of ${clips.length} shown`;
    point();
    return found;
  };
  const point = () => {
    for (const row of table.tBodies[0].rows) {
      const here = row.dataset.id === current?.id;
      row.classList.toggle('here', here);
      if (here) row.ariaCurrent = 'true'; else row.removeAttribute('aria-current');
    }
  };

  const choose = clip => {
    current = clip;
    get('clip').textContent = clip ? clip.id : 'No clip';
    point();
    player.show(clip ? views(clip) : [], clip?.fps ?? 1);
    get('viewer').dispatchEvent(new CustomEvent('chosen', {detail: {clip, shown, methods}}));
  };
  // the factual stands beside the first method; another method's factual only where it is another clip
  const views = clip => {
    let before = null;
    return shown.flatMap(index => {
      const {name, folder} = methods[index], one = clip.methods[index];
      if (!one) return [{title: name, notes: [make('p', {className: 'gone', textContent: 'This method was not run on this clip.'})]}];
      const notes = [make('p', {className: 'small'}, badge(one.status)), make('p', {className: 'small', textContent: one.told})];
      if (figures.length) notes.push(make('p', {className: 'small quiet', textContent: `${figure.selectedOptions[0].textContent}: ${value(clip, index) ?? 'unavailable'}`}));
      if (one.status === 'failed') return [{title: name, notes}];
      const source = [folder, 'predictions', one.folder, 'panel.mp4'].filter(Boolean).map(encodeURIComponent).join('/');
      const found = [{title: name, notes, source, tiles: [1, 2], words: `${clip.id}, ${name}`}];
      if (one.factual !== before) found.unshift({title: before ? `Factual of ${name}` : 'Factual', source, tiles: [0], words: clip.id});
      before ??= one.factual;
      return found;
    });
  };
  const beside = step => {
    const found = sorted(), at = found.indexOf(current);
    if (found.length) choose(found[(at + step + found.length) % found.length]);
  };

  for (const box of form.querySelectorAll('[name=method]')) box.onchange = () => {
    shown = [...form.querySelectorAll('[name=method]:checked')].map(checked => Number(checked.value));
    if (!shown.includes(sorting.method)) sorting = {method: null, down: false};
    list();
    choose(current);
  };
  const narrow = () => {
    const found = list();
    if (!found.includes(current)) choose(found[0] ?? null);
  };
  for (const button of form.querySelectorAll('[data-status]')) button.onclick = () => { status = button.dataset.status; narrow(); };
  if (group) group.onchange = narrow;
  figure.onchange = () => { list(); choose(current); };
  form.onsubmit = event => event.preventDefault();
  get('previous').onclick = () => beside(-1);
  get('next').onclick = () => beside(1);
  get('compare').hidden = false;
  list();
  choose(clips[0] ?? null);
}
