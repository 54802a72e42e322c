/* Times in the viewer's own zone: `3 min ago`, with the full time as a title. Without this script they stand in UTC. */
(function () {
  'use strict';
  const full = new Intl.DateTimeFormat(window.language, { dateStyle: 'medium', timeStyle: 'medium' });
  const clock = new Intl.DateTimeFormat(window.language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  const date = new Intl.DateTimeFormat(window.language, { dateStyle: 'medium', timeStyle: 'short' });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  const english = document.documentElement.lang === 'en';
  const spoken = new Intl.RelativeTimeFormat(window.language);

  function relative(moment, now) {
    const seconds = Math.round((now - moment) / 1000);
    const size = Math.abs(seconds);
    const [number, unit, name] = size < 60 ? [size, 's', 'second'] : size < 3600 ? [size / 60, 'min', 'minute'] : size < 86400 ? [size / 3600, 'h', 'hour'] : [size / 86400, 'd', 'day'];
    if (size < 2) { return gettext('now'); }
    if (!english) { return spoken.format(Math.floor(number) * (seconds < 0 ? 1 : -1), name); }
    const words = Math.floor(number) + '\u00a0' + unit;
    return seconds < 0 ? 'in\u00a0' + words : words + '\u00a0ago';
  }

  function write(element, now) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) { return; }
    const style = element.dataset.when;
    const text = style === 'clock' ? clock.format(moment) : style === 'date' ? date.format(moment) : relative(moment, now);
    if (element.textContent !== text) { element.textContent = text; }
    if (!element.title) { element.title = full.format(moment) + ' ' + zone; }
  }

  function all(root) {
    const now = Date.now();
    root.querySelectorAll('time[data-when]').forEach((element) => write(element, now));
  }

  all(document);
  setInterval(() => { if (!document.hidden) { all(document); } }, 1000);
  document.addEventListener('htmx:afterSettle', (event) => all(event.target));
  document.addEventListener('morphed', (event) => all(event.detail));
})();
