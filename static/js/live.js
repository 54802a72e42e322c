/* One event stream for each page. An announced topic makes the parts that show it fetch themselves again; charts listen
   to the same news. Nothing runs while the tab is hidden; what was missed is fetched when it is shown again. */
(function () {
  'use strict';
  const SLOWEST = 300000;  // should news be lost on the way: every part is fetched at least this often
  const RETRY = 4000;
  const DEAD = 40000;  // the server says something every 15 s: a machine that slept has a stream that does not know its end
  const born = Date.now();
  const badge = document.querySelector('[data-live-state]');
  const parts = () => Array.from(document.querySelectorAll('[data-live]'));
  const topicsOf = (element) => element.dataset.live.split(' ');
  if (parts().length === 0) { return; }

  const state = new WeakMap();  // element → {last: when it was fetched, timer}
  let stream = null;
  let opened = false;
  let retry = 0;
  let cut = false;  // the server itself cannot hear what changes
  let saidAt = born;  // when the stream said something last
  let heardAt = born;  // the last time at which what stands here was known to hold
  const clock = new Intl.DateTimeFormat(window.language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

  function say(word, text, asOf) {
    badge.hidden = false;
    badge.dataset.state = word;
    const said = asOf ? text + ' ' + gettext('as of {time}', { time: asOf }) : text;
    if (badge.textContent === said) { return; }
    const words = document.createElement('span');
    words.className = 'word';
    words.textContent = asOf ? text + ' ' : text;
    badge.replaceChildren(words);
    if (asOf) {
      const time = document.createElement('span');
      time.className = 'asof';
      time.textContent = gettext('as of {time}', { time: asOf });
      badge.append(time);
    }
  }

  /* Old states must not look like present ones: they are dimmed, and the badge says of when they are. */
  function lost() {
    const first = !('stale' in document.body.dataset);
    if (first && opened) { document.body.dataset.stale = clock.format(heardAt); }
    say('waiting', gettext('Reconnecting…'), document.body.dataset.stale);
  }

  function found() {
    heardAt = Date.now();
    delete document.body.dataset.stale;
    say('live', gettext('Live'));
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
    saidAt = Date.now();
    stream.addEventListener('here', () => { saidAt = Date.now(); });
    stream.addEventListener('hello', () => {
      saidAt = Date.now();
      cut = false;
      found();
      if (opened) { parts().forEach(wake); }
      opened = true;
    });
    stream.addEventListener('changed', (event) => { saidAt = Date.now(); cut = false; found(); heard(JSON.parse(event.data)); });
    stream.addEventListener('stale', () => { cut = true; lost(); });
    stream.addEventListener('fresh', () => { cut = false; found(); parts().forEach(wake); });
    stream.onerror = () => {
      lost();
      // The browser tries again by itself after a cut, but not after an answer that is no stream.
      if (stream && stream.readyState === EventSource.CLOSED) { close(); retry = setTimeout(connect, RETRY); }
    };
  }

  function close() { if (stream) { stream.close(); stream = null; } }

  // A network that is silently gone ends no stream: what the page fetches by itself tells sooner.
  const own = (event) => event.target.matches('[data-live]');
  document.addEventListener('htmx:sendError', (event) => { if (own(event)) { lost(); } });
  document.addEventListener('htmx:afterRequest', (event) => {
    if (own(event) && event.detail.successful && !cut && stream && stream.readyState === EventSource.OPEN) { found(); }
  });

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { clearTimeout(retry); close(); } else { connect(); }
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => { if (event.persisted) { connect(); } });
  setInterval(() => {
    if (stream && stream.readyState === EventSource.OPEN && Date.now() - saidAt > DEAD) { lost(); close(); connect(); }
    if (document.hidden || !stream || stream.readyState !== EventSource.OPEN) { return; }
    const now = Date.now();
    parts().forEach((element) => { if (!('liveOnlyNews' in element.dataset) && now - (state.get(element) || { last: born }).last > SLOWEST) { wake(element); } });
  }, 1000);
  say('waiting', 'Connecting…');
  connect();
})();
