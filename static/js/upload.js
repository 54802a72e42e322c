/* Shows how far the upload of a model is. The form posts by htmx, so that an error leaves the chosen files in place. */
(function () {
  'use strict';
  const mine = (event) => event.target.closest && event.target.closest('form[data-upload]');
  const bar = () => document.querySelector('.upload-bar');

  document.addEventListener('htmx:beforeRequest', (event) => {
    const form = mine(event);
    if (!form) { return; }
    bar().hidden = false;
    form.querySelector('[type=submit]').disabled = true;
  });
  document.addEventListener('htmx:xhr:progress', (event) => {
    if (!mine(event) || !event.detail.lengthComputable) { return; }
    const { loaded, total } = event.detail;
    bar().querySelector('progress').value = loaded / total;
    bar().querySelector('output').textContent = loaded < total
      ? gettext('{sent} of {all} MB sent', { sent: (loaded / 1e6).toFixed(1), all: (total / 1e6).toFixed(1) })
      : gettext('Sent. The server is checking the file.');
  });
  document.addEventListener('htmx:afterRequest', (event) => {
    const form = mine(event);
    if (!form) { return; }
    bar().hidden = true;
    form.querySelector('[type=submit]').disabled = false;
    const wrong = form.querySelector('[aria-invalid=true], [role=alert]');
    if (wrong) { wrong.scrollIntoView({ block: 'center' }); if (wrong.focus) { wrong.focus(); } }
  });
})();
