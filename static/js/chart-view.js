/* Which piece of time the charts of a page show: a range up to now, or what somebody zoomed into; and which marks are
   on them. The address holds all of it, so that a link shows the same. Times are Unix milliseconds. */
(function () {
  'use strict';
  const SHORTEST = 30e3, LONGEST = 92 * 86400e3;
  const day = new Intl.DateTimeFormat(window.language, { dateStyle: 'medium', timeStyle: 'short' });
  const clock = new Intl.DateTimeFormat(window.language, { dateStyle: 'medium', timeStyle: 'medium' });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  /* changed(fetch) is called when something else is to be shown; fetch says whether other points are wanted. */
  window.chartView = function (box, changed) {
    const given = new URLSearchParams(location.search);
    const time = (name) => (/^\d{10,14}$/.test(given.get(name) || '') ? Number(given.get(name)) : null);
    const view = {
      range: box.dataset.range, from: time('from'), to: time('to'),
      hidden: new Set((given.get('hide') || '').split(',').filter(Boolean)),
      shown: { from: Date.now() - 3600e3, to: Date.now() },
      get zoomed() { return view.from !== null; },
    };
    const length = view.to - view.from;
    if (view.from === null || view.to === null || length < SHORTEST || length > LONGEST) { view.from = view.to = null; }

    function keep() {
      const address = new URLSearchParams(location.search);
      const put = (name, value) => { if (value) { address.set(name, value); } else { address.delete(name); } };
      put('range', view.range);
      put('from', view.from);
      put('to', view.to);
      put('hide', Array.from(view.hidden).join(','));
      history.replaceState(null, '', '?' + address.toString().replaceAll('%2C', ',') + location.hash);
    }

    function tools() {
      box.querySelectorAll('[data-range-key]').forEach((link) => {
        if (link.dataset.rangeKey === view.range && !view.zoomed) { link.setAttribute('aria-current', 'true'); } else { link.removeAttribute('aria-current'); }
      });
      box.querySelectorAll('a[download]').forEach((link) => { link.search = view.query(); }); // files of what is shown
      box.querySelectorAll('[data-zoom=reset]').forEach((button) => { button.hidden = !view.zoomed; });
      box.querySelectorAll('[data-marks]').forEach((button) => { button.setAttribute('aria-pressed', !view.hidden.has(button.dataset.marks)); });
    }

    view.query = () => 'range=' + view.range + (view.zoomed ? '&from=' + view.from + '&to=' + view.to : '');

    view.zoom = function (from, to) {
      const now = Date.now(), middle = (from + to) / 2;
      const span = Math.min(Math.max(to - from, SHORTEST), LONGEST);
      view.to = Math.round(Math.min(middle + span / 2, now));
      view.from = Math.round(view.to - span);
      keep();
      tools();
      changed(true);
    };

    view.reset = function (range) {
      view.range = range || view.range;
      view.from = view.to = null;
      keep();
      tools();
      changed(true);
    };

    /* What the charts show now, in words; in the zone of the viewer. */
    view.say = function (from, to) {
      view.shown = { from, to };
      const words = (to - from < 600e3 ? clock : day).formatRange(from, to) + ', ' + zone;
      box.querySelectorAll('[data-shown]').forEach((place) => { if (place.textContent !== words) { place.textContent = words; } });
    };

    const MOVES = {
      earlier: (from, to) => view.zoom(from - (to - from) / 2, to - (to - from) / 2),
      later: (from, to) => view.zoom(from + (to - from) / 2, to + (to - from) / 2),
      closer: (from, to) => view.zoom(from + (to - from) / 4, to - (to - from) / 4),
      wider: (from, to) => view.zoom(from - (to - from) / 2, to + (to - from) / 2),
      reset: () => view.reset(),
    };
    box.addEventListener('click', (event) => {
      const tool = event.target.closest('[data-range-key], [data-zoom], [data-marks]');
      if (tool === null || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
      if (tool.dataset.rangeKey) { event.preventDefault(); view.reset(tool.dataset.rangeKey); }
      if (tool.dataset.zoom) { MOVES[tool.dataset.zoom](view.shown.from, view.shown.to); }
      if (tool.dataset.marks) {
        const kind = tool.dataset.marks;
        if (!view.hidden.delete(kind)) { view.hidden.add(kind); }
        keep();
        tools();
        changed(false);
      }
    });
    tools();
    return view;
  };
})();
