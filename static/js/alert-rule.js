/* A state has no threshold, and the server is not searched for: their fields are hidden while they say nothing. */
(function () {
  'use strict';
  function fit() {
    const condition = document.getElementById('id_condition');
    if (!condition) { return; }
    const is = (kind) => condition.dataset[kind].split(' ').includes(condition.value);
    const show = (selector, shown) => document.querySelectorAll(selector).forEach((field) => {
      field.hidden = !shown;
      field.querySelectorAll('input, select').forEach((control) => { control.disabled = !shown; });
    });
    show('#rule-form .measured', !is('states'));
    show('#rule-form .of-devices', !is('server'));
  }
  document.addEventListener('change', (event) => { if (event.target.id === 'id_condition') { fit(); } });
  document.addEventListener('morphed', fit);
  fit();
})();
