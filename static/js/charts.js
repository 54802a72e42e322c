/* Draws Plotly figures in the page's own colours. A string "var(--…)" in a figure becomes that token's value, and
   everything is drawn again when the theme changes. Other scripts call chart(element, figure); a figure that the server
   wrote stands in <script type="application/json" id="ID"> and is drawn into <figure data-chart="ID">. A figure's config
   goes over the one of all charts; one with `times` has Unix milliseconds, which are drawn in the viewer's zone. */
(function () {
  'use strict';
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);

  function token(text) {
    if (text === 'var(--font)' || text === 'var(--mono)') {
      return getComputedStyle(document.documentElement).getPropertyValue(text.slice(4, -1)).trim();
    }
    probe.style.color = text;
    return getComputedStyle(probe).color;
  }
  function resolve(value) {
    if (typeof value === 'string') { return value.startsWith('var(--') ? token(value) : value; }
    if (Array.isArray(value)) { return typeof value[0] === 'number' ? value : value.map(resolve); }
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolve(inner)]));
    }
    return value;
  }

  const small = { size: 11, color: 'var(--text-3)' };
  const title = { font: { size: 11, color: 'var(--text-2)' }, standoff: 8 };
  const TEMPLATE = {
    layout: {
      font: { family: 'var(--font)', size: 12, color: 'var(--text-2)' },
      paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      margin: { l: 44, r: 12, t: 8, b: 28 },
      showlegend: false,
      hovermode: 'x unified',
      dragmode: 'zoom',
      hoverlabel: { bgcolor: 'var(--overlay)', bordercolor: 'var(--line-2)', font: { family: 'var(--font)', size: 12, color: 'var(--text)' } },
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: 'var(--text-3)', activecolor: 'var(--accent)', orientation: 'h' },
      xaxis: { showgrid: false, zeroline: false, linecolor: 'var(--line-2)', ticks: 'outside', ticklen: 4, tickcolor: 'var(--line-2)', tickfont: small, title, spikethickness: 1, spikecolor: 'var(--line-2)', spikedash: 'solid', nticks: 7, automargin: true },
      yaxis: { gridcolor: 'var(--line)', gridwidth: 1, zeroline: false, linecolor: 'rgba(0,0,0,0)', tickfont: small, title, rangemode: 'tozero', nticks: 5, automargin: true },
    },
  };
  const CONFIG = {
    responsive: true, displaylogo: false, displayModeBar: true,
    // The last would upload the fleet's figures to Plotly's cloud.
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'zoom2d', 'pan2d', 'zoomIn2d', 'zoomOut2d', 'sendChartToCloud'],
  };

  // Plotly brings no language but English: the names of days and months are the browser's own.
  if (document.documentElement.lang !== 'en') {
    const named = (options, dates) => dates.map((date) => new Intl.DateTimeFormat(window.language, { ...options, timeZone: 'UTC' }).format(date));
    const days = Array.from({ length: 7 }, (_, day) => Date.UTC(2023, 0, 1 + day));  // from a Sunday on
    const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2023, month, 1));
    Plotly.register({
      moduleType: 'locale', name: 'page',
      dictionary: {
        'Download plot as a PNG': gettext('Download plot as a PNG'), 'Reset axes': gettext('Reset axes'),
        'Double-click to zoom back out': gettext('Double-click to zoom back out'),
      },
      format: {
        days: named({ weekday: 'long' }, days), shortDays: named({ weekday: 'short' }, days),
        months: named({ month: 'long' }, months), shortMonths: named({ month: 'short' }, months), date: '%Y-%m-%d',
      },
    });
    CONFIG.locale = 'page';
  }

  const figures = new Map();
  let template = resolve(TEMPLATE);

  /* Plotly draws UTC: shift each time by the viewer's offset at that time. */
  const local = (ms) => ms - new Date(ms).getTimezoneOffset() * 60000;

  function draw(element, figure) {
    const layout = resolve(figure.layout);
    layout.template = template;
    const data = resolve(figure.data);
    if (element.clientWidth < 360 && layout.xaxis) { layout.xaxis.nticks = 4; }
    Plotly.react(element, figure.times ? data.map((trace) => ({ ...trace, x: trace.x.map(local) })) : data, layout, { ...CONFIG, ...figure.config });
  }
  window.chart = function (element, figure) {
    figures.set(element, figure);
    draw(element, figure);
  };
  function again() {
    template = resolve(TEMPLATE);
    figures.forEach((figure, element) => { if (element.isConnected) { draw(element, figure); } else { figures.delete(element); } });
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });

  /* A part of the page may come again with other figures: only what changed is drawn anew. */
  const written = new WeakMap();
  function scan() {
    document.querySelectorAll('[data-chart]').forEach((element) => {
      const source = document.getElementById(element.dataset.chart);
      if (source === null || written.get(element) === source.textContent) { return; }
      written.set(element, source.textContent);
      window.chart(element, JSON.parse(source.textContent));
      element.dataset.drawn = 'yes';
    });
  }
  document.addEventListener('morphed', scan);
  scan();
})();
