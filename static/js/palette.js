/* Ctrl K: find a device, a model, a rollout or a group by a few letters, and go there. */
(function () {
  'use strict';
  const dialog = document.getElementById('palette');
  const input = dialog.querySelector('input');
  const list = dialog.querySelector('ul');
  let asked = null;
  let timer = 0;

  function open() {
    if (!dialog.open) { dialog.showModal(); }
    input.select();
    search();
  }

  function select(option) {
    list.querySelectorAll('[aria-selected=true]').forEach((other) => other.setAttribute('aria-selected', 'false'));
    if (option) {
      option.setAttribute('aria-selected', 'true');
      option.scrollIntoView({ block: 'nearest' });
      input.setAttribute('aria-activedescendant', option.id);
    } else { input.removeAttribute('aria-activedescendant'); }
  }

  function line(text) {
    const item = document.createElement('li');
    item.textContent = text;
    list.replaceChildren(item);
  }

  function show(found, query) {
    list.replaceChildren();
    found.forEach((hit, place) => {
      const item = document.createElement('li');
      item.id = 'palette-' + place;
      item.setAttribute('role', 'option');
      item.dataset.url = hit.url;
      const name = document.createElement('span');
      name.className = 'clip';
      name.textContent = hit.label;
      const detail = document.createElement('small');
      detail.textContent = hit.detail;
      item.append(name, detail);
      list.append(item);
    });
    if (found.length === 0) { line(query ? gettext('Nothing is called “{query}”.', { query }) : gettext('Type a few letters.')); }
    select(list.querySelector('[role=option]'));
  }

  async function search() {
    const query = input.value.trim();
    if (asked) { asked.abort(); }
    asked = new AbortController();
    try {
      const answer = await fetch(document.body.dataset.findUrl + '?q=' + encodeURIComponent(query), { signal: asked.signal });
      if (!answer.ok || answer.redirected) { throw new Error(answer.status); }
      show((await answer.json()).found, query);
    } catch (error) {
      if (error.name !== 'AbortError') { line(gettext('The server did not answer. Try again in a moment.')); }
    }
  }

  function go(option) { if (option && option.dataset.url) { location.assign(option.dataset.url); } }

  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') { event.preventDefault(); open(); }
  });
  document.addEventListener('click', (event) => { if (event.target.closest('[data-palette]')) { open(); } });
  input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(search, 120); });
  input.addEventListener('keydown', (event) => {
    const options = Array.from(list.querySelectorAll('[role=option]'));
    const now = options.findIndex((option) => option.getAttribute('aria-selected') === 'true');
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const by = event.key === 'ArrowDown' ? 1 : -1;
      if (options.length) { select(options[(now + by + options.length) % options.length]); }
    } else if (event.key === 'Enter') { event.preventDefault(); go(options[now]);
    } else if (event.key === 'Escape') { event.preventDefault(); dialog.close(); } // else it empties the field first
  });
  list.addEventListener('click', (event) => go(event.target.closest('[role=option]')));
})();
