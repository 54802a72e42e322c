/* The charts of one device. They ask for the whole range once, and then only for what came since their last point. */
(function () {
  'use strict';
  const box = document.querySelector('[data-series]');
  if (box === null) { return; }
  const promise = Number(box.dataset.promise), budget = Number(box.dataset.budget);
  const GIB = 1024 ** 3;
  const MARKS_EVERY = 15000;
  const coarse = matchMedia('(pointer: coarse)').matches;  // a drag scrolls the page there; buttons zoom

  // The page has a reset of its own, for all charts together.
  const CONFIG = { doubleClick: false, modeBarButtons: [['toImage']] };

  const line = (column, name, colour, more) => ({ column, name, colour, width: 1.75, ...more });
  const stage = (column, name, colour) => line(column, name, colour, { stack: true, width: 0.5 });
  const CHARTS = {
    latency: { unit: 'ms', words: true, limit: { at: promise, text: gettext('{limit} ms promise', { limit: promise }) }, lines: [line('latency_p50', 'p50', '--c2'), line('latency_p95', 'p95', '--c1', { width: 2.25 })] },
    stages: { unit: 'ms', limit: { at: budget, text: gettext('{limit} ms budget', { limit: budget }) }, lines: [stage('stage_queue', gettext('queue'), '--c6'), stage('stage_preprocess', gettext('preprocess'), '--c2'), stage('stage_compute', gettext('compute'), '--c1'), stage('stage_postprocess', gettext('postprocess'), '--c3'), stage('stage_network', gettext('network'), '--c4')] },
    cpu: { unit: '%', top: 100, lines: [line('cpu_percent', 'CPU', '--c1', { band: true })] },
    memory: { unit: 'GiB', scale: 1 / GIB, lines: [line('memory_used', gettext('in use'), '--c1', { band: true }), line('agent_memory', gettext('agent'), '--c3', { dash: 'dash' })], limitColumn: 'memory_total', limitText: (value) => gettext('{size} GiB in all', { size: Number(value.toFixed(1)) }) },
    temperature: { unit: '°C', lines: [line('temperature', gettext('temperature'), '--c5', { band: true })] },
    power: { unit: 'W', lines: [line('power', gettext('power'), '--c4', { band: true })] },
    energy: { unit: 'J', lines: [line('energy', gettext('a decision'), '--c4')] },
    network: { unit: 'kB/s', scale: 1 / 1000, lines: [line('network_rx', gettext('received'), '--c2'), line('network_tx', gettext('sent'), '--c1')] },
    storage: { unit: 'GiB', scale: 1 / GIB, lines: [line('disk_used', gettext('in use'), '--c1')] },
    wrong: { unit: '', lines: [line('errors', gettext('errors'), '--c5'), line('not_finite', 'NaN', '--c4', { dash: 'dash' })] },
    queued: { unit: '', lines: [line('queued', gettext('samples'), '--c2')] },
    rate: { unit: '/s', lines: [line('rate', gettext('decisions'), '--c1')] },
    success: { unit: '%', scale: 100, top: 100, lines: [line('success', gettext('success'), '--c1')] },
    cache: { unit: '%', scale: 100, top: 100, lines: [line('cache', gettext('cache hits'), '--c2')] },
  };

  let series = null;  // {at: [ms], <column>: […]}
  let marks = [], marksAt = 0;
  let asking = null, again = false;

  /* Plotly draws UTC: shift each point by the viewer's offset at that time, and back. */
  const local = (ms) => ms - new Date(ms).getTimezoneOffset() * 60000;
  const unlocal = (text) => { const shown = Date.parse(text.replace(' ', 'T') + (text.length > 10 ? 'Z' : '')); return shown + new Date(shown).getTimezoneOffset() * 60000; };

  function merge(fresh) {
    if (series === null || fresh.full) { series = fresh.columns; return; }
    const from = fresh.columns.at.length ? fresh.columns.at[0] : Infinity;
    const keep = series.at.findIndex((at) => at >= from);
    const end = keep === -1 ? series.at.length : keep;
    const start = Math.max(0, series.at.findIndex((at) => at >= fresh.from));
    Object.keys(series).forEach((column) => { series[column] = series[column].slice(start, end).concat(fresh.columns[column]); });
  }

  function limitOf(spec) {
    if (spec.limit) { return spec.limit; }
    const values = spec.limitColumn ? series[spec.limitColumn].filter((value) => value !== null) : [];
    if (values.length === 0) { return null; }
    const at = values[values.length - 1] * (spec.scale || 1);
    return { at, text: spec.limitText(at) };
  }

  /* From the least to the greatest: one polygon for each stretch that was measured. */
  function band(x, one, scale) {
    const low = series[one.column + '_min'], high = series[one.column + '_max'];
    const outline = { x: [], y: [] };
    for (let first = 0; first < x.length; first += 1) {
      let end = first;
      while (end < x.length && low[end] !== null) { end += 1; }
      for (let at = first; at < end; at += 1) { outline.x.push(x[at]); outline.y.push(high[at] * scale); }
      for (let at = end - 1; at >= first; at -= 1) { outline.x.push(x[at]); outline.y.push(low[at] * scale); }
      if (end > first) { outline.x.push(null); outline.y.push(null); first = end; }
    }
    return { type: 'scatter', mode: 'lines', fill: 'toself', hoverinfo: 'skip', opacity: 0.2, line: { width: 0 }, fillcolor: 'var(' + one.colour + ')', ...outline };
  }

  const shownMarks = () => marks.filter((mark) => !view.hidden.has(mark.kind) && mark.at >= view.shown.from && mark.at <= view.shown.to);

  /* A line for each mark; words where there is room for them, the others are in the list and under the cursor. */
  function marked(layout, spec, width) {
    let free = -Infinity;
    shownMarks().forEach((mark) => {
      const x = local(mark.at), tone = mark.tone === 'offline' ? 'text-3' : mark.tone;
      layout.shapes.push({ type: 'line', x0: x, x1: x, yref: 'paper', y0: 0, y1: 1, line: { color: 'var(--' + tone + ')', width: 1, dash: 'dot' } });
      if (!spec.words) { return; }
      const place = (mark.at - view.shown.from) / (view.shown.to - view.shown.from) * width;
      const text = mark.text.length > 34 ? mark.text.slice(0, 33) + '…' : mark.text, long = text.length * 6;
      const right = place + long > width;
      const begin = right ? place - long : place;
      if (begin < free) { return; }
      free = begin + long + 12;
      layout.annotations.push({ x, yref: 'paper', y: 1, yanchor: 'bottom', xanchor: right ? 'right' : 'left', text: text.replaceAll('&', '&amp;').replaceAll('<', '&lt;'), showarrow: false, font: { color: 'var(--' + tone + ')', size: 11 } });
    });
  }

  function tops(spec, scale) {
    const columns = spec.lines.map((one) => series[one.band ? one.column + '_max' : one.column]);
    if (!spec.lines[0].stack) { return columns.flat().map((value) => value * scale); }
    return series.at.map((_, at) => columns.reduce((sum, column) => sum + (column[at] || 0), 0) * scale);
  }

  function draw(element, spec) {
    const scale = spec.scale || 1;
    const reported = spec.lines.some(({ column }) => series[column].some((value) => value !== null));
    const note = element.parentNode.querySelector('.chart-note');
    note.hidden = reported;
    note.textContent = series.at.length ? gettext('not reported') : gettext('no samples in this time');
    element.hidden = !reported;
    if (!reported) { return; }
    const { from, to } = view.shown, span = (to - from) / 1000;
    const x = series.at.map(local);
    const bands = spec.lines.filter((one) => one.band).map((one) => band(x, one, scale));
    const lines = spec.lines.map((one) => ({
      type: 'scatter', mode: x.length === 1 ? 'markers' : 'lines', name: one.name, x,
      y: series[one.column].map((value) => (value === null ? null : value * scale)),
      line: { color: 'var(' + one.colour + ')', width: one.width, dash: one.dash || 'solid' },
      hoverinfo: 'skip', connectgaps: false,
      ...(one.stack ? { stackgroup: 'all', fillcolor: 'var(' + one.colour + ')' } : {}),
    }));
    const layout = {
      hovermode: false, dragmode: coarse ? false : 'zoom',
      xaxis: { type: 'date', range: [local(from), local(to)], nticks: 5, tickformat: span > 2 * 86400 ? gettext('%-d %b') : span < 600 ? '%H:%M:%S' : '%H:%M' },
      yaxis: { title: { text: spec.unit }, fixedrange: true },
      shapes: [], annotations: [],
    };
    if (spec.words) { layout.margin = { t: 20 }; }
    const limit = limitOf(spec);
    if (limit) {
      layout.yaxis.range = [0, Math.max(limit.at, ...tops(spec, scale)) * 1.2];
      layout.shapes.push({ type: 'line', xref: 'paper', x0: 0, x1: 1, y0: limit.at, y1: limit.at, line: { color: 'var(--bad-fill)', width: 1.5, dash: 'dash' } });
      layout.annotations.push({ xref: 'paper', x: 1, xanchor: 'right', y: limit.at, yanchor: 'bottom', text: limit.text, showarrow: false, font: { color: 'var(--bad)', size: 11 } });
    } else if (spec.top) { layout.yaxis.range = [0, spec.top * 1.05]; }
    marked(layout, spec, element.clientWidth - 56);
    const first = !element.classList.contains('js-plotly-plot');
    window.chart(element, { data: [...bands, ...lines], layout, config: CONFIG });
    if (first) { listen(element); }
  }

  /* A zoom in one chart is a zoom of all; a double click takes it back. */
  function listen(element) {
    element.on('plotly_relayout', (change) => {
      if ('xaxis.range[0]' in change) { view.zoom(unlocal(change['xaxis.range[0]']), unlocal(change['xaxis.range[1]'])); }
    });
    element.on('plotly_doubleclick', () => { if (view.zoomed) { view.reset(); } });
  }

  const figures = () => Array.from(box.querySelectorAll('[data-figure]'));
  const digits = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());

  /* What was measured at a time, in words: of the point there, and of the marks beside it. */
  function read(spec, at) {
    const index = series.at.indexOf(at);
    const said = spec.lines
      .filter(({ column }) => index !== -1 && series[column][index] !== null)
      .map(({ column, name }) => name + ' ' + digits(series[column][index] * (spec.scale || 1)) + (spec.unit ? ' ' + spec.unit : ''));
    if (spec.lines[0].stack && said.length) { said.push(gettext('in all {time} ms', { time: digits(tops(spec, 1)[index]) })); }
    const near = (view.shown.to - view.shown.from) / 100;
    const beside = spec.words ? shownMarks().filter((mark) => Math.abs(mark.at - at) <= near).map((mark) => mark.text) : [];
    return [...(said.length ? said : [gettext('nothing measured')]), ...beside];
  }

  function listMarks() {
    const list = box.querySelector('[data-mark-list]'), shown = shownMarks();
    box.querySelectorAll('[data-marks]').forEach((button) => {
      const count = marks.filter((mark) => mark.kind === button.dataset.marks && mark.at >= view.shown.from && mark.at <= view.shown.to).length;
      button.querySelector('b').textContent = count;
    });
    box.querySelector('[data-mark-count]').textContent = shown.length;
    list.replaceChildren(...shown.toReversed().map((mark) => {
      const row = document.createElement('li'), time = document.createElement('time'), words = document.createElement(mark.url ? 'a' : 'span');
      time.dateTime = new Date(mark.at).toISOString();
      time.textContent = new Date(mark.at).toLocaleString(window.language, { dateStyle: 'medium', timeStyle: 'medium' });
      words.textContent = mark.text;
      words.className = 't-' + mark.tone;
      if (mark.url) { words.href = mark.url; }
      row.append(time, words);
      return row;
    }));
  }

  function drawAll() {
    if (series === null) { return; }
    figures().forEach((element) => draw(element, CHARTS[element.dataset.figure]));
    listMarks();
    cursor.again();
    box.dataset.points = series.at.length;
    box.dataset.drawn = 'yes';
  }

  function take(fresh) {
    merge(fresh);
    if (fresh.marks) { marks = fresh.marks; marksAt = Date.now(); }
    view.say(fresh.from, fresh.to);
    drawAll();
    box.querySelectorAll('[data-power-source]').forEach((place) => { place.textContent = fresh.power_source; });
    const note = box.querySelector('[data-bucket]');
    if (note) { note.textContent = fresh.note; }
  }

  async function load(whole) {
    if (asking !== null && !whole) { again = true; return; }
    if (asking !== null) { asking.abort(); }
    const mine = asking = new AbortController();
    const later = !whole && series && series.at.length ? '&since=' + series.at[series.at.length - 1] : '';
    const more = later && Date.now() - marksAt < MARKS_EVERY ? '' : '&marks=1';
    try {
      const answer = await fetch(box.dataset.series + '?' + view.query() + later + more, { cache: 'no-store', signal: mine.signal });
      if (!answer.ok || answer.redirected) { throw new Error('the server answered ' + answer.status); }
      const fresh = await answer.json();
      if (asking === mine) { take(fresh); }
    } catch (error) {
      if (mine.signal.aborted) { return; }
      box.querySelectorAll('.chart-note').forEach((note) => { if (series === null) { note.hidden = false; note.textContent = gettext('The samples could not be fetched; trying again.'); } });
    } finally {
      if (asking === mine) {
        asking = null;
        if (again) { again = false; load(false); }
      }
    }
  }

  const view = window.chartView(box, (fetching) => {
    if (view.zoomed && fetching) { view.say(view.from, view.to); }
    drawAll();
    if (fetching) { delete box.dataset.drawn; load(true); }
  });
  const cursor = window.chartCursor(box, {
    charts: () => figures().map((element) => ({ element, read: (at) => read(CHARTS[element.dataset.figure], at) })),
    times: () => (series === null ? [] : series.at),
    span: () => view.shown,
  });
  // What somebody zoomed into stays as it is; only its end could still grow.
  box.addEventListener('news', () => { if (!view.zoomed) { load(false); } });
  load(true);
})();
