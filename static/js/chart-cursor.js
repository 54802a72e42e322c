/* One cursor over all charts of a page: a line in each at the same time, with what was measured there. It follows the
   pointer, or the arrow keys on a chart that has the focus; Escape takes it away. */
(function () {
  'use strict';
  const moment = new Intl.DateTimeFormat(window.language, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

  /* charts(): [{element, read(at) → [words]}]; times(): rising Unix ms that were measured; span(): {from, to}. */
  window.chartCursor = function (box, { charts, times, span }) {
    let at = null, waiting = 0, focused = null;

    /* The area of a figure in which data are drawn, beside the chart's own corner. */
    function area(element) {
      const plot = element.querySelector('.nsewdrag');
      if (plot === null || element.hidden) { return null; }
      const inner = plot.getBoundingClientRect(), outer = element.parentNode.getBoundingClientRect();
      return { left: inner.left - outer.left, top: inner.top - outer.top, width: inner.width, height: inner.height, whole: outer.width };
    }

    function parts(element) {
      const chart = element.parentNode;
      let line = chart.querySelector('.chart-cursor');
      if (line === null) {
        line = document.createElement('span');
        line.className = 'chart-cursor';
        const words = document.createElement('span');
        words.className = 'chart-read';
        chart.append(line, words);
      }
      return { line, words: chart.querySelector('.chart-read') };
    }

    function nearest(when) {
      const known = times();
      let low = 0, high = known.length;
      while (low < high) { const middle = (low + high) >> 1; if (known[middle] < when) { low = middle + 1; } else { high = middle; } }
      return low > 0 && (low === known.length || when - known[low - 1] < known[low] - when) ? low - 1 : low;
    }

    function show() {
      waiting = 0;
      const { from, to } = span();
      const drawn = charts().map((one) => ({ ...one, place: area(one.element), ...parts(one.element) }));
      box.dataset.cursor = at === null ? '' : at;
      drawn.forEach(({ element, place, line, words, read }) => {
        const off = at === null || place === null || at < from || at > to;
        line.hidden = words.hidden = off;
        if (off) { return; }
        const x = place.left + (at - from) / (to - from) * place.width;
        line.style.left = x + 'px';
        line.style.top = place.top + 'px';
        line.style.height = place.height + 'px';
        const said = [moment.format(at), ...read(at)];
        words.replaceChildren(...said.map((text) => { const row = document.createElement('span'); row.textContent = text; return row; }));
        words.style.top = place.top + 'px';
        const right = x > place.whole / 2;
        words.style.left = right ? 'auto' : x + 8 + 'px';
        words.style.right = right ? place.whole - x + 8 + 'px' : 'auto';
        if (element.parentNode === focused) { box.querySelector('[data-cursor-words]').textContent = said.join(', '); }
      });
    }
    function move(to) {
      at = to;
      if (!waiting) { waiting = requestAnimationFrame(show); }
    }

    box.addEventListener('pointermove', (event) => {
      const chart = event.target.closest('.chart[data-cursor-stop]');
      const place = chart && area(chart.querySelector('[data-figure]'));
      if (!place) { if (at !== null && focused === null) { move(null); } return; }
      const share = (event.clientX - chart.getBoundingClientRect().left - place.left) / place.width;
      const { from, to } = span(), known = times();
      if (share < 0 || share > 1 || known.length === 0) { move(null); return; }
      const when = from + share * (to - from), point = known[nearest(when)];
      // Between two points that are far apart nothing was measured: the line stays where the pointer is.
      move(point !== undefined && Math.abs(point - when) < (to - from) / 100 ? point : when);
    });
    box.addEventListener('pointerleave', () => move(null));
    box.addEventListener('focusin', (event) => { focused = event.target.closest('.chart[data-cursor-stop]'); });
    box.addEventListener('focusout', () => { focused = null; move(null); });
    box.addEventListener('keydown', (event) => {
      if (focused === null) { return; }
      const known = times(), { from, to } = span();
      const first = nearest(from), last = Math.max(nearest(to), 0);
      const now = at === null ? last + 1 : nearest(at);
      const steps = { ArrowLeft: now - 1, ArrowRight: at === null ? last : now + 1, Home: first, End: last };
      if (event.key === 'Escape') { move(null); return; }
      if (!(event.key in steps) || known.length === 0) { return; }
      event.preventDefault();
      move(known[Math.min(Math.max(steps[event.key], first), last, known.length - 1)]);
    });
    return { again: () => { if (at !== null) { move(at); } } };
  };
})();
