/* Rows that can be ticked, and the map of squares by keyboard. */
(function () {
  'use strict';
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
  // Enter in a field of that bar does what stands beside the field, and not what the form's first button does.
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !event.target.dataset || !event.target.dataset.enter) { return; }
    event.preventDefault();
    event.target.form.querySelector('[name=do][value=' + event.target.dataset.enter + ']').click();
  });
  function recount() { document.querySelectorAll('form[data-bulk]').forEach(count); }
  document.addEventListener('morphed', recount);
  recount();

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
