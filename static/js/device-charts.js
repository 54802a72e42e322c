/* The charts of one device. They ask for the whole range once, and then only for what came since their last point. */
(function () {
  'use strict';
  const box = document.querySelector('[data-series]');
  if (box === null) { return; }
  const promise = Number(box.dataset.promise);
  const GIB = 1024 ** 3;

  const line = (column, name, colour, more) => ({ column, name, colour, width: 1.75, ...more });
  const stage = (column, name, colour) => line(column, name, colour, { stack: true, width: 0.5 });
  const CHARTS = {
    latency: { unit: 'ms', limit: { at: promise, text: promise + ' ms promise' }, lines: [line('latency_p50', 'p50', '--c2'), line('latency_p95', 'p95', '--c1', { width: 2.25 })] },
    stages: { unit: 'ms', lines: [stage('stage_queue', 'queue', '--c6'), stage('stage_preprocess', 'preprocess', '--c2'), stage('stage_compute', 'compute', '--c1'), stage('stage_postprocess', 'postprocess', '--c3')] },
    cpu: { unit: '%', top: 100, lines: [line('cpu_percent', 'CPU', '--c1')] },
    memory: { unit: 'GiB', scale: 1 / GIB, lines: [line('memory_used', 'in use', '--c1'), line('agent_memory', 'agent', '--c3', { dash: 'dash' })], limitColumn: 'memory_total', limitText: (value) => Number(value.toFixed(1)) + ' GiB in all' },
    temperature: { unit: '°C', lines: [line('temperature', 'temperature', '--c5')] },
    power: { unit: 'W', lines: [line('power', 'power', '--c4')] },
    rate: { unit: '/s', lines: [line('rate', 'decisions', '--c1')] },
    success: { unit: '%', scale: 100, top: 100, lines: [line('success', 'success', '--c1')] },
    cache: { unit: '%', scale: 100, top: 100, lines: [line('cache', 'cache hits', '--c2')] },
  };

  let series = null;  // {at: [ms], <column>: […]}
  let span = 0;
  let busy = false;
  let again = false;

  /* Plotly draws UTC: shift each point by the viewer's offset at that time. */
  const local = (ms) => ms - new Date(ms).getTimezoneOffset() * 60000;

  function merge(fresh) {
    if (series === null || fresh.full) { series = fresh.columns; return; }
    const from = fresh.columns.at.length ? fresh.columns.at[0] : Infinity;
    const keep = series.at.findIndex((at) => at >= from);
    const end = keep === -1 ? series.at.length : keep;
    const start = Math.max(0, series.at.findIndex((at) => at >= fresh.now - span * 1000));
    Object.keys(series).forEach((column) => { series[column] = series[column].slice(start, end).concat(fresh.columns[column]); });
  }

  function limitOf(spec) {
    if (spec.limit) { return spec.limit; }
    const values = spec.limitColumn ? series[spec.limitColumn].filter((value) => value !== null) : [];
    if (values.length === 0) { return null; }
    const at = values[values.length - 1] * (spec.scale || 1);
    return { at, text: spec.limitText(at) };
  }

  function draw(element, spec, now) {
    const scale = spec.scale || 1;
    const reported = spec.lines.some(({ column }) => series[column].some((value) => value !== null));
    const note = element.parentNode.querySelector('.chart-note');
    note.hidden = reported;
    note.textContent = series.at.length ? 'not reported' : 'no samples in this time';
    element.hidden = !reported;
    if (!reported) { return; }
    const x = series.at.map(local);
    const data = spec.lines.map((one) => ({
      type: 'scatter', mode: x.length === 1 ? 'markers' : 'lines', name: one.name, x,
      y: series[one.column].map((value) => (value === null ? null : value * scale)),
      line: { color: 'var(' + one.colour + ')', width: one.width, dash: one.dash || 'solid' },
      hovertemplate: '%{y:.3~g} ' + spec.unit, connectgaps: false,
      ...(one.stack ? { stackgroup: 'all', fillcolor: 'var(' + one.colour + ')' } : {}),
    }));
    const peak = Math.max(0, ...data.flatMap((trace) => (spec.lines[0].stack ? [] : trace.y)).filter((value) => value !== null));
    const layout = {
      xaxis: { type: 'date', range: [local(now - span * 1000), local(now)], nticks: 5, tickformat: span > 86400 ? '%-d %b' : '%H:%M', hoverformat: '%-d %b %H:%M:%S' },
      yaxis: { title: { text: spec.unit } },
      // The viewer's zoom stays until another range is chosen.
      uirevision: span,
    };
    const limit = limitOf(spec);
    if (limit) {
      layout.yaxis.range = [0, Math.max(limit.at, peak) * 1.2];
      layout.shapes = [{ type: 'line', xref: 'paper', x0: 0, x1: 1, y0: limit.at, y1: limit.at, line: { color: 'var(--bad-fill)', width: 1.5, dash: 'dash' } }];
      layout.annotations = [{ xref: 'paper', x: 1, xanchor: 'right', y: limit.at, yanchor: 'bottom', text: limit.text, showarrow: false, font: { color: 'var(--bad)', size: 11 } }];
    } else if (spec.top) { layout.yaxis.range = [0, spec.top * 1.05]; }
    window.chart(element, { data, layout });
  }

  function drawAll(now) {
    box.querySelectorAll('[data-figure]').forEach((element) => draw(element, CHARTS[element.dataset.figure], now));
    box.dataset.points = series.at.length;
    box.dataset.drawn = 'yes';
  }

  async function load() {
    if (busy) { again = true; return; }
    busy = true;
    const since = series && series.at.length ? '&since=' + series.at[series.at.length - 1] : '';
    try {
      const answer = await fetch(box.dataset.series + '?range=' + box.dataset.range + since, { cache: 'no-store' });
      if (!answer.ok || answer.redirected) { throw new Error('the server answered ' + answer.status); }
      const fresh = await answer.json();
      span = fresh.span;
      merge(fresh);
      drawAll(fresh.now);
      const sources = box.querySelector('[data-power-source]');
      if (sources) { sources.textContent = fresh.power_source; }
      const note = box.querySelector('[data-bucket]');
      if (note) { note.textContent = fresh.note; }
    } catch (error) {
      box.querySelectorAll('.chart-note').forEach((note) => { if (series === null) { note.hidden = false; note.textContent = 'The samples could not be fetched; trying again.'; } });
    } finally {
      busy = false;
      if (again) { again = false; load(); }
    }
  }

  box.addEventListener('news', load);
  load();
})();
