/* One event stream for each page. An announced topic makes the parts that show it fetch themselves again; charts listen
   to the same news. Nothing runs while the tab is hidden; what was missed is fetched when it is shown again. */
(function () {
  'use strict';
  const SLOWEST = 15000;  // a device that fell silent announces nothing: every part is fetched at least this often
  const RETRY = 4000;
  const born = Date.now();
  const badge = document.querySelector('[data-live-state]');
  const parts = () => Array.from(document.querySelectorAll('[data-live]'));
  const topicsOf = (element) => element.dataset.live.split(' ');
  if (parts().length === 0) { return; }

  const state = new WeakMap();  // element → {last: when it was fetched, timer}
  let stream = null;
  let opened = false;
  let retry = 0;

  function say(word, text) {
    badge.hidden = false;
    badge.dataset.state = word;
    if (badge.textContent !== text) { badge.textContent = text; }
  }

  function fetchNow(element) {
    const known = state.get(element);
    known.timer = 0;
    known.last = Date.now();
    if (!element.isConnected || document.hidden) { return; }
    if (element.hasAttribute('hx-get')) { htmx.trigger(element, 'live'); }
    element.dispatchEvent(new CustomEvent('news', { bubbles: false }));
  }

  function wake(element) {
    const known = state.get(element) || { last: 0, timer: 0 };
    state.set(element, known);
    if (known.timer) { return; }
    const every = Number(element.dataset.liveEvery || 600);
    known.timer = setTimeout(fetchNow, Math.max(30, known.last + every - Date.now()), element);
  }

  function heard(topics) {
    parts().forEach((element) => { if (topicsOf(element).some((topic) => topics.includes(topic))) { wake(element); } });
  }

  function connect() {
    clearTimeout(retry);
    if (stream || document.hidden) { return; }
    const topics = Array.from(new Set(parts().flatMap(topicsOf))).sort().join(',');
    stream = new EventSource(document.body.dataset.liveUrl + '?topics=' + encodeURIComponent(topics));
    stream.addEventListener('hello', () => {
      say('live', 'Live');
      if (opened) { parts().forEach(wake); }
      opened = true;
    });
    stream.addEventListener('changed', (event) => { say('live', 'Live'); heard(JSON.parse(event.data)); });
    stream.addEventListener('stale', () => say('waiting', 'Reconnecting…'));
    stream.addEventListener('fresh', () => { say('live', 'Live'); parts().forEach(wake); });
    stream.onerror = () => {
      say('waiting', 'Reconnecting…');
      // The browser tries again by itself after a cut, but not after an answer that is no stream.
      if (stream && stream.readyState === EventSource.CLOSED) { close(); retry = setTimeout(connect, RETRY); }
    };
  }

  function close() { if (stream) { stream.close(); stream = null; } }

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { clearTimeout(retry); close(); } else { connect(); }
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => { if (event.persisted) { connect(); } });
  setInterval(() => {
    if (document.hidden || !stream || stream.readyState !== EventSource.OPEN) { return; }
    const now = Date.now();
    parts().forEach((element) => { if (now - (state.get(element) || { last: born }).last > SLOWEST) { wake(element); } });
  }, 1000);
  say('waiting', 'Connecting…');
  connect();
})();
