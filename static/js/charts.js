/* Draws Plotly figures in the page's own colours. A string "var(--…)" in a figure becomes that token's value, and
   everything is drawn again when the theme changes. Other scripts call chart(element, figure); a figure that the server
   wrote stands in <script type="application/json" id="ID"> and is drawn into <figure data-chart="ID">. */
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
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'zoom2d', 'pan2d', 'zoomIn2d', 'zoomOut2d'],
  };

  const figures = new Map();
  let template = resolve(TEMPLATE);

  function draw(element, figure) {
    const layout = resolve(figure.layout);
    layout.template = template;
    if (element.clientWidth < 360 && layout.xaxis) { layout.xaxis.nticks = 4; }
    Plotly.react(element, resolve(figure.data), layout, CONFIG);
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
