// A study's clips: both runs beside the original, in step; a row of the table chooses.
{
  const root = document.getElementById('viewer'), player = new Player(root, JSON.parse(root.dataset.layout));
  const buttons = [...document.querySelectorAll('#votes button')];
  const choose = button => {
    const {source, fps, tiles, names} = JSON.parse(button.dataset.clip), words = button.textContent;
    for (const other of buttons) {
      other.closest('tr').classList.toggle('here', other === button);
      if (other === button) other.ariaCurrent = 'true'; else other.removeAttribute('aria-current');
    }
    document.getElementById('clip').textContent = words;
    player.show([{source, tiles, names, words}], fps);
  };
  for (const button of buttons) { button.disabled = false; button.onclick = () => choose(button); }
  document.getElementById('seen').hidden = false;
  if (buttons.length) choose(buttons[0]);
}
