/* The planner's address holds what was typed, and not what is filled in by itself: a field that is emptied is put back. */
(function () {
  'use strict';
  const mine = (element) => element.id === 'planner-form';

  document.addEventListener('htmx:configRequest', (event) => {
    if (!mine(event.detail.elt)) { return; }
    const { formData } = event.detail;
    event.detail.elt.querySelectorAll('[data-filled]').forEach((input) => {
      formData.delete(`filled.${input.name}`);
      if (input.value.trim() === input.dataset.filled) { formData.delete(input.name); }
    });
  });
  document.addEventListener('focusout', (event) => {
    const { filled } = event.target.dataset || {};
    if (filled && event.target.value.trim() === '') { event.target.value = filled; }
  });
})();
