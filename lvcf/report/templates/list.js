// Sorting and filtering by status and by figure.  A list's items carry data-status and data-values, a JSON object of numbers.
for (const tools of document.querySelectorAll('.tools[data-list]')) {
  const list = document.getElementById(tools.dataset.list), items = [...list.children];
  const values = new Map(items.map(item => [item, JSON.parse(item.dataset.values)]));
  const {figure, low, high, order} = tools.elements, told = tools.querySelector('output');
  const heads = [...(list.closest('table')?.querySelectorAll('th[data-figure]') ?? [])];
  const buttons = [...tools.querySelectorAll('[data-status]')];
  let status = '', down = false;

  const short = value => String(Number(value.toPrecision(3)));
  const number = input => input.value === '' ? null : Number(input.value);
  const fits = item => {
    const value = values.get(item)[figure.value], from = number(low), to = number(high);
    if (status && item.dataset.status !== status) return false;
    if (!figure.value || (from === null && to === null)) return true;
    return value !== undefined && (from === null || value >= from) && (to === null || value <= to);
  };
  const compare = (one, other) => {  // what has no value comes last in either order
    const [a, b] = [one, other].map(item => values.get(item)[figure.value]);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return down ? b - a : a - b;
  };
  const show = () => {
    for (const item of items) item.hidden = !fits(item);
    const sorted = figure.value ? [...items].sort(compare) : down ? [...items].reverse() : items;
    list.append(...sorted);
    const title = figure.selectedOptions[0].textContent;
    for (const item of items) {
      const note = item.querySelector('.sorted');
      if (note) note.textContent = figure.value ? `${title}: ${values.get(item)[figure.value] ?? 'unavailable'}` : '';
    }
    for (const head of heads) {
      if (head.dataset.figure === figure.value) head.ariaSort = down ? 'descending' : 'ascending';
      else head.removeAttribute('aria-sort');
    }
    order.textContent = figure.value ? (down ? 'largest first' : 'smallest first') : down ? 'reversed' : 'as they come';
    low.disabled = high.disabled = !figure.value;
    const known = items.map(item => values.get(item)[figure.value]).filter(value => value !== undefined);
    [low.placeholder, high.placeholder] = known.length && figure.value ? [Math.min, Math.max].map(end => short(end(...known))) : ['', ''];
    for (const button of buttons) button.ariaPressed = button.dataset.status === status;
    told.textContent = `${items.filter(item => !item.hidden).length} of ${items.length} shown`;
    list.dispatchEvent(new Event('listed'));
  };

  for (const button of buttons) button.onclick = () => { status = button.dataset.status; show(); };
  order.onclick = () => { down = !down; show(); };
  figure.onchange = () => { low.value = high.value = ''; show(); };
  low.oninput = high.oninput = show;
  tools.onsubmit = event => event.preventDefault();
  tools.onreset = () => { status = ''; down = false; setTimeout(show); };  // the fields are empty after the event
  for (const head of heads) head.querySelector('button').onclick = () => {
    down = head.dataset.figure === figure.value ? !down : head.dataset.better === 'higher';
    if (head.dataset.figure !== figure.value) low.value = high.value = '';
    figure.value = head.dataset.figure;
    show();
  };
  tools.hidden = false;
  for (const head of heads) head.querySelector('button').disabled = false;
  list.addEventListener('listed', () => mark(list, heads, values));
  show();
}

// The best of the rows shown in every column that has a direction, and those whose interval reaches it.  A column with
// data-like is best where it is nearest to another.
function mark(list, heads, values) {
  const rows = [...list.children];
  for (const head of heads.filter(head => head.dataset.better || head.dataset.like)) {
    const {figure, better, like} = head.dataset;
    const score = row => {
      const {[figure]: value, [like]: aim} = values.get(row);
      if (value === undefined || (like && aim === undefined)) return undefined;
      return like ? -Math.abs(value - aim) : better === 'higher' ? value : -value;
    };
    const scored = rows.filter(row => !row.hidden && !('control' in row.dataset) && score(row) !== undefined);
    const top = Math.max(...scored.map(score)), best = scored.filter(row => score(row) === top);
    for (const row of rows) {
      const cell = row.cells[head.cellIndex], sign = cell.querySelector('.mark');
      if (!sign) continue;
      const [from, to] = [cell.dataset.low, cell.dataset.high].map(end => end === undefined ? NaN : Number(end));
      const kind = scored.length < 2 || !scored.includes(row) ? '' : best.includes(row) ? 'best'
        : best.some(winner => from <= values.get(winner)[figure] && values.get(winner)[figure] <= to) ? 'level' : '';
      cell.classList.toggle('best', kind === 'best');
      sign.textContent = {best: '★', level: '☆', '': ''}[kind];
      sign.hidden = !kind;
      sign.ariaLabel = {best: 'best', level: 'its interval reaches the best', '': null}[kind];
    }
  }
}
