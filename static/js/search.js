/* A search field that offers what could stand at the cursor. Without it the field is a search field all the same. */
(function () {
  'use strict';
  const WAIT = 120;
  const list = document.createElement('ul');
  list.id = 'offers';
  list.className = 'offers';
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', gettext('Completions'));
  list.hidden = true;
  let field = null;   // the one that the list stands under
  let place = null;   // what an offer takes: {from, to, value}
  let timer = 0;
  let asked = null;

  const options = () => Array.from(list.querySelectorAll('[role=option]'));
  const chosen = () => list.querySelector('[aria-selected=true]');

  // The page around the field may be fetched again, which takes these away.
  function dress() {
    field.setAttribute('role', 'combobox');
    field.setAttribute('aria-autocomplete', 'list');
    field.setAttribute('aria-controls', list.id);
    field.setAttribute('aria-expanded', String(!list.hidden));
    const option = list.hidden ? null : chosen();
    if (option) { field.setAttribute('aria-activedescendant', option.id); }
    else { field.removeAttribute('aria-activedescendant'); }
  }

  function hide() {
    clearTimeout(timer);
    if (asked) { asked.abort(); }
    list.hidden = true;
    if (field) { dress(); }
  }

  // Outside of what is fetched again, and inside the field's dialog: what lies outside of an open one cannot be clicked.
  function stand() {
    (field.closest('dialog') || document.body).append(list);
    const box = field.getBoundingClientRect();
    list.style.left = box.left + 'px';
    list.style.top = box.bottom + 4 + 'px';
    list.style.width = Math.min(box.width, 680) + 'px';
    list.style.maxHeight = Math.max(120, Math.min(360, innerHeight - box.bottom - 16)) + 'px';
  }

  function select(option) {
    options().forEach((other) => other.setAttribute('aria-selected', other === option));
    if (option) { option.scrollIntoView({ block: 'nearest' }); }
    dress();
  }

  function show(offers) {
    list.replaceChildren();
    offers.forEach((offer, number) => {
      const item = document.createElement('li');
      item.id = 'offer-' + number;
      item.setAttribute('role', 'option');
      item.setAttribute('aria-selected', 'false');
      item.dataset.text = offer.text;
      if (offer.open) { item.dataset.open = 'yes'; }
      const text = document.createElement('span');
      text.className = 'mono';
      text.textContent = offer.text;
      const detail = document.createElement('small');
      detail.textContent = offer.detail;
      item.append(text, detail);
      list.append(item);
    });
    list.hidden = offers.length === 0;
    stand();
    dress();
  }

  async function ask() {
    const value = field.value;
    if (asked) { asked.abort(); }
    asked = new AbortController();
    try {
      const query = '?q=' + encodeURIComponent(value) + '&at=' + field.selectionStart;
      const answer = await fetch(field.dataset.complete + query, { signal: asked.signal });
      if (!answer.ok || answer.redirected) { hide(); return; }
      const found = await answer.json();
      if (document.activeElement !== field || field.value !== value) { return; }
      place = { from: found.from, to: found.to };
      show(found.offers.filter((offer) => offer.text !== value.slice(found.from, found.to)));
    } catch (error) {
      if (error.name !== 'AbortError') { hide(); }
    }
  }

  function soon() { clearTimeout(timer); timer = setTimeout(ask, WAIT); }

  function take(option) {
    const open = option.dataset.open === 'yes';
    const after = field.value.slice(place.to);
    const text = option.dataset.text + (open || /^[\s)]/.test(after) ? '' : ' ');
    field.value = field.value.slice(0, place.from) + text + after;
    const at = place.from + text.length;
    field.setSelectionRange(at, at);
    hide();
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }

  const completes = (target) => target instanceof HTMLInputElement && target.dataset.complete !== undefined;

  document.addEventListener('focusin', (event) => {
    if (!completes(event.target)) { if (!list.contains(event.target)) { hide(); } return; }
    field = event.target;
    dress();
  });
  addEventListener('scroll', (event) => { if (!list.hidden && event.target !== list) { hide(); } }, true);
  addEventListener('resize', hide);
  document.addEventListener('htmx:afterSwap', () => { if (field && document.activeElement === field) { dress(); } });
  document.addEventListener('focusout', (event) => { if (event.target === field) { hide(); } });
  document.addEventListener('input', (event) => { if (event.target === field) { soon(); } });
  document.addEventListener('click', (event) => { if (event.target === field && list.hidden) { soon(); } });

  document.addEventListener('keydown', (event) => {
    if (event.target !== field || event.isComposing) { return; }
    if (event.key === 'ArrowDown' && list.hidden) { event.preventDefault(); ask(); return; }
    if (list.hidden) { return; }
    const all = options();
    const now = all.indexOf(chosen());
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const by = event.key === 'ArrowDown' ? 1 : -1;
      select(all[now === -1 && by === -1 ? all.length - 1 : (now + by + all.length) % all.length]);
    } else if (event.key === 'Enter' && chosen()) {
      event.preventDefault();
      take(chosen());
    } else if (event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
      hide();
    } else if (event.key === 'Enter') { hide(); }
  });

  // Before the field loses the focus.
  list.addEventListener('mousedown', (event) => {
    event.preventDefault();
    const option = event.target.closest('[role=option]');
    if (option) { take(option); }
  });
})();
