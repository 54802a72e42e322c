/* Tables and the map of squares by keyboard, and rows that can be ticked. */
(function () {
  'use strict';
  const typing = (target) => target.closest('input, select, textarea, [contenteditable]') !== null;

  /* ticked rows: the bar with the actions counts them */
  function count(form) {
    const boxes = Array.from(form.querySelectorAll('tbody input[type=checkbox]'));
    const chosen = boxes.filter((box) => box.checked);
    boxes.forEach((box) => box.closest('tr').setAttribute('aria-selected', box.checked));
    const all = form.querySelector('thead input[type=checkbox]');
    if (all) {
      all.checked = boxes.length > 0 && chosen.length === boxes.length;
      all.indeterminate = chosen.length > 0 && chosen.length < boxes.length;
    }
    const bar = form.querySelector('.bulk');
    if (bar) {
      bar.hidden = chosen.length === 0;
      bar.querySelector('[data-count]').textContent = chosen.length;
    }
  }
  document.addEventListener('change', (event) => {
    const form = event.target.closest('form[data-bulk]');
    if (form === null || event.target.type !== 'checkbox') { return; }
    if (event.target.closest('thead')) {
      form.querySelectorAll('tbody input[type=checkbox]').forEach((box) => { box.checked = event.target.checked; });
    }
    count(form);
  });
  function recount() { document.querySelectorAll('form[data-bulk]').forEach(count); }
  document.addEventListener('morphed', recount);
  recount();

  /* j and k go through the rows, Enter opens, x ticks, / searches */
  function rows() { return Array.from(document.querySelectorAll('.table[data-keys] tbody tr')); }
  function step(by) {
    const list = rows();
    if (list.length === 0) { return; }
    const now = list.indexOf(document.activeElement.closest('tr'));
    const row = list[Math.min(Math.max(now + by, 0), list.length - 1)];
    row.tabIndex = -1;
    row.focus();
    row.scrollIntoView({ block: 'nearest' });
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) { return; }
    const row = document.activeElement.closest('.table[data-keys] tbody tr');
    if (event.key === '/') {
      const search = document.querySelector('[data-search]');
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    } else if (event.key === 'j') { step(1);
    } else if (event.key === 'k') { step(-1);
    } else if (event.key === 'Enter' && row && event.target === row) {
      const link = row.querySelector('a[href]');
      if (link) { link.click(); }
    } else if (event.key === 'x' && row) {
      const box = row.querySelector('input[type=checkbox]');
      if (box) { box.click(); }
    }
  });

  /* the map of squares is one stop of the Tab key; arrows move inside it */
  function columns(squares) {
    const top = squares[0].offsetTop;
    const wrap = squares.findIndex((square) => square.offsetTop > top);
    return wrap === -1 ? squares.length : wrap;
  }
  document.addEventListener('keydown', (event) => {
    const map = event.target.closest && event.target.closest('.cells[data-map]');
    if (!map) { return; }
    const squares = Array.from(map.querySelectorAll('a'));
    const now = squares.indexOf(event.target);
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(squares), ArrowUp: -columns(squares), Home: -now, End: squares.length - 1 - now };
    if (!(event.key in moves)) { return; }
    event.preventDefault();
    const next = squares[now + moves[event.key]];
    if (next) {
      squares[now].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  });
})();
