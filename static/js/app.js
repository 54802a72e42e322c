/* Small things every page has: theme switch, notices, dialogs, copying, and what to do when a request fails. */
(function () {
  'use strict';
  const root = document.documentElement;

  window.notice = function (text, tone) {
    const box = document.createElement('div');
    box.className = 'toast';
    const words = document.createElement('span');
    words.textContent = text;
    words.className = tone ? 't-' + tone : '';
    box.append(words);
    const place = document.querySelector('.toasts');
    place.append(box);
    while (place.children.length > 3) { place.firstChild.remove(); }
    setTimeout(() => box.remove(), 8000);
  };

  document.querySelectorAll('.banner[data-toast]').forEach((banner) => {
    window.notice(banner.textContent.trim());
    banner.remove();
  });

  function switchTheme() {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    try { localStorage.setItem('theme', root.dataset.theme); } catch (error) { /* no storage: until the next page */ }
  }

  async function copy(button) {
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      window.notice(gettext('Copied'));
    } catch (error) {
      // Without TLS a browser may refuse: select the text, so that Ctrl C is all that is left to do.
      getSelection().selectAllChildren(source);
      window.notice(gettext('Press Ctrl C to copy'));
    }
  }

  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-theme-toggle], [data-open], [data-close], [data-copy]');
    if (button === null) {
      if (event.target.nodeName === 'DIALOG') { event.target.close(); }  // a click beside it
      return;
    }
    if ('themeToggle' in button.dataset) { switchTheme(); }
    if (button.dataset.open) {
      const dialog = document.querySelector(button.dataset.open);
      const folded = dialog.querySelector('template');
      if (folded) { folded.replaceWith(folded.content); htmx.process(dialog); }
      dialog.querySelectorAll('[data-here]').forEach((input) => { input.value = location.pathname + location.search; });
      dialog.showModal();
    }
    if ('close' in button.dataset) {
      const dialog = button.closest('dialog');
      if (dialog) { dialog.close(); } else { history.back(); }  // the same form on a page of its own
    }
    if (button.dataset.copy) { copy(button); }
  });

  // Where a serious action asks for the name to be typed, the button waits for it.
  document.addEventListener('input', (event) => {
    const wanted = event.target.dataset.confirmText;
    if (wanted) { event.target.form.querySelector('[type=submit]').disabled = event.target.value !== wanted; }
  });

  // A select that is a filter acts at once where no form script does.
  document.addEventListener('change', (event) => {
    if (event.target.matches('[data-submit]')) { event.target.form.requestSubmit(); }
  });

  // A serious order is asked about first, with what it costs. Texts come from attributes and are written as text.
  const confirm = document.getElementById('confirm');
  let asking = null;
  function ask(form, submitter) {
    asking = { form, submitter };
    const yes = confirm.querySelector('[value=yes]');
    document.getElementById('confirm-title').textContent = form.dataset.confirm;
    document.getElementById('confirm-text').textContent = form.dataset.confirmText || '';
    yes.textContent = form.dataset.confirmDo || gettext('Go on');
    yes.className = 'confirmDanger' in form.dataset ? 'btn solid danger' : 'btn primary';
    confirm.returnValue = '';
    confirm.showModal();
  }
  if (confirm) {
    confirm.addEventListener('close', () => {
      if (confirm.returnValue !== 'yes' || !asking) { return; }
      if (!asking.form.isConnected) { window.notice(gettext('It changed meanwhile; nothing was done. Look again.')); return; }
      asking.form.dataset.confirmed = 'yes';
      asking.form.requestSubmit(asking.submitter);
    });
  }

  // One click is one order.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (form.method !== 'post' || form.hasAttribute('hx-post')) { return; }
    if (confirm && form.dataset.confirm && !form.dataset.confirmed) { event.preventDefault(); ask(form, event.submitter); return; }
    delete form.dataset.confirmed;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = 'yes';
  });
  // So is one that goes by script: until its answer is there, and for good when the answer leads to another page.
  document.addEventListener('submit', (event) => {
    if (event.target.hasAttribute('hx-post') && event.target.dataset.sent) { event.preventDefault(); event.stopImmediatePropagation(); }
  }, true);  // before htmx hears of it, which would keep the second one for later
  const posts = (event) => event.target.matches('form[hx-post]');
  document.addEventListener('htmx:beforeRequest', (event) => { if (posts(event)) { event.target.dataset.sent = 'yes'; } });
  document.addEventListener('htmx:afterRequest', (event) => {
    const { xhr } = event.detail;
    if (posts(event) && !(xhr && xhr.getResponseHeader('HX-Redirect'))) { delete event.target.dataset.sent; }
  });

  // A log that is read at its end stays at its end.
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const followed = new Map();
  const logs = () => document.querySelectorAll('[data-follow]');
  logs().forEach((log) => { log.scrollTop = log.scrollHeight; });
  document.addEventListener('htmx:beforeSwap', () => logs().forEach((log) => followed.set(log, atEnd(log))));
  document.addEventListener('morphed', () => logs().forEach((log) => { if (followed.get(log)) { log.scrollTop = log.scrollHeight; } }));

  addEventListener('pageshow', () => document.querySelectorAll('form[data-sent]').forEach((form) => { delete form.dataset.sent; }));

  document.addEventListener('htmx:beforeSwap', (event) => {
    // Signed out meanwhile: the answer is the sign-in page, which belongs into the window and not into a part of it.
    const { pathname } = new URL(event.detail.xhr.responseURL || location.href, location.href);
    if (pathname === document.body.dataset.login) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  // Filters that are not set need not stand in the address.
  document.addEventListener('htmx:configRequest', (event) => {
    if (event.detail.verb !== 'get') { return; }
    const { formData } = event.detail;
    for (const [name, value] of Array.from(formData.entries())) { if (value === '') { formData.delete(name); } }
  });
  const asked = (event) => event.detail.requestConfig && event.detail.requestConfig.verb !== 'get';
  document.addEventListener('htmx:responseError', (event) => {
    if (asked(event)) { window.notice(gettext('The server refused that ({status}). Nothing was changed.', { status: event.detail.xhr.status }), 'bad'); }
  });
  document.addEventListener('htmx:sendError', (event) => {
    if (asked(event)) { window.notice(gettext('The server cannot be reached. Try again in a moment.'), 'bad'); }
  });
})();
