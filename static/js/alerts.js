/* The bell of every page: its number stands in the navigation too, and what has just opened is said once. */
(function () {
  'use strict';
  const AGAIN = 60000;  // a rule of which ever more opens is said once in so many milliseconds

  function said(rule) {
    const key = 'alert-' + rule;
    try {
      const last = Number(sessionStorage.getItem(key) || 0);
      if (Date.now() - last < AGAIN) { return true; }
      sessionStorage.setItem(key, Date.now());
    } catch (error) { /* no storage: it is said more often */ }
    return false;
  }

  function ring(bell) {
    const waiting = Number(bell.dataset.waiting);
    document.querySelectorAll('[data-alerts-count]').forEach((badge) => {
      badge.hidden = waiting === 0;
      badge.textContent = waiting.toLocaleString(window.language);
    });
    const { rule, news, tone } = bell.dataset;
    if (news && !said(rule)) { window.notice(news, tone); }
  }

  document.addEventListener('morphed', (event) => { if (event.detail.id === 'bell') { ring(event.detail); } });
})();
