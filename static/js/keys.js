/* Keys: j and k go through the rows, Enter opens, x ticks, / searches, s keeps the view, g and a letter go to a section,
   ? tells them. The dialog that tells them is the server's (parts/keys.html). */
(function () {
  'use strict';
  const ROWS = '.table[data-keys] tbody tr, .rows[data-keys] > li';
  const WAIT = 1500;  // ms in which a letter belongs to the g before it
  let going = 0;

  const typing = (target) => target.closest('input, select, textarea, [contenteditable]') !== null;

  function step(by) {
    const list = Array.from(document.querySelectorAll(ROWS));
    if (list.length === 0) { return; }
    const now = list.indexOf(document.activeElement.closest(ROWS));
    const row = list[Math.min(Math.max(now + by, 0), list.length - 1)];
    row.tabIndex = -1;
    row.focus();
    row.scrollIntoView({ block: 'nearest' });
  }

  function search() {
    const field = document.querySelector('[data-search]');
    if (field) { field.focus(); field.select(); }
    return field !== null;
  }

  function open(id) {
    const button = document.querySelector('[data-open="#' + id + '"]');
    if (button) { button.click(); }
    return button !== null;
  }

  function inRow(what) {
    const row = document.activeElement.closest(ROWS);
    const found = row && row.querySelector(what);
    if (found) { found.click(); }
  }

  /* What a key does; true when the browser shall do nothing with it. */
  const KEYS = {
    '/': search,
    '?': () => open('keys'),
    s: () => open('save-view'),
    j: () => step(1),
    k: () => step(-1),
    x: () => inRow('input[type=checkbox]'),
    Enter: (event) => { if (event.target.matches(ROWS)) { inRow('a[href]'); } },
    g: () => { going = Date.now(); },
  };

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) { return; }
    const section = Date.now() - going < WAIT && document.querySelector('[data-go="' + CSS.escape(event.key) + '"]');
    going = 0;
    if (section) { event.preventDefault(); section.click(); return; }
    if (Object.hasOwn(KEYS, event.key) && KEYS[event.key](event)) { event.preventDefault(); }
  });
})();
